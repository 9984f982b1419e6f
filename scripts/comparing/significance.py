"""How sure a result is: over seeds by Student's t, between systems by a bootstrap, over claims by Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from scripts.comparing.scores import score_of
from tasks.bootstrap import SAMPLES, Rows, resampled_scores
from tasks.training.details import read_details
from tasks.training.records import Record

LEVEL = 0.05


@dataclass(frozen=True)
class Spread:
    """A score over seeds.

    Attributes:
        mean: over the seeds.
        count: how many there are.
        deviation: the standard deviation; None of one seed.
        low: lower end of the 95 % interval of the mean, by Student's t; None of one seed.
        high: upper end.
    """

    mean: float
    count: int
    deviation: float | None = None
    low: float | None = None
    high: float | None = None

    def text(self, digits: int = 2) -> str:
        """Mean, and the standard deviation where there is one.

        Example:
            >>> spread([60.0, 61.0]).text(), spread([60.0]).text(1)
            ('60.50 ± 0.71', '60.0')
        """
        text = f"{self.mean:.{digits}f}"
        return text if self.deviation is None else f"{text} ± {self.deviation:.{digits}f}"

    def interval(self, digits: int = 2) -> str:
        """The interval; ``–`` of one seed.

        Example:
            >>> spread([60.0, 61.0]).interval()
            '54.15 to 66.85'
        """
        if self.low is None or self.high is None:
            return "–"
        return f"{self.low:.{digits}f} to {self.high:.{digits}f}"


def spread(scores: Sequence[float]) -> Spread:
    """The spread of the scores of several seeds, at least one."""
    if len(scores) == 1:
        return Spread(scores[0], 1)
    centre, deviation = mean(scores), stdev(scores)
    half = float(stdtrit(len(scores) - 1, 1 - LEVEL / 2)) * deviation / len(scores) ** 0.5
    return Spread(centre, len(scores), deviation, centre - half, centre + half)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct p-values for their number, so that one of them errs at most as often as its level says.

    Of :math:`m` in rising order the :math:`k`-th becomes
    :math:`\max_{j \le k} \min(1, (m - j + 1)\, p_{(j)})`.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


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
        score = score_of(record.task, metric)
        return resampled_scores(items, score=score, samples=self.samples, seed=self.seed)

    def _read(self, record: Record) -> dict[str, dict[str, Rows]]:
        if record.id not in self._items:
            items = read_details(self.folder, record.id, record.details).items if record.details else {}
            self._items[record.id] = {
                split: {name: np.asarray(rows, dtype=np.float64) for name, rows in scores.items()}
                for split, scores in items.items()
            }
        return self._items[record.id]
