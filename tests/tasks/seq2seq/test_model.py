"""The encoder–decoder against its formulas, and against itself read another way."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_model import rescore

import regattn
from tasks.data.vocabulary import BOS, EOS, PAD
from tasks.seq2seq.model import SCORERS, ModelSettings, Seq2Seq, State
from tasks.seq2seq.search import SearchSettings, search

MAPPINGS = [
    regattn.Softmax(),
    regattn.Sparsemax(),
    regattn.Fusedmax(),
    regattn.Oscarmax(),
    regattn.PNormmax(),
]
SHAPES = [
    ModelSettings(hidden_size=8, embedding_size=6),
    ModelSettings(hidden_size=8, embedding_size=6, input_feed=False, bidirectional=True, cell="gru"),
    ModelSettings(hidden_size=8, embedding_size=8, layers=1, tie_embeddings=True, scorer="additive"),
    ModelSettings(hidden_size=8, embedding_size=6, layers=3, bidirectional=True, scorer="scaled_dot"),
]
SOURCE_SIZE, TARGET_SIZE = 11, 13


def build(settings: ModelSettings, mapping: nn.Module | None = None, **options: bool) -> Seq2Seq:
    torch.manual_seed(3)
    model = Seq2Seq(settings, mapping or regattn.Sparsemax(), SOURCE_SIZE, TARGET_SIZE, **options)
    # Larger weights than training starts from: differences must be seen.
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6)
    return model.double().eval()


def test_learnt_strengths_start_as_given_and_other_weights_as_without() -> None:
    models = []
    for learn in ((), ("gamma", "lam")):
        torch.manual_seed(3)
        mapping = regattn.Fusedmax(gamma=4.0, lam=0.02, learn=learn)
        models.append(Seq2Seq(SHAPES[0], mapping, SOURCE_SIZE, TARGET_SIZE))
    plain, learning = (model.state_dict() for model in models)
    assert learning.keys() - plain.keys() == {"attention.mapping.raw_gamma", "attention.mapping.raw_lam"}
    assert all(torch.equal(plain[name], learning[name]) for name in plain)
    assert [value.item() for value in mapping.strengths.values()] == pytest.approx([4.0, 0.02])


def sentences(lengths: list[int], size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, size, (len(lengths), max(lengths)), generator=generator)
    for row, length in enumerate(lengths):
        tokens[row, length:] = PAD
    return tokens, torch.tensor(lengths)


def decoder_input(targets: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.full((len(targets), 1), BOS), targets], 1)


@pytest.mark.parametrize("settings", SHAPES, ids=str)
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: type(m).__name__)
def test_reading_along_is_stepping_along(settings: ModelSettings, mapping: nn.Module) -> None:
    model = build(settings, mapping)
    source, lengths = sentences([5, 2, 7], SOURCE_SIZE)
    targets = decoder_input(sentences([4, 4, 4], TARGET_SIZE)[0])
    reading, memory = model(source, lengths, targets)
    state = model.start(memory)
    for t in range(targets.shape[1]):
        table, weights, state = model.step(targets[:, t : t + 1], state, memory)
        expected = model.predict(reading.outputs[:, t]).log_softmax(-1)
        torch.testing.assert_close(table.squeeze(1).double(), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(weights.squeeze(1), reading.weights[:, t], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SHAPES, ids=str)
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda m: type(m).__name__)
def test_a_sentence_reads_the_same_alone_and_among_longer_ones(
    settings: ModelSettings, mapping: nn.Module
) -> None:
    model = build(settings, mapping)
    source, lengths = sentences([3, 9, 1], SOURCE_SIZE)
    targets = decoder_input(sentences([2, 5, 5], TARGET_SIZE)[0])
    together, _ = model(source, lengths, targets)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = model(source[row : row + 1, :length], lengths[row : row + 1], targets[row : row + 1])
        torch.testing.assert_close(together.outputs[row], alone.outputs[0], rtol=0, atol=1e-12)
        assert (together.weights[row, :, length:] == 0).all()
        torch.testing.assert_close(together.weights[row, :, :length], alone.weights[0], rtol=0, atol=1e-12)


def test_the_first_two_steps_by_the_papers_formulas() -> None:
    """Luong's general attention and input feeding, written out with nn.LSTM and matrix products alone."""
    model = build(ModelSettings(hidden_size=8, embedding_size=6, layers=2))
    source, lengths = sentences([6], SOURCE_SIZE)
    targets = decoder_input(sentences([1], TARGET_SIZE)[0])
    states, last = model.encoder(model.embed_source(source))

    lstm = nn.LSTM(6 + 8, 8, 2, batch_first=True).double()
    lstm.load_state_dict(model.decoder.sequence.state_dict())
    fed, outputs = torch.zeros(1, 8, dtype=torch.double), []
    for t in range(2):
        inputs = torch.cat([model.embed_target(targets[:, t]), fed], -1).unsqueeze(1)
        h, last = lstm(inputs, last)
        scores = states[0] @ model.attention.scorer.project.weight @ h[0, 0]  # h_sᵀ W h_t
        context = regattn.sparsemax(scores) @ states[0]
        fed = torch.tanh(model.combine.weight @ torch.cat([context, h[0, 0]])).unsqueeze(0)
        outputs.append(fed)
    reading, _ = model(source, lengths, targets)
    torch.testing.assert_close(reading.outputs[0], torch.cat(outputs), rtol=0, atol=1e-12)


