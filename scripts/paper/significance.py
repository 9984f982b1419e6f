"""How sure a result is: seeds as randomised blocks, items as samples, many comparisons by Holm."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit  # type: ignore[import-untyped]  # not scipy.stats: slow to import

from scripts.paper.selection import Rows as Cells
from scripts.paper.selection import task_of
from tasks._registry import import_object
from tasks.training.records import Record, read_details

Floats = np.ndarray[Any, np.dtype[np.float64]]
LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 200
"""Beyond these no number of seeds is named: nobody trains so many."""


@dataclass(frozen=True)
class MeanStd:
    """A score over seeds."""

    mean: float
    count: int  # seeds
    std: float | None = None  # None of one seed
    half_width: float | None = None  # of the 95 % interval of the mean, by Student's t; None of one seed

    def text(self, digits: int = 2) -> str:
        """Mean, and the standard deviation where there is one.

        Example:
            >>> mean_std([60.0, 61.0]).text(), mean_std([60.0]).text(1)
            ('60.50 ± 0.71', '60.0')
        """
        text = f"{self.mean:.{digits}f}"
        return text if self.std is None else f"{text} ± {self.std:.{digits}f}"

    def interval(self, digits: int = 2) -> str:
        """The interval, in words.

        Example:
            >>> mean_std([60.0, 61.0]).interval(), mean_std([60.0]).interval()
            ('95 % interval over 2 seeds: 54.15 to 66.85', 'one seed')
        """
        if self.half_width is None:
            return "one seed"
        low, high = self.mean - self.half_width, self.mean + self.half_width
        return f"95 % interval over {self.count} seeds: {low:.{digits}f} to {high:.{digits}f}"


def mean_std(scores: Sequence[float]) -> MeanStd:
    """The mean and spread of the scores of several seeds, at least one."""
    count = len(scores)
    if count == 1:
        return MeanStd(scores[0], 1)
    std = stdev(scores)
    half_width = float(stdtrit(count - 1, 1 - LEVEL / 2)) * std / count**0.5
    return MeanStd(mean(scores), count, std, half_width)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct p-values for their number, so that one of them errs at most as often as its level says.

    Of :math:`m` in rising order the :math:`k`-th becomes
    :math:`\max_{j \le k} \min(1, (m - j + 1)\, p_{(j)})`.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order = np.argsort(p_values, kind="stable")
    rising = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(rising))
    return [float(p) for p in corrected]


# ------------------------------------------------------------------ seeds as randomised blocks
@dataclass(frozen=True)
class Design:
    r"""How many mappings were trained with how many seeds, and what varies between them.

    A difference of two means over the seeds has the standard error
    :math:`\sqrt{2\,\mathrm{MS}/n + m^2}`: MS is the residual mean square of mappings × seeds, :math:`m^2`
    what the choice of the test items changes of a difference whatever the seeds.
    """

    mappings: int  # k, at least 2
    seeds: int  # n; of one nothing but the difference itself is known
    mean_square: float  # MS
    item_variance: float  # m²

    @property
    def freedom(self) -> int:
        """Degrees of freedom."""
        return (self.mappings - 1) * (self.seeds - 1)

    @cached_property
    def error(self) -> float:
        """The standard error of a difference."""
        return sqrt(2 * self.mean_square / self.seeds + self.item_variance)

    def with_seeds(self, seeds: int) -> Design:
        return Design(self.mappings, seeds, self.mean_square, self.item_variance)

    def p_value(self, shift: float, sides: int) -> float:
        """Of the hypothesis that a shift is 0, on the side where it was found or on both.

        Example:
            >>> round(Design(5, 5, 0.075, 0.0025).p_value(0.5, sides=2), 3)
            0.014
        """
        if not self.error:
            return 1.0 if shift == 0 else 0.0
        return float(min(1.0, sides * stdtr(self.freedom, -abs(shift) / self.error)))

    def power(self, shift: float, sides: int, level: float = LEVEL) -> float:
        """How often a true shift is found at that level.

        Example:
            >>> design = Design(5, 5, 0.075, 0.0025)
            >>> round(design.power(0.5, sides=2), 2), round(design.with_seeds(10).power(0.5, sides=2), 2)
            (0.74, 0.96)
        """
        if not self.error:
            return float(shift != 0)
        far = abs(shift) / self.error
        critical = float(stdtrit(self.freedom, 1 - level / sides))
        # Far beyond the critical value SciPy's distribution may be NaN, and the answer is 1.
        return 1.0 if far > critical + 8 else float(1 - nctdtr(self.freedom, far, critical))

    def least(self, sides: int, level: float = LEVEL) -> float:
        """The least shift that is found with a power of 80 %.

        Example:
            >>> round(Design(5, 5, 0.075, 0.0025).least(sides=2), 2)
            0.54
        """
        if not self.error:
            return 0.0
        low, high = 0.0, self.error * (float(stdtrit(self.freedom, 1 - level / sides)) + 8)
        for _ in range(60):  # as long as doubles tell the halves apart
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle, sides, level) >= POWER else (middle, high)
        return high

    def seeds_for(self, shift: float, sides: int, level: float = LEVEL) -> int | None:
        """How many seeds find a shift with a power of 80 %, at least two; None where ``MOST_SEEDS`` do not.

        Example:
            >>> design = Design(5, 3, 0.075, 0.0025)
            >>> design.seeds_for(0.5, sides=2), design.seeds_for(0.01, sides=2)
            (6, None)
        """
        counts = range(2, MOST_SEEDS + 1)
        place = bisect_left(counts, POWER, key=lambda n: self.with_seeds(n).power(shift, sides, level))
        return counts[place] if place < len(counts) else None


@dataclass(frozen=True)
class Comparison:
    """A mapping against another on the seeds that both have."""

    difference: float  # of the means over these seeds
    design: Design  # what it is known by
    paired: float | None  # p of Student's paired test, to see the design's beside; None of one seed

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the difference; None of one seed."""
        if self.design.seeds < 2:
            return None
        half = float(stdtrit(self.design.freedom, 1 - LEVEL / 2)) * self.design.error
        return self.difference - half, self.difference + half


