"""What a finished run leaves for tables and figures: its details, and then the record that points at them.

Details are what the figures are made of, item by item, and one attention to look at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tasks.attention import AttentionGrid
from tasks.data.files import locked_directory, parse_json, read_whole, write_atomically
from tasks.training.records import (
    Record,
    RecordError,
    check_metrics,
    complete_record,
    find_record,
    write_record,
)

Rows = Sequence[float] | Sequence[Sequence[float]]
"""For every item of a test set, in the set's order, a score or the counts that a score is made of."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One attention as plain JSON; :class:`tasks.attention.AttentionGrid` says what it holds."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]
    groups: list[list[int]]

    @classmethod
    def of(cls, grid: AttentionGrid) -> Example:
        weights = [[float(f"{weight:.3g}") for weight in row] for row in grid.weights.tolist()]
        return cls(
            source=list(grid.source), target=list(grid.target), weights=weights, groups=grid.groups.tolist()
        )

    @property
    def grid(self) -> AttentionGrid:
        weights, groups = torch.tensor(self.weights), torch.tensor(self.groups)
        return AttentionGrid(tuple(self.source), tuple(self.target), weights, groups)


@dataclass(frozen=True, kw_only=True)
class Details:
    """What tests of significance and pictures need of a run, and its record would be too long with.

    Args:
        id: of the run.
        items: per test split, score to :data:`Rows`.
        example: the attention over a sentence that is this project's own; the same for all mappings.
    """

    id: str
    items: Mapping[str, Mapping[str, Rows]]
    example: Example


def write_results(results: Path, record: Record, details: Details) -> Record:
    """Write the details and the record of a finished run, and return the record that is there then.

    Interrupted at any point this leaves no record, or one whose details are there. A run that has a record
    with the same outcome keeps it, and its details.

    Args:
        results: gets ``runs/<id>.json`` and ``details/<id>.json``.
        record: of the run; which details are its own is filled in.
        details: of the run.

    Raises:
        RecordError: a record with another outcome has the name.
        OSError: the file system refuses.
    """
    # One at a time: else the details of a process would stand beside the record of another.
    with locked_directory(results / "details"):
        if find_record(results / "runs", record.id) is None:
            record = replace(record, details=write_details(results / "details", details))
        write_record(results / "runs", record)
    found = find_record(results / "runs", record.id)
    assert found is not None
    return found


def has_details(results: Path, record: Record) -> bool:
    """Whether the details that a record points at are there and whole."""
    try:
        read_details(results / "details", record.id, record.details)
    except RecordError:
        return False
    return True


def complete_results(
    results: Path,
    run_id: str,
    metrics: dict[str, dict[str, float]],
    make_details: Callable[[], Details],
) -> None:
    """Hold metrics measured again against the record of a run, where it has one, and write what is missing.

    A record of an earlier version is given what it could not know yet; details that are missing or damaged
    are written again.

    Raises:
        RecordError: a metric of the record is missing or more than a rounding away.
        OSError: the file system refuses.
    """
    record = find_record(results / "runs", run_id)
    if record is None:
        return
    check_metrics(record, metrics)
    if not has_details(results, record):
        sha256 = write_details(results / "details", make_details())
        complete_record(results / "runs", record, metrics, sha256)


def write_details(directory: Path, details: Details) -> str:
    """Write ``details`` to ``<directory>/<id>.json``, whole or not at all, and return its SHA-256.

    Raises:
        ValueError: a number is not finite.
        OSError: the file system refuses.
    """
    data = _text(asdict(details)).encode()
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / f"{details.id}.json", [data])
    return hashlib.sha256(data).hexdigest()


def read_details(directory: Path, run_id: str, sha256: str) -> Details:
    """Return the details of a run.

    Args:
        directory: of all details.
        run_id: of the run.
        sha256: as its record knows it.

    Raises:
        RecordError: they are missing, damaged or another run's.
    """
    path = directory / f"{run_id}.json"
    try:
        data = read_whole(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot read the details of a run, {path}: {error}; {_again(run_id)}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise RecordError(
            f"{path} must have the SHA-256 {sha256[:16]}… of its record, got {found[:16]}…; {_again(run_id)}"
        )
    try:
        values: dict[str, Any] = parse_json(data.decode())
        found_id = values["id"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"cannot read the details of a run, {path}: {error!r}; {_again(run_id)}") from error
    if found_id != run_id:
        raise RecordError(
            f"{path} must hold the details of {run_id}, got those of {found_id}; {_again(run_id)}"
        )
    return Details(id=values["id"], items=values["items"], example=Example(**values["example"]))


def _again(run_id: str) -> str:
    return f"make evaluate RUN={run_id} writes them again"


def _text(values: dict[str, Any]) -> str:
    """JSON with a line for every score of every split: a few long lines, which differ as a whole."""
    items = ",\n".join(
        f"{json.dumps(split)}: {{\n"
        + ",\n".join(f"{json.dumps(name)}: {_compact(rows)}" for name, rows in scores.items())
        + "\n}"
        for split, scores in values["items"].items()
    )
    rest = {name: value for name, value in values.items() if name != "items"}
    head = ",\n".join(f"{json.dumps(name)}: {_compact(value)}" for name, value in rest.items())
    return f'{{\n{head},\n"items": {{\n{items}\n}}\n}}\n'


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
