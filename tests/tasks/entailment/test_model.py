"""The model is the paper's, and neither padding nor company changes what it says of a pair."""

import pytest
import torch

import regattn
from tasks.data.vectors import random_vectors
from tasks.data.vocabulary import PAD
from tasks.entailment.mini import generate
from tasks.entailment.model import EntailmentModel, PaddedBatch
from tasks.entailment.task import batch_of, vocabulary_of

MAPPINGS = [
    regattn.Softmax(),
    regattn.Sparsemax(),
    regattn.Fusedmax(),
    regattn.Oscarmax(),
    regattn.PNormmax(),
]
CORPUS = generate(train=60, dev=3, test=3)
VOCABULARY = vocabulary_of(CORPUS)
PAIRS = CORPUS.splits["train"]


def model_with(mapping: torch.nn.Module, **options: object) -> EntailmentModel:
    torch.manual_seed(0)
    vectors = random_vectors(VOCABULARY, 12).weights
    return EntailmentModel(vectors, mapping, hidden_size=8, **options).double().eval()


@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: type(m).__name__)
def test_a_pair_alone_is_as_in_a_batch(mapping: torch.nn.Module) -> None:
    model = model_with(mapping)
    logits, weights = model(*batch_of(PAIRS, VOCABULARY, "cpu"))
    for i, pair in enumerate(PAIRS):
        alone, own = model(*batch_of([pair], VOCABULARY, "cpu"))
        torch.testing.assert_close(alone[0], logits[i], atol=1e-12, rtol=0)
        torch.testing.assert_close(own[0], weights[i, : len(pair.premise)], atol=1e-12, rtol=0)
        assert (weights[i, len(pair.premise) :] == 0).all()


def test_more_padding_changes_nothing() -> None:
    model = model_with(regattn.Fusedmax())
    premise, hypothesis = batch_of(PAIRS[:5], VOCABULARY, "cpu")
    padded = [PaddedBatch(torch.nn.functional.pad(s.words, (0, 4)), s.lengths) for s in (premise, hypothesis)]
    torch.testing.assert_close(model(*padded)[0], model(premise, hypothesis)[0], atol=1e-12, rtol=0)


def test_the_equations_of_the_paper() -> None:
    model = model_with(regattn.Softmax())
    premise, hypothesis = batch_of(PAIRS[:1], VOCABULARY, "cpu")
    states, last = model.read_premise(model.project(model.vectors(premise.words)))
    _, query = model.read_hypothesis(model.project(model.vectors(hypothesis.words)), last)
    scorer, h, n = model.attention.scorer, states[0], query[0, 0]
    z = torch.tanh(
        h @ scorer.project_keys.weight.T + scorer.project_query.weight @ n + scorer.project_keys.bias
    )
    weights = torch.softmax(z @ scorer.v.weight[0], 0)
    u = torch.tanh(model.from_context.weight @ (weights @ h) + model.from_hypothesis(n))
    torch.testing.assert_close(model(premise, hypothesis)[0][0], model.classify(u))


@pytest.mark.parametrize("trained", [False, True])
def test_vectors_are_frozen_unless_asked(trained: bool) -> None:
    model = model_with(regattn.Softmax(), train_vectors=trained).train()
    model(*batch_of(PAIRS, VOCABULARY, "cpu"))[0].sum().backward()
    assert (model.vectors.weight.grad is not None) is trained
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_dropout_acts_in_training_only() -> None:
    model = model_with(regattn.Softmax(), dropout=0.5)
    batch = batch_of(PAIRS, VOCABULARY, "cpu")
    assert torch.equal(model(*batch)[0], model(*batch)[0])
    model.train()
    assert not torch.equal(model(*batch)[0], model(*batch)[0])


def test_projected_words_and_the_output_are_dropped() -> None:
    model = model_with(regattn.Softmax(), dropout=0.5).train()
    projected, read, decided = [], [], []
    model.project.register_forward_hook(lambda _, inputs, output: projected.append(output))
    for gru in (model.read_premise, model.read_hypothesis):
        gru.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].data))
    model.classify.register_forward_pre_hook(lambda _, inputs: decided.append(inputs[0]))
    batch = batch_of(PAIRS, VOCABULARY, "cpu")
    model(*batch)
    for sentences, whole, dropped in zip(batch, projected, read, strict=True):
        kept = torch.nn.utils.rnn.pack_padded_sequence(
            2 * whole, sentences.lengths, batch_first=True, enforce_sorted=False
        ).data
        assert ((dropped == 0) | (dropped == kept)).all()
        assert 0.4 < (dropped == 0).double().mean() < 0.6
    assert 0.4 < (decided[0] == 0).double().mean() < 0.6


def test_a_prediction_is_decided_as_in_training() -> None:
    model = model_with(regattn.Fusedmax(gamma=0.02, lam=0.5))
    batch = batch_of(PAIRS, VOCABULARY, "cpu")
    logits, weights = model(*batch)
    given: list[torch.Tensor] = []
    model.attention.scorer.register_forward_hook(lambda _, inputs, scores: given.append(scores.squeeze(1)))
    found = model.predict(*batch)
    torch.testing.assert_close(found.logits, logits)
    torch.testing.assert_close(found.weights, weights)
    assert torch.equal(found.mask, batch[0].words != PAD)
    groups = regattn.groups(given[0], model.attention.mapping, mask=found.mask)
    assert torch.equal(found.groups, groups) and torch.equal(groups != 0, weights != 0)