def test_the_papers_model_has_the_size_of_opennmts() -> None:
    vocabulary, h = 50_004, 500
    model = Seq2Seq(ModelSettings(), regattn.Softmax(), vocabulary, vocabulary)

    def lstm(inputs: int) -> int:
        return 4 * (inputs * h + h * h + 2 * h)

    encoder, decoder = 2 * lstm(h), lstm(2 * h) + lstm(h)
    output = h * vocabulary + vocabulary
    wanted = 2 * vocabulary * h + encoder + decoder + h * h + 2 * h * h + output
    assert sum(weight.numel() for weight in model.parameters()) == wanted
    assert all(weight.abs().max() <= 0.1 for weight in model.parameters())
    assert float(model.predict.weight.detach().std()) == pytest.approx(0.2 / 12**0.5, rel=0.01)


@pytest.mark.parametrize("shared", [False, True])
def test_tied_vectors_are_one_tensor(shared: bool) -> None:
    settings = ModelSettings(hidden_size=8, embedding_size=8, tie_embeddings=True)
    model = Seq2Seq(settings, regattn.Softmax(), TARGET_SIZE, TARGET_SIZE, shared=shared)
    assert model.predict.weight is model.embed_target.weight
    assert (model.embed_source is model.embed_target) is shared


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_every_weight_learns_and_padding_stays_zero(settings: ModelSettings) -> None:
    model = build(settings, regattn.Softmax()).train()
    source, lengths = sentences([5, 3], SOURCE_SIZE)
    reading, _ = model(source, lengths, decoder_input(sentences([4, 4], TARGET_SIZE)[0]))
    model.predict(reading.outputs).log_softmax(-1)[..., EOS].sum().backward()
    silent = [name for name, weight in model.named_parameters() if not weight.grad.any()]
    assert silent == []
    assert not model.embed_source.weight.grad[PAD].any() or settings.tie_embeddings


