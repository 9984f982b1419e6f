"""What a finished run leaves: its record, written once and whole, from which all tables derive, and details.

Details are what the figures are made of, item by item, and one attention to look at; they are written first,
and the record points at them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from tasks.attention import AttentionGrid
from tasks.checks import fits
from tasks.data import files
from tasks.training.provenance import config_hash


class RecordError(ValueError):
    """A record that cannot be read or must not be replaced; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A figure with its history."""

    id: str  # of provenance.run_id; the name of the file
    task: str
    mapping: str
    mapping_params: dict[str, float]  # strengths; of those that are learnt the values that they start from
    tier: str
    corpus: dict[str, Any]  # name, sha256, and sizes per split
    seed: int
    metrics: dict[str, dict[str, float]]  # by split, dev and test sets
    seconds: dict[str, float]  # total, per_epoch of training alone, and mapping_share of a training step
    epochs: int
    best_epoch: int  # the one whose weights were evaluated
    tokens_per_second: float  # in training steps but the first of each start; early records count it, too
    peak_memory_mb: float  # in MiB
    threads: int
    device: str  # both of a run that was continued on another
    versions: dict[str, str]  # of Python and packages
    commit: str  # of a run that was continued by other code all of it, in order
    config: dict[str, Any]
    command: str  # what makes the run again
    # By split, how metrics were computed that the field computes in several ways.
    signatures: dict[str, dict[str, str]] = field(default_factory=dict)
    experiment: str = ""  # the recipe that the run is, but for mapping and seed; "" for any other
    details: str = ""  # SHA-256 of its Details; "" before there were any
    precision: str = ""  # of the products in training steps, as the machine had it; "" in early records
    # Of each epoch number, step, training loss, seconds and dev metrics, and what was seen of attention in
    # training; early records lack that.
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def test_splits(self) -> list[str]:
        """Names of the test sets that it has metrics of."""
        return [split for split in self.metrics if split != "dev"]


_ENTRIES: dict[str, dict[str, Any]] = {
    "corpus": {"name": str, "sha256": str, "sizes": dict[str, int]},
    "seconds": {"total": float, "per_epoch": float, "mapping_share": float},
    "history": {"epoch": int, "step": int, "loss": float, "seconds": float, "dev": dict[str, float]},
    "config": dict.fromkeys(("task", "optim", "trainer"), dict[str, Any]),
}
"""What tables and curves read of a field's dictionary, or of each one in its list."""

_OUTCOME = ("task", "mapping", "mapping_params", "tier", "corpus", "seed", "metrics", "epochs", "best_epoch")


def write_record(directory: Path, record: Record) -> Path:
    """Write ``record`` to ``<directory>/<id>.json`` and return that path.

    A record with the same outcome is left as it is: its seconds and commit are those of the first run. Of
    processes that write one at a time the others find it there.

    Raises:
        RecordError: a record with another outcome has the name.
    """
    path = directory / f"{record.id}.json"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        if not path.exists():
            files.write_json_atomically(path, asdict(record), is_new=True)
            return path
    except FileExistsError:  # another process was first
        pass
    _check_same_outcome(path, _read_record(path), record)
    files.remove_abandoned(
        path
    )  # the second name of a record whose writer was killed just after it had the first
    return path


def find_record(directory: Path, run: str) -> Record | None:
    """Return the record of a run, if it has one.

    Raises:
        RecordError: the file is not a record.
    """
    path = directory / f"{run}.json"
    return _read_record(path) if path.exists() else None


def check_metrics(record: Record, metrics: dict[str, dict[str, float]]) -> None:
    """Compare metrics measured again with those of the record, which may know fewer.

    Raises:
        RecordError: a metric of the record is missing or more than a rounding away.
    """
    for split, known in record.metrics.items():
        for name, value in known.items():
            again = metrics.get(split, {}).get(name)
            if again is None or not math.isclose(value, again, rel_tol=1e-6, abs_tol=1e-9):
                wanted = f"{name} {value} of its record on {split}"
                raise RecordError(f"{record.id} must have the {wanted}, got {again}")


def read_records(directory: Path) -> list[Record]:
    """Return every record in ``directory``, by id; none where it is missing.

    Raises:
        RecordError: a file is not a record.
    """
    return [_read_record(path) for path in sorted(directory.glob("*.json"))]


def _read_record(path: Path) -> Record:
    try:
        values = files.parse_json(files.read_whole(path).decode())
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot read the record {path}: {error}") from error
    known = {entry.name for entry in fields(Record)}
    # Fields with a default are younger than some records.
    wanted = {entry.name for entry in fields(Record) if entry.default is entry.default_factory is MISSING}
    found = set(values) if isinstance(values, dict) else set()
    if not wanted <= found <= known:
        got = f"{_listed(found - known)} too many and {_listed(wanted - found)} too few"
        raise RecordError(f"{path} must hold the fields of a record, got {got}")
    hints = get_type_hints(Record)
    for name, value in values.items():
        if not fits(value, hints[name]):
            wanted_type, got = _described(hints[name]), str(value)[:40]
            raise RecordError(f"{path} must hold {wanted_type} as its {name}, got {got!r}")
    for name, entries in _ENTRIES.items():
        parts = [part] if isinstance(part := values.get(name, []), dict) else part
        for key, hint in entries.items():
            if not all(fits(part.get(key), hint) for part in parts):
                raise RecordError(f"{path} must hold {_described(hint)} as the {key} of its {name}")
    if values["id"] != path.stem:
        # A copy under another name would count as one run more.
        raise RecordError(f"{path} must hold the record of {path.stem}, got that of {values['id']}")
    return Record(**values)


