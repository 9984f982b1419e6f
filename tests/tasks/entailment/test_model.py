"""The model is the paper's, and neither padding nor company changes what it says of a pair."""

from typing import Any

import pytest
import torch

import regattn
from tasks.data.vocabulary import PAD, random_vectors
from tasks.entailment.mini import generate
from tasks.entailment.model import PaddedBatch
from tasks.entailment.task import MODELS, batch_of, words_of

MAPPINGS = [spec.module() for spec in regattn.MAPPINGS.values()]
CORPUS = generate(train=60, dev=3, test=3)
VOCABULARY = words_of(CORPUS).vocabulary
PAIRS = CORPUS.splits["train"]


def model_with(mapping: torch.nn.Module, kind: str = "recurrent", **options: object) -> Any:
    torch.manual_seed(0)
    vectors = random_vectors(VOCABULARY, 12).weights
    return MODELS[kind](vectors, mapping, hidden_size=8, **options).double().eval()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: type(m).__name__)
def test_a_pair_alone_is_as_in_a_batch(mapping: torch.nn.Module, kind: str) -> None:
    model = model_with(mapping, kind)
    found = model.predict(*batch_of(PAIRS, VOCABULARY, "cpu"))
    for i, pair in enumerate(PAIRS):
        own = model.predict(*batch_of([pair], VOCABULARY, "cpu"))
        torch.testing.assert_close(own.logits[0], found.logits[i], atol=1e-12, rtol=0)
        assert own.is_query.all() and found.is_query[i].sum() == own.is_query.sum()
        rows, words = own.weights[0].shape
        torch.testing.assert_close(own.weights[0], found.weights[i, :rows, :words], atol=1e-12, rtol=0)
        assert torch.equal(own.groups[0], found.groups[i, :rows, :words])
        for of_pair in (found.weights[i], found.groups[i]):
            assert (of_pair[:, words:] == 0).all() and (of_pair[rows:] == 0).all()


@pytest.mark.parametrize("kind", MODELS)
def test_more_padding_changes_nothing(kind: str) -> None:
    model = model_with(regattn.Fusedmax(), kind)
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


def test_the_equations_of_the_decomposable_model() -> None:
    model = model_with(regattn.Softmax(), "decomposable")
    premise, hypothesis = batch_of(PAIRS[:1], VOCABULARY, "cpu")
    a, b = (model.project(model.vectors(side.words[0])) for side in (premise, hypothesis))
    e = model.attend(a) @ model.attend(b).T
    beta, alpha = torch.softmax(e, 1) @ b, torch.softmax(e, 0).T @ a
    compared = [model.compare(torch.cat(pair, -1)).sum(0) for pair in ((a, beta), (b, alpha))]
    logits = model.classify(model.aggregate(torch.cat(compared)))
    found, weights = model(premise, hypothesis)
    torch.testing.assert_close(found[0], logits)
    torch.testing.assert_close(weights[0], torch.softmax(e, 0).T)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("trained", [False, True])
def test_vectors_are_frozen_unless_asked(trained: bool, kind: str) -> None:
    model = model_with(regattn.Softmax(), kind, train_vectors=trained).train()
    model(*batch_of(PAIRS, VOCABULARY, "cpu"))[0].sum().backward()
    assert (model.vectors.weight.grad is not None) is trained
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


@pytest.mark.parametrize("kind", MODELS)
def test_dropout_acts_in_training_only(kind: str) -> None:
    model = model_with(regattn.Softmax(), kind, dropout=0.5)
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


@pytest.mark.parametrize("kind", MODELS)
def test_a_prediction_is_decided_as_in_training(kind: str) -> None:
    model = model_with(regattn.Fusedmax(gamma=0.02, lam=0.5), kind)
    batch = batch_of(PAIRS, VOCABULARY, "cpu")
    logits, weights = model(*batch)
    given: list[torch.Tensor] = []
    model.attention.scorer.register_forward_hook(lambda _, inputs, scores: given.append(scores))
    found = model.predict(*batch)
    rows = found.is_query
    torch.testing.assert_close(found.logits, logits)
    torch.testing.assert_close(found.weights[rows], weights.reshape(found.weights.shape)[rows])
    assert torch.equal(found.mask, batch[0].words != PAD)
    groups = regattn.groups(given[-1], model.attention.mapping, mask=found.mask.unsqueeze(1))
    assert torch.equal(found.groups[rows], groups[rows])
    assert torch.equal(found.groups != 0, found.weights != 0)