class RunScore(NamedTuple):
    """What a run scores on its test set, and how that moves with the items.

    The variance over test sets is the sum of the squares of ``effects``. Of a difference of two runs on one
    test set these are the differences.
    """

    score: float
    effects: Floats  # 1-D: of each item, or of each test set drawn


Block = Mapping[str, Mapping[int, RunScore]]
"""Mapping → seed → its run."""


def compare(block: Block, a: str, b: str) -> Comparison | None:
    """Compare two mappings of a block, as :class:`ItemScores` has them; None where they share no seed.

    Example:
        >>> a, b = ({s: RunScore(base + s, np.zeros(9)) for s in (1, 2, 3)} for base in (61.0, 60.0))
        >>> found = compare({"a": a, "b": b}, "a", "b")
        >>> found.difference, found.design.mean_square
        (1.0, 0.0)
    """
    seeds = sorted(block[a].keys() & block[b].keys())
    if not seeds:
        return None
    together = [runs for runs in block.values() if runs.keys() >= set(seeds)]
    scores = np.array([[runs[seed].score for seed in seeds] for runs in together])
    found = np.array([block[a][seed].score - block[b][seed].score for seed in seeds])
    k, n = scores.shape
    if n == 1:
        return Comparison(float(found[0]), Design(k, 1, float("nan"), float("nan")), None)
    residuals = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    # What items change of a mean over seeds, less the part that differs from seed to seed, which the
    # residuals hold already: the mean covariance of the differences of two seeds.
    effects = np.stack([block[a][seed].effects - block[b][seed].effects for seed in seeds])
    shared = ((effects.sum(0) ** 2).sum() - (effects**2).sum()) / (n * (n - 1))
    design = Design(k, n, float((residuals**2).sum() / ((k - 1) * (n - 1))), max(0.0, float(shared)))
    error = found.std(ddof=1) / sqrt(n)
    paired = 2 * stdtr(n - 1, -abs(found.mean()) / error) if error else float(found[0] == 0)
    return Comparison(float(found.mean()), design, float(paired))