def _described(hint: Any) -> str:
    return str(hint).replace("typing.", "") if get_args(hint) else hint.__name__


def _check_same_outcome(path: Path, found: Record, wanted: Record) -> None:
    # Through JSON, which the one was and the other was not.
    here, there = (json.loads(json.dumps(asdict(record))) for record in (wanted, found))
    different = [name for name in _OUTCOME if here[name] != there[name]]
    if config_hash(here["config"]) != config_hash(there["config"]):
        different.append("config")
    if different:
        got = f"one that differs from this one in {_listed(different)}; move it away to replace it"
        raise RecordError(f"{path} must hold this finished run, got {got}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


# ------------------------------------------------------------------ details
Rows = Sequence[float] | Sequence[Sequence[float]]
"""For every item of a test set, in the set's order, a score or the counts that a score is made of."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """What tests of significance and pictures need of a run, and its record would be too long with."""

    id: str
    items: Mapping[str, Mapping[str, Rows]]  # of every test split, by score
    example: AttentionGrid  # over a sentence that is this project's own, the same for all mappings


def write_results(results: Path, record: Record, details: Details) -> Record:
    """Write the details and the record of a finished run, and return the record that is there then.

    Interrupted at any point this leaves no record, or one whose details are there. A run that has a record
    with the same outcome keeps it, and its details. They are ``runs/<id>.json`` and ``details/<id>.json``.

    Raises:
        RecordError: a record with another outcome has the name.
        OSError: the file system refuses.
    """
    # One at a time: else the details of a process would stand beside the record of another.
    with files.locked_directory(results / "details"):
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
    results: Path, run_id: str, metrics: dict[str, dict[str, float]], make_details: Callable[[], Details]
) -> None:
    """Hold metrics measured again against the record of a run, where it has one, and write what is missing.

    A record of an earlier version is given the metrics that it could not know yet, and keeps its own; details
    that are missing or damaged are written again.

    Raises:
        RecordError: a metric of the record is missing or more than a rounding away.
        OSError: the file system refuses.
    """
    if find_record(results / "runs", run_id) is None:
        return
    with files.locked_directory(results / "runs"):
        record = find_record(results / "runs", run_id)
        assert record is not None
        check_metrics(record, metrics)
        if not has_details(results, record):
            details = write_details(results / "details", make_details())
            known = {split: {**metrics[split], **of} for split, of in record.metrics.items()}
            completed = replace(record, metrics=known, details=details)
            files.write_json_atomically(results / "runs" / f"{run_id}.json", asdict(completed))


def write_details(directory: Path, details: Details) -> str:
    """Write ``details`` to ``<directory>/<id>.json``, whole or not at all, and return its SHA-256.

    Raises:
        ValueError: a number is not finite.
        OSError: the file system refuses.
    """
    data = _text(asdict(details)).encode()
    directory.mkdir(parents=True, exist_ok=True)
    files.write_atomically(directory / f"{details.id}.json", [data])
    return hashlib.sha256(data).hexdigest()


def read_details(directory: Path, run_id: str, sha256: str) -> Details:
    """Return the details of a run, whose checksum its record knows.

    Raises:
        RecordError: they are missing, damaged or another run's.
    """
    path = directory / f"{run_id}.json"
    try:
        data = files.read_whole(path)
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise ValueError(f"{path} must have the SHA-256 {sha256[:16]}… of its record, got {found[:16]}…")
        values: dict[str, Any] = files.parse_json(data.decode())
        if values["id"] != run_id:
            raise ValueError(f"{path} must hold the details of {run_id}, got those of {values['id']}")
        details = Details(**{**values, "example": AttentionGrid(**values["example"])})
        _check_details(details)
        return details
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise RecordError(
            f"cannot read the details of a run, {path}: {error}; make evaluate RUN={run_id} writes them again"
        ) from error


def _check_details(details: Details) -> None:
    """Raise ValueError or TypeError unless the example is one, and all scores are numbers."""
    example = details.example
    shape = len(example.target), len(example.source)
    is_typed = all(fits(getattr(example, name), hint) for name, hint in get_type_hints(AttentionGrid).items())
    if not is_typed or not np.shape(example.weights) == np.shape(example.groups) == shape:
        raise ValueError("an example must have words, with a weight and a group for each two of them")
    rows = chain(*(scores.values() for scores in details.items.values()))
    if any(np.asarray(scores).dtype.kind not in "iuf" for scores in rows):
        raise ValueError("scores must be numbers")


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
