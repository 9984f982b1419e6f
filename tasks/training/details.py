"""The details of a finished run: what its figures are made of, item by item, and one attention to look at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tasks.data.files import read_whole
from tasks.grid import AttentionGrid
from tasks.training.atomic import write_atomically
from tasks.training.records import RecordError

Rows = Sequence[float] | Sequence[Sequence[float]]
"""For every item of a test set, in the set's order, a score or the counts that a score is made of."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One attention as plain JSON; :class:`tasks.grid.AttentionGrid` says what it holds."""

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
            f"{path} wants the SHA-256 {sha256[:16]}… of its record, got {found[:16]}…; {_again(run_id)}"
        )
    values: dict[str, Any] = json.loads(data)
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