# ------------------------------------------------------------------ items
SAMPLES = 10_000
_CHUNK = 2**21  # counts at once: bounds the memory


def score_by_mean(items: Sequence[float]) -> RunScore:
    """Score a run by the mean of its items, at least one.

    Example:
        >>> score, effects = score_by_mean([1.0, 2.0, 6.0])
        >>> score, round(float((effects**2).sum()), 3)  # the variance of a mean of three
        (3.0, 2.333)
    """
    scores = np.asarray(items, dtype=np.float64)
    count, mean = len(scores), scores.mean()
    return RunScore(float(mean), (scores - mean) / sqrt(count * max(1, count - 1)))


def score_by_totals(
    items: Sequence[Any], score: Callable[[Floats, int], Floats], *, samples: int = SAMPLES, seed: int = 0
) -> list[RunScore]:
    """Score runs by totals over their items, and on test sets as large drawn from theirs with replacement.

    A drawn set is the same for all runs.

    Args:
        items: of each run and item the counts that ``score`` makes one of, (runs, items, counts).
        score: from the totals over the items, (..., counts), and their number to scores, (...).

    Source: Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation".
    """
    rows = np.asarray(items, dtype=np.float64)
    runs, count, width = rows.shape
    times, flat = _draws(count, samples, seed), rows.transpose(1, 0, 2).reshape(count, -1)
    size = _CHUNK // count + 1
    chunks = (times[begin : begin + size].astype(np.float64) @ flat for begin in range(0, samples, size))
    drawn = np.concatenate([score(totals.reshape(-1, runs, width), count) for totals in chunks])
    effects = (drawn - drawn.mean(0)).T / sqrt(samples)
    scores = score(rows.sum(1), count).tolist()
    return [RunScore(*one) for one in zip(scores, effects, strict=True)]


@lru_cache(maxsize=2)  # those of one test set: every recipe's runs need them
def _draws(count: int, samples: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """How often each item is in each drawn set; (samples, count)."""
    # Raw numbers of this generator are promised never to change; what NumPy makes of them is not.
    raw = np.random.PCG64(seed).random_raw
    times = np.empty((samples, count), dtype=np.uint8)
    for row in times:
        numbers = raw(-(-count // 2)).view(np.uint32)[:count].astype(np.uint64)
        row[:] = np.bincount(((numbers * count) >> 32).astype(np.int64), minlength=count)
    return times


class ItemScores:
    """Scores of runs, whose details lie in ``folder``, and what each item does to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._items: dict[str, Mapping[str, Mapping[str, Any]]] = {}

    def block(self, rows: Cells, split: str, metric: str) -> Block:
        """The runs that kept item scores, as :func:`compare` takes them."""
        runs = [run for of in rows.values() for run in of if metric in self._read(run).get(split, {})]
        if not runs:
            return {}
        task, items = task_of(runs[0]), [self._read(run)[split][metric] for run in runs]
        of_totals, scale = task.item_scores[metric], task.scale(metric)
        if of_totals:
            scored = score_by_totals(items, import_object(of_totals))
        else:
            scored = [*map(score_by_mean, items)]
        block: dict[str, dict[int, RunScore]] = {run.mapping: {} for run in runs}
        for run, (score, effects) in zip(runs, scored, strict=True):
            block[run.mapping][run.seed] = RunScore(scale * score, scale * effects)
        return block

    def _read(self, record: Record) -> Mapping[str, Mapping[str, Any]]:
        if record.id not in self._items:
            known = record.details
            self._items[record.id] = read_details(self.folder, record.id, known).items if known else {}
        return self._items[record.id]
