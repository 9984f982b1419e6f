"""How sure a result is: over seeds by Student's t, between systems by a bootstrap, over claims by Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from statistics import mean, stdev

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from scripts.paper.selection import task_of
from tasks.bootstrap import SAMPLES, Rows, resampled_scores
from tasks.training.details import read_details
from tasks.training.records import Record

LEVEL = 0.05


@dataclass(frozen=True)
class MeanStd:
    """A score over seeds.

    Attributes:
        mean: over the seeds.
        count: how many there are.
        std: the standard deviation; None of one seed.
        half_width: of the 95 % interval of the mean, by Student's t; None of one seed.
    """

    mean: float
    count: int
    std: float | None = None
    half_width: float | None = None

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


class ItemScores:
    """Scores of runs on their test sets and on resampled ones; those of each run are computed once.

    Args:
        folder: of the runs' details.
        samples: number of test sets drawn.
        seed: of drawing them.
    """

    def __init__(self, folder: Path, samples: int = SAMPLES, seed: int = 0) -> None:
        self.folder = folder
        self.samples = samples
        self.seed = seed
        self._items: dict[str, dict[str, dict[str, Rows]]] = {}
        self._scores: dict[tuple[str, str, str], Rows | None] = {}

    def by_seed(self, records: Sequence[Record], split: str, metric: str) -> dict[int, Rows] | None:
        """Seed → what :func:`tasks.bootstrap.resampled_scores` returns; None if a run kept no item scores.

        Raises:
            RecordError: details are missing or damaged.
        """
        found = {record.seed: self._of(record, split, metric) for record in records}
        known = {seed: scores for seed, scores in found.items() if scores is not None}
        return known if len(known) == len(found) else None

    def _of(self, record: Record, split: str, metric: str) -> Rows | None:
        key = record.id, split, metric
        if key not in self._scores:
            items = self._read(record).get(split, {}).get(metric)
            self._scores[key] = None if items is None else self._resampled(record, items, metric)
        return self._scores[key]

    def _resampled(self, record: Record, items: Rows, metric: str) -> Rows:
        task = task_of(record)
        score = resolve_name(task.item_scores[metric])
        return task.scale(metric) * resampled_scores(items, score=score, samples=self.samples, seed=self.seed)

    def _read(self, record: Record) -> dict[str, dict[str, Rows]]:
        if record.id not in self._items:
            items = read_details(self.folder, record.id, record.details).items if record.details else {}
            self._items[record.id] = {
                split: {name: np.asarray(rows, dtype=np.float64) for name, rows in scores.items()}
                for split, scores in items.items()
            }
        return self._items[record.id]
