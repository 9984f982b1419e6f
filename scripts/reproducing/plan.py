"""What of the tables is done and what is missing, from the records; how long that may take."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from scripts.reproducing.jobs import Job
from tasks.training.callbacks import format_duration
from tasks.training.provenance import SEEDS, config_hash
from tasks.training.records import Record, read_records

OVERHEAD = 15.0
"""Seconds of a run besides its training, a guess: corpus, first compilation, test sets, picture."""


@dataclass(frozen=True)
class Planned:
    """A job with what the records say of it.

    Args:
        job: the run.
        record: of it, where it is done.
        seconds: that it may take, from earlier runs like it; None where there are none.
    """

    job: Job
    record: Record | None
    seconds: float | None

    @property
    def is_ready(self) -> bool:
        """Whether it can and should be run."""
        return self.record is None and not self.job.lacks


def make_plan(jobs: Sequence[Job]) -> list[Planned]:
    """Look every job up in the records of the directory that its own would be written to.

    Raises:
        RecordError: a file there is not a record.
    """
    directories = {job.config["results_dir"] for job in jobs}
    records = {directory: read_records(Path(directory) / "runs") for directory in directories}
    earlier = _by_likeness(record for found in records.values() for record in found)
    done = {name: {config_hash(record.config): record for record in found} for name, found in records.items()}
    plan = []
    for job in jobs:
        record = None if job.lacks else done[job.config["results_dir"]].get(job.hash)
        plan.append(Planned(job, record, _estimate(job.config, earlier)))
    return plan


def record_of(job: Job) -> Record | None:
    """The record of a job that has been run."""
    return make_plan([job])[0].record


def _kind(config: dict[str, Any]) -> Hashable:
    return config["task_name"], config["tier"]


def _kind_and_mapping(config: dict[str, Any]) -> Hashable:
    return _kind(config), config["attention"]["_target_"]


# What makes runs take alike, most alike first; unlike that of a cell, it is a question of pace, too.
_LIKENESSES: tuple[Callable[[dict[str, Any]], Hashable], ...] = (
    partial(config_hash, without=SEEDS),
    partial(config_hash, without=(*SEEDS, "attention")),
    _kind_and_mapping,
    _kind,
)
_Earlier = dict[tuple[int, Hashable], list[float]]


def _by_likeness(records: Iterable[Record]) -> _Earlier:
    """Seconds an epoch of training, dev sets included, for each likeness."""
    found: _Earlier = {}
    for record in records:
        for rank, likeness in enumerate(_LIKENESSES):
            seconds = record.seconds["total"] / record.epochs
            found.setdefault((rank, likeness(record.config)), []).append(seconds)
    return found


def _estimate(config: dict[str, Any], earlier: _Earlier) -> float | None:
    for rank, likeness in enumerate(_LIKENESSES):
        if seconds := earlier.get((rank, likeness(config))):
            return median(seconds) * config["trainer"]["epochs"] + OVERHEAD
    return None


def longest_first(plan: Iterable[Planned]) -> list[Planned]:
    """What is to be run, in an order that leaves no process alone with a long run at the end."""
    ready = [planned for planned in plan if planned.is_ready]
    unknown = max((planned.seconds or 0.0 for planned in ready), default=0.0) + 1
    return sorted(ready, key=lambda planned: -(planned.seconds or unknown))


def wall_seconds(seconds: Sequence[float], at_once: int) -> float:
    """How long runs take that are started in this order, so many at once.

    Example:
        >>> wall_seconds([30, 20, 20, 10], at_once=2)
        40.0
    """
    free = [0.0] * at_once
    for run in seconds:
        heapq.heapreplace(free, free[0] + run)
    return max(free)


def render(plan: Sequence[Planned], at_once: int) -> str:
    """The plan as lines of text: one for each cell, then the sum."""
    heads = ("cell", "done", "missing", "a run", "")
    rows = [heads, *(_row(cell) for cell in _cells(plan))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(heads))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), "", _sum(plan, at_once)])


def _cells(plan: Iterable[Planned]) -> list[list[Planned]]:
    cells: dict[str, list[Planned]] = {}
    for planned in plan:
        cells.setdefault(planned.job.cell, []).append(planned)
    return list(cells.values())


def _row(cell: Sequence[Planned]) -> tuple[str, ...]:
    first = cell[0]
    done = " ".join(str(planned.job.seed) for planned in cell if planned.record)
    missing = " ".join(str(planned.job.seed) for planned in cell if not planned.record)
    needs = f"needs {', '.join(f'{key}=…' for key in first.job.lacks)}" if first.job.lacks else ""
    return first.job.cell, done or "–", missing or "–", format_seconds(first.seconds), needs


def format_seconds(seconds: float | None) -> str:
    """A duration that is an estimate.

    Example:
        >>> format_seconds(75.2), format_seconds(None)
        ('1:15', 'unknown')
    """
    return "unknown" if seconds is None else format_duration(seconds)


def _sum(plan: Sequence[Planned], at_once: int) -> str:
    done = sum(planned.record is not None for planned in plan)
    lacking = sum(bool(planned.job.lacks) for planned in plan)
    ready = longest_first(plan)
    known = [planned.seconds for planned in ready if planned.seconds is not None]
    parts = [f"{done} of {len(plan)} runs done, {len(ready)} to run, {at_once} at once"]
    if known:
        parts.append(f"about {format_duration(wall_seconds(known, at_once))}")
    if len(known) < len(ready):
        parts.append(f"{len(ready) - len(known)} of them of unknown length, for want of earlier runs")
    if lacking:
        parts.append(f"{lacking} lack values that must be given in ARGS")
    return "; ".join(parts)
