"""The search finds what enumerating everything, or a beam search in plain lists, finds."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from torch import Tensor
from toy_model import ToyMemory, ToyModel, ToyState, rescore

from tasks.data.batching import pad
from tasks.data.vocabulary import BOS, EOS, PAD, UNK
from tasks.seq2seq.search import Hypothesis, SearchSettings, search, search_all


class Output(NamedTuple):
    ids: tuple[int, ...]
    log_probability: float
    weights: tuple[tuple[float, ...], ...]  # with the end's row where it is finished
    finished: bool


class Plain:
    """One sentence and a model, asked for one prefix at a time, without batches, states or early stops."""

    def __init__(self, model: ToyModel, source: list[int], settings: SearchSettings) -> None:
        self.model, self.source, self.settings = model, source, settings
        ratio = settings.max_length_ratio
        self.limit = settings.max_length
        if ratio is not None:
            self.limit = max(settings.min_length, min(self.limit, math.floor(ratio * len(source)) + 10))
        memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
        self.memory, self.states = memory, {(): model.start(memory)}
        self.known: dict[tuple[int, ...], tuple[list[float], tuple[float, ...]]] = {}

    def next(self, prefix: tuple[int, ...]) -> tuple[list[float], tuple[float, ...]]:
        if prefix not in self.known:
            last = torch.tensor([[prefix[-1] if prefix else BOS]])
            with torch.no_grad():
                table, weights, state = self.model.step(last, self.states[prefix], self.memory)
            self.known[prefix] = table[0, 0].tolist(), tuple(weights[0, 0].tolist())
            self.states.update({(*prefix, token): state for token in range(table.shape[-1])})
        return self.known[prefix]

    def allowed(self, prefix: tuple[int, ...], token: int) -> bool:
        if token in (PAD, BOS) or (token == UNK and not self.settings.allow_unknown):
            return False
        if token == EOS:
            return len(prefix) >= self.settings.min_length
        ids, n = (*prefix, token), self.settings.no_repeat_ngram
        grams = [ids[i : i + n] for i in range(len(ids) - n + 1)] if n else []
        return len(grams) == len(set(grams))

    def grow(self, output: Output) -> Iterator[Output]:
        table, weights = self.next(output.ids)
        for token, gained in enumerate(table):
            if self.allowed(output.ids, token) and gained > -math.inf:
                ids = output.ids if token == EOS else (*output.ids, token)
                rows = (*output.weights, weights)
                yield Output(ids, output.log_probability + gained, rows, token == EOS)

    def score(self, output: Output) -> float:
        length = len(output.ids) + output.finished
        value = output.log_probability / ((5 + length) / 6) ** self.settings.length_penalty
        for i in range(len(self.source)):
            covered = sum(row[i] for row in output.weights)
            value += self.settings.coverage_penalty * math.log(min(max(covered, 1e-3), 1))
        return value

    def rank(self, finished: list[Output], unfinished: list[Output]) -> list[Output]:
        both = [
            *sorted(finished, key=self.score, reverse=True),
            *sorted(unfinished, key=self.score, reverse=True),
        ]
        return both[: self.settings.n_best]

    def everything(self) -> list[Output]:
        finished, unfinished, level = [], [], [Output((), 0.0, (), False)]
        for length in range(self.limit + 1):
            grown = [new for old in level for new in self.grow(old)]
            finished += [new for new in grown if new.finished]
            unfinished = [] if length < self.limit else level
            level = [new for new in grown if not new.finished]
        ended = {output.ids for output in finished}
        return self.rank(finished, [output for output in unfinished if output.ids not in ended])

    def beam(self) -> list[Output]:
        size = self.settings.beam_size
        finished: list[Output] = []
        level = [Output((), 0.0, (), False)]
        for length in range(self.limit + 1):
            grown = sorted(
                (new for old in level for new in self.grow(old)), key=lambda new: -new.log_probability
            )
            ended = [new for new in grown[:size] if new.finished]
            finished += ended
            following = [new for new in grown if not new.finished][:size]
            if length == self.limit or not following:
                over = {new.ids for new in ended}
                return self.rank(finished, [old for old in level if old.ids not in over])
            level = following
        raise AssertionError


def same(found: list[Hypothesis], wanted: list[Output], plain: Plain) -> None:
    assert [one.ids for one in found] == [one.ids for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.finished == other.finished
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-9)
        assert one.score == pytest.approx(plain.score(other), abs=1e-9)
        rows = torch.tensor(other.weights, dtype=torch.float64).view(-1, len(plain.source))
        torch.testing.assert_close(one.weights, rows, rtol=0, atol=1e-9)
        assert one.weights.device.type == "cpu"


def compare_all(
    model: ToyModel, sources: list[list[int]], settings: SearchSettings, wanted: str = "beam"
) -> None:
    found = search(model, *pad(sources), settings)
    assert len(found) == len(sources)
    for source, hypotheses in zip(sources, found, strict=True):
        plain = Plain(model, source, settings)
        same(hypotheses, getattr(plain, wanted)(), plain)


SOURCES = [[4, 5, 4], [5], [5, 5, 4, 1, 4]]
WIDE = SearchSettings(beam_size=400, n_best=7, max_length=4)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "settings",
    [
        WIDE,
        replace(WIDE, n_best=1),
        replace(WIDE, n_best=400),
        replace(WIDE, length_penalty=0.8),
        replace(WIDE, length_penalty=3.0, n_best=1),
        replace(WIDE, coverage_penalty=0.7),
        replace(WIDE, length_penalty=0.6, coverage_penalty=0.4, n_best=2),
        replace(WIDE, min_length=2),
        replace(WIDE, min_length=4),
        replace(WIDE, no_repeat_ngram=1),
        replace(WIDE, no_repeat_ngram=2, n_best=1),
        replace(WIDE, no_repeat_ngram=3),
        replace(WIDE, allow_unknown=False, n_best=40),
        replace(WIDE, no_repeat_ngram=2, min_length=3, length_penalty=1.0, coverage_penalty=0.2),
    ],
    ids=str,
)
def test_a_wide_beam_finds_the_best_of_all(settings: SearchSettings, seed: int) -> None:
    model = ToyModel(6, seed=seed, sharpness=0.5, ending=-1.0).double()
    compare_all(model, SOURCES, settings, "everything")


numbers = st.integers(4, 8)
some_settings = st.builds(
    lambda beam_size, n_best, max_length, min_length, **others: SearchSettings(
        beam_size=beam_size,
        n_best=min(n_best, beam_size),
        max_length=max_length,
        min_length=min(min_length, max_length),
        **others,
    ),
    beam_size=st.integers(1, 5),
    n_best=st.integers(1, 5),
    max_length=st.integers(1, 9),
    min_length=st.sampled_from([0, 0, 1, 3, 9]),
    length_penalty=st.sampled_from([0.0, 0.0, 0.6, 2.0]),
    coverage_penalty=st.sampled_from([0.0, 0.0, 0.3]),
    no_repeat_ngram=st.integers(0, 3),
    max_length_ratio=st.sampled_from([None, None, 0.5]),
    allow_unknown=st.booleans(),
)


@run(max_examples=100)
@given(
    sources=st.lists(st.lists(numbers, min_size=1, max_size=6), min_size=1, max_size=4),
    settings=some_settings,
    seed=st.integers(0, 1000),
    sharpness=st.sampled_from([0.2, 1.0]),
    ending=st.sampled_from([-2.0, 0.0, 2.0]),
)
def test_early_stops_and_batches_change_nothing(
    sources: list[list[int]], settings: SearchSettings, seed: int, sharpness: float, ending: float
) -> None:
    model = ToyModel(9, seed=seed, sharpness=sharpness, ending=ending).double()
    compare_all(model, sources, settings)


@pytest.mark.parametrize("vocabulary", [63, 64, 65, 128, 200])
def test_large_vocabularies(vocabulary: int) -> None:
    model = ToyModel(vocabulary, seed=3, sharpness=0.5, ending=2.0).double()
    compare_all(model, SOURCES, SearchSettings(beam_size=6, n_best=3, max_length=4))


@pytest.mark.parametrize("vocabulary", [6, 150])
def test_equally_probable_ones_come_by_hypothesis_and_token(vocabulary: int) -> None:
    model = ToyModel(vocabulary, sharpness=0.0).double()
    [found] = search(model, *pad([[4]]), SearchSettings(beam_size=4, n_best=4, max_length=3, min_length=1))
    # Four of the first ones' continuations are looked at: (1), (1, 1) and (1, 1, 1) end, then (1, 1, 4).
    assert [one.ids for one in found] == [(1,), (1, 1), (1, 1, 1), (1, 1, 4)]
    compare_all(model, SOURCES, SearchSettings(beam_size=4, n_best=4, max_length=3))


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    model = ToyModel(12, seed=seed, ending=2.0).double()
    for source in ([4, 5, 6], [7], [11, 4, 9, 9]):
        memory = model.encode(*pad([source]))
        state, tokens, total = model.start(memory), [BOS], 0.0
        for _ in range(9):
            table, _, state = model.step(torch.tensor([tokens[-1:]]), state, memory)
            table[..., [PAD, BOS]] = -math.inf
            best = int(table.argmax())
            if best == EOS or len(tokens) <= 8:
                total += table.max().item()
                tokens.append(best)
            if best == EOS:
                break
        [[found]] = search(model, *pad([source]), SearchSettings(beam_size=1, max_length=8))
        assert [BOS, *found.ids, *[EOS] * found.finished] == tokens
        assert found.log_probability == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beam_size", [1, 5])
def test_a_sentence_alone_is_a_sentence_in_a_batch(beam_size: int, dtype: torch.dtype, measure: Any) -> None:
    random, row = torch.Generator().manual_seed(1), measure("batch of one", parts=4)
    lengths = torch.randint(1, 20, (row.n,), generator=random).tolist()
    sources = [torch.randint(1, 50, (n,), generator=random).clamp(min=4).tolist() for n in lengths]
    model = ToyModel(50, 16, seed=4, scale=0.5, sharpness=2.0, ending=1.0).to(dtype)
    settings = SearchSettings(beam_size, max_length=30, n_best=beam_size, length_penalty=0.5)
    together = search_all(model, sources, settings, batch_size=50)
    wide = torch.nn.functional.pad(pad(sources)[0], (0, 7), value=PAD)
    others = [
        search_all(model, sources, settings, batch_size=1),
        search_all(model, sources, settings, batch_size=4),
        search(model, wide, torch.tensor(lengths), settings),
        search_all(model, sources[::-1], settings, batch_size=5)[::-1],
    ]
    assert len({len(one.ids) for sentence in together for one in sentence}) > 3
    row.add(len(sources), dtype=str(dtype), beam=beam_size)
    for other in others:
        for ones, twos in zip(together, other, strict=True):
            assert [one.ids for one in ones] == [two.ids for two in twos]
            for one, two in zip(ones, twos, strict=True):
                assert one.finished == two.finished
                # For each token two units in the last place of a logit of 8: matrix products of other shapes.
                tolerance = (1e-14 if dtype == torch.float64 else 2e-6) * (len(one.ids) + 1)
                assert one.score == pytest.approx(two.score, abs=tolerance)
                torch.testing.assert_close(one.weights, two.weights, rtol=0, atol=100 * tolerance)


def test_rescoring_gives_the_score(measure: Any) -> None:
    model, random, row = ToyModel(30, seed=2, sharpness=0.5, ending=4.0), Random(0), measure("rescoring")
    sources = [[4, 5, 6, 7], [8, 29], [9], [4] * 12]
    sources += [random.choices(range(4, 30), k=random.randint(1, 12)) for _ in range(row.n // 4)]
    found = search(model, *pad(sources), SearchSettings(n_best=5, max_length=60))
    for rank in range(5):
        ended = [n for n, sentence in enumerate(found) if sentence[rank].finished]
        outputs = [found[n][rank] for n in ended]
        again = rescore(model, *pad([sources[n] for n in ended]), [one.ids for one in outputs])
        for one, value in zip(outputs, again, strict=True):
            assert one.score == one.log_probability
            row.within(abs(value - one.score), 1e-6 * (len(one.ids) + 1), dtype="float32")


def test_the_best_come_first_and_differ() -> None:
    model = ToyModel(30, seed=2, sharpness=0.5, ending=2.0)
    settings = SearchSettings(8, n_best=8, max_length=20, length_penalty=1.0)
    for sentence in search(model, *pad([[4, 5, 6, 7], [8, 29], [9]]), settings):
        scores = [one.score for one in sentence]
        assert scores == sorted(scores, reverse=True)
        assert len({one.ids for one in sentence}) == len(sentence) == 8


def test_outputs_that_end_come_before_those_that_do_not() -> None:
    model = ToyModel(6, seed=0, sharpness=0.5, ending=-1.0).double()
    settings = SearchSettings(40, n_best=30, max_length=2, min_length=2)
    [sentence] = search(model, *pad([[4, 5]]), settings)
    assert [one.finished for one in sentence] == [True] * 9
    [sentence] = search(model, *pad([[4, 5]]), replace(settings, beam_size=12, n_best=12))
    ended = [one.finished for one in sentence]
    assert True in ended and False in ended and ended == sorted(ended, reverse=True)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_model_that_never_ends(beam_size: int) -> None:
    model = ToyModel(20, ending=-math.inf)
    settings = SearchSettings(beam_size, max_length=7, n_best=beam_size)
    for sentence in search(model, *pad([[4, 5, 6], [7]]), settings):
        assert [len(one.ids) for one in sentence] == [7] * beam_size
        assert not any(one.finished for one in sentence)
        assert [len(one.weights) for one in sentence] == [7] * beam_size
    sentences = search_all(
        model, [[4] * 9, [5]], replace(settings, max_length=15, max_length_ratio=0.3), batch_size=2
    )
    assert [[len(one.ids) for one in sentence] for sentence in sentences] == [
        [12] * beam_size,
        [10] * beam_size,
    ]


class Counting(ToyModel):
    """Notes for each step how many sentences there were."""

    def step(self, tokens: Tensor, state: ToyState, memory: ToyMemory) -> tuple[Tensor, Tensor, ToyState]:
        assert len(tokens) == len(state.hidden) == len(memory.keys)
        self.batches = [*getattr(self, "batches", []), len(tokens)]
        return super().step(tokens, state, memory)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_model_that_ends_at_once(beam_size: int) -> None:
    model = Counting(20, ending=1e9)
    for sentence in search(model, *pad([[4, 5, 6], [7]]), SearchSettings(beam_size)):
        [one] = sentence
        assert one.ids == () and one.finished and one.log_probability == 0
        assert one.weights.sum(1).tolist() == pytest.approx([1])
    assert model.batches == [2]


def test_sentences_that_are_over_leave_the_batch() -> None:
    model = Counting(20, seed=5, ending=3.0)
    found = search(model, *pad([[4, 5, 6], [7], [8, 9], [10]]), SearchSettings(beam_size=1))
    steps = [len(one.ids) + 1 for [one] in found]
    assert len(set(steps)) > 1
    assert model.batches == [sum(n > step for n in steps) for step in range(max(steps))]


def test_weights_are_those_of_the_tokens() -> None:
    model = ToyModel(30, seed=2, sharpness=0.5, ending=1.0).double()
    source = [4, 5, 6, 7, 8]
    for one in search(model, *pad([source, [9] * 7]), SearchSettings(n_best=5, max_length=6))[0]:
        memory = model.encode(*pad([source]))
        state, rows = model.start(memory), []
        for token in (BOS, *one.ids)[: len(one.ids) + one.finished]:
            _, weights, state = model.step(torch.tensor([[token]]), state, memory)
            rows.append(weights[0, 0])
        torch.testing.assert_close(one.weights, torch.stack(rows).detach())


def test_where_nothing_may_follow_an_output_stays_unfinished() -> None:
    model = ToyModel(6, seed=1).double()
    settings = SearchSettings(3, n_best=3, max_length=9, min_length=5, no_repeat_ngram=1)
    compare_all(model, SOURCES, settings)
    assert all(len(one.ids) == 3 and not one.finished for one in search(model, *pad([[4]]), settings)[0])


def test_no_sentences() -> None:
    model, none = ToyModel(6), torch.zeros((0, 3), dtype=torch.long)
    assert search(model, none, torch.zeros(0, dtype=torch.long), SearchSettings()) == []
    assert search_all(model, [], SearchSettings(), batch_size=3) == []


class Broken(ToyModel):
    def __init__(self, value: float) -> None:
        super().__init__(9)
        self.value = value

    def step(self, tokens: Tensor, state: ToyState, memory: ToyMemory) -> tuple[Tensor, Tensor, ToyState]:
        table, weights, state = super().step(tokens, state, memory)
        table[-1, -1, 7] = self.value
        return table, weights, state


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5])
def test_what_are_no_log_probabilities_is_refused(value: float) -> None:
    with pytest.raises(
        ValueError, match=r"^log-probabilities must be at most 0, got more or NaN at step 0 of sen"
    ):
        search(Broken(value), *pad([[4, 5], [4]]), SearchSettings())


ONES, WORDS = torch.ones(2, dtype=torch.long), torch.full((2, 3), 4)


@pytest.mark.parametrize(
    ("source", "lengths", "message"),
    [
        (ONES, ONES, r"source must be int64 \(batch, longest\), got torch.int64 \(2,\)"),
        (WORDS.float(), ONES, r"source must be int64 \(batch, longest\), got torch.float32 \(2, 3\)"),
        (WORDS, ONES[:1], r"lengths must be int64 \(2,\) on the CPU, got torch.int64 \(1,\) on cpu"),
        (WORDS, ONES.float(), r"lengths must be int64 \(2,\) on the CPU, got torch.float32"),
        (WORDS, ONES - 1, r"lengths must lie in 1 ... 3, got 0"),
        (WORDS, ONES + 3, r"lengths must lie in 1 ... 3, got 4"),
    ],
)
def test_sources(source: Tensor, lengths: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        search(ToyModel(9), source, lengths, SearchSettings())


def test_other_arguments() -> None:
    model = ToyModel(9)
    with pytest.raises(
        ValueError, match=r"^every sentence must have at least one token, got none at position 1$"
    ):
        search_all(model, [[4], []], SearchSettings(), batch_size=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(({name: bad}, f"{name} must be an integer of at least 1{most}, got {bad!r}")
          for (name, most), bad in itertools.product(
              [("beam_size", " and at most 1,000"), ("max_length", " and at most 10,000"), ("n_best", "")],
              [0, -1, 1.5, True, "2"],
          )),
        ({"beam_size": 1001}, "beam_size must be an integer of at least 1 and at most 1,000, got 1001"),
        ({"max_length": 10_001}, "max_length must be .* at most 10,000, got 10001"),
        *(({name: bad}, f"{name} must be an integer of at least 0, got {bad!r}")
          for name, bad in itertools.product(["min_length", "no_repeat_ngram"], [-1, 1.5, None])),
        *(({f"{kind}_penalty": bad}, f"{kind}_penalty must be a number of .* at most 10, got {bad!r}")
          for kind, bad in itertools.product(["length", "coverage"], [-1, math.nan, math.inf, 11])),
        *(({"max_length_ratio": bad}, f"max_length_ratio must be a number .* at most 1,000, got {bad!r}")
          for bad in (0, math.nan, "1", 1001)),
        ({"n_best": 6}, "n_best must be at most beam_size, 5, got 6"),
        ({"max_length": 3, "min_length": 4}, "min_length must be at most max_length, 3, got 4"),
        ({"allow_unknown": 1}, "allow_unknown must be True or False, got 1"),
    ],
)  # fmt: skip
def test_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SearchSettings(**values)


class Scripted(ToyModel):
    """Gives token 4 and the end fixed probabilities at each step."""

    def __init__(self, *probabilities: tuple[float, float]) -> None:
        super().__init__(6)
        self.probabilities = iter(probabilities)

    def step(self, tokens: Tensor, state: ToyState, memory: ToyMemory) -> tuple[Tensor, Tensor, ToyState]:
        table, weights, state = super().step(tokens, state, memory)
        table = torch.full_like(table, -math.inf)
        table[..., [4, EOS]] = torch.tensor(next(self.probabilities)).log()
        return table, weights, state


def test_a_length_penalty_is_waited_for() -> None:
    # log 0.5 = -0.69 is more than log 0.45 = -0.80, but not more than log 0.45 / (7 / 6)^3 = -0.50.
    model = Scripted((0.45, 0.5), (0.0, 1.0))
    settings = SearchSettings(2, max_length=1, length_penalty=3.0)
    [[found]] = search(model, *pad([[4]]), settings)
    assert found.ids == (4,)
    assert found.score == pytest.approx(math.log(0.45) / (7 / 6) ** 3, abs=1e-6)


def test_coverage_of_a_source_padded_wide() -> None:
    model = ToyModel(9, seed=3, ending=1.0).double()
    settings = SearchSettings(3, n_best=3, max_length=5, coverage_penalty=0.5)
    wide = torch.nn.functional.pad(torch.tensor([[4, 5, 6]]), (0, 4), value=PAD)
    [found] = search(model, wide, torch.tensor([3]), settings)
    plain = Plain(model, [4, 5, 6], settings)
    same(found, plain.beam(), plain)