@pytest.mark.parametrize("input_feed", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_dropout_acts_between_layers_and_on_the_output(cell: str, input_feed: bool) -> None:
    def first_step(layers: int) -> tuple[bool, bool, torch.Tensor, torch.Tensor]:
        settings = ModelSettings(
            cell, layers, hidden_size=16, embedding_size=6, input_feed=input_feed, dropout=0.5
        )
        model = build(settings)
        source, lengths = sentences([6] * 5, SOURCE_SIZE)
        memory = model.encode(source, lengths)  # without dropout
        reading = model.teacher_forced(decoder_input(source), memory)
        model.train()
        torch.manual_seed(layers)
        dropped = model.teacher_forced(decoder_input(source), memory)
        same_states = torch.equal(model.encode(source, lengths).states, memory.states)
        same_queries = torch.equal(dropped.queries[:, 0], reading.queries[:, 0])
        return same_states, same_queries, reading.outputs[:, 0], dropped.outputs[:, 0]

    same_states, same_queries, whole, dropped = first_step(layers=1)
    assert same_states and same_queries
    assert ((dropped == 0) | (dropped == 2 * whole)).all()
    assert 0.3 < (dropped == 0).double().mean() < 0.7
    same_states, same_queries, *_ = first_step(layers=2)
    assert not same_states and not same_queries


@pytest.mark.parametrize("input_feed", [True, False])
def test_word_vectors_of_both_sides_are_dropped(input_feed: bool) -> None:
    settings = ModelSettings(
        hidden_size=8, embedding_size=6, input_feed=input_feed, dropout=0.0, embedding_dropout=0.5
    )
    model = build(settings)
    source, lengths = sentences([6, 6], SOURCE_SIZE)
    memory, targets = model.encode(source, lengths), decoder_input(source)
    queries = model.teacher_forced(targets, memory).queries
    model.train()
    assert not torch.equal(model.encode(source, lengths).states, memory.states)
    assert not torch.equal(model.teacher_forced(targets, memory).queries, queries)


def test_states_follow_their_hypotheses() -> None:
    model = build(SHAPES[0])
    memory = model.encode(*sentences([4, 2], SOURCE_SIZE))
    state = model.start(memory)
    wide = state.reorder(torch.zeros(2, 3, dtype=torch.long))
    _, _, wide = model.step(torch.tensor([[4, 5, 6], [7, 8, 9]]), wide, memory)
    swapped = wide.reorder(torch.tensor([[2, 0], [1, 1]]))
    kept = swapped.select(torch.tensor([1]))
    assert isinstance(kept, State)
    for old, new in zip((*wide.layers, wide.fed), (*kept.layers, kept.fed), strict=True):
        assert torch.equal(new[0, 0], old[1, 1])
        assert torch.equal(new[0, 1], old[1, 1])
    for old, new in zip((*wide.layers, wide.fed), (*swapped.layers, swapped.fed), strict=True):
        assert torch.equal(new[0], old[0, [2, 0]])


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_rescoring_what_the_search_found_gives_its_score(settings: ModelSettings) -> None:
    model = build(settings, regattn.Fusedmax()).float()
    source, lengths = sentences([6, 1, 4, 9], SOURCE_SIZE)
    found = [best[0] for best in search(model, source, lengths, SearchSettings(max_length=12))]
    targets = [list(hypothesis.ids) for hypothesis in found]
    finished = [n for n, hypothesis in enumerate(found) if hypothesis.finished]
    assert finished
    scores = rescore(model, source, lengths, targets)
    for n in finished:
        assert abs(scores[n] - found[n].log_probability) <= 1e-6 * (len(targets[n]) + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "rnn"}, "cell must be one of lstm, gru, got 'rnn'"),
        ({"layers": 0}, "layers must be an integer of at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
        ({"embedding_dropout": float("nan")}, "embedding_dropout must be a number"),
        ({"init_range": float("inf")}, "init_range must be a number above 0 and at most 1,000, got inf"),
        ({"scorer_init_range": 0.0}, "scorer_init_range must be a number above 0 and at most 1,000, got 0.0"),
        ({"scorer": "luong"}, f"scorer must be one of {', '.join(SCORERS)}, got 'luong'"),
        ({"hidden_size": 7, "bidirectional": True}, "hidden_size must be even for two directions, got 7"),
        ({"tie_embeddings": True, "embedding_size": 4}, "got 4 and 500"),
    ],
)
def test_other_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSettings(**options)  # type: ignore[arg-type]


def test_the_scorers_weights_alone_may_start_smaller() -> None:
    sizes = {"hidden_size": 8, "embedding_size": 8}
    plain, small = (build(ModelSettings(**sizes, scorer_init_range=bound)) for bound in (None, 0.01))
    for (name, weight), other in zip(plain.named_parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(other, weight * (0.1 if "scorer" in name else 1.0))
