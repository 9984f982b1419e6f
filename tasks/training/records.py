"""The record of a finished run: one JSON file, written once and whole, from which all tables derive."""

import json
import math
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from tasks.data.files import read_whole, write_json_atomically
from tasks.training.provenance import config_hash


class RecordError(ValueError):
    """A record that cannot be read or must not be replaced; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A figure with its history.

    Args:
        id: from :func:`tasks.training.provenance.run_id`; the name of the file.
        task: snli, gigaword or translation.
        mapping: name of the attention's mapping.
        mapping_params: its strengths, such as ``{"gamma": 1.0, "lam": 0.1}``; of those that are learnt the
            values that they start from, while ``history`` has what became of them.
        tier: mini, small or paper.
        experiment: the recipe that the run is, such as ``small/snli``, of which nothing but the mapping and
            the seed was changed; empty for any other run.
        corpus: ``name``, ``sha256`` and ``sizes`` per split.
        seed: the seed.
        metrics: per split (``dev``, ``test``), metric to value.
        seconds: ``total``, ``per_epoch`` (training alone) and ``mapping_share`` of a training step.
        epochs: epochs trained.
        best_epoch: the one whose weights were evaluated.
        tokens_per_second: in training steps but the first of each start, which compiles, unless there is no
            other; early records count that too.
        peak_memory_mb: largest memory in use, in MiB.
        threads: CPU threads of torch.
        device: the device that it ran on; of a run that was continued on another both.
        precision: of the products in training steps, which a machine may not have had as the config asks;
            of a run that was continued in another one both; empty in early records.
        versions: of Python and packages.
        commit: the code; of a run that was continued by other code all of it, in order.
        config: the whole config.
        command: what makes the run again.
        signatures: per split, how metrics were computed that the field computes in several ways.
        details: SHA-256 of its :class:`tasks.training.details.Details`; empty before there were any.
        history: for each epoch ``epoch``, ``step``, training ``loss``, ``seconds``, ``dev`` metrics and, in
            ``attention``, what was seen of it in training; early records lack that.
    """

    id: str
    task: str
    mapping: str
    mapping_params: dict[str, float]
    tier: str
    corpus: dict[str, Any]
    seed: int
    metrics: dict[str, dict[str, float]]
    seconds: dict[str, float]
    epochs: int
    best_epoch: int
    tokens_per_second: float
    peak_memory_mb: float
    threads: int
    device: str
    versions: dict[str, str]
    commit: str
    config: dict[str, Any]
    command: str
    signatures: dict[str, dict[str, str]] = field(default_factory=dict)
    experiment: str = ""
    details: str = ""
    precision: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def test_splits(self) -> list[str]:
        """Names of the test sets that it has metrics of."""
        return [split for split in self.metrics if split != "dev"]


_OUTCOME = ("task", "mapping", "mapping_params", "tier", "corpus", "seed", "metrics", "epochs", "best_epoch")


def write_record(directory: Path, record: Record) -> Path:
    """Write ``record`` to ``<directory>/<id>.json`` and return that path.

    A record with the same outcome is left as it is: its seconds and commit are those of the first run.

    Raises:
        RecordError: a record with another outcome has the name.
    """
    path = directory / f"{record.id}.json"
    if path.exists():
        _check_same_outcome(path, _read_record(path), record)
    else:
        write_json_atomically(path, asdict(record))
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
                raise RecordError(
                    f"{record.id} must have the {name} {value} of its record on {split}, got {again}"
                )


def complete_record(
    directory: Path, record: Record, metrics: dict[str, dict[str, float]], details: str
) -> None:
    """Give a record in ``directory`` the metrics that it lacks and the SHA-256 of its details.

    A record of an earlier version may lack both; the metrics that it has are kept.
    """
    metrics = {split: {**metrics[split], **known} for split, known in record.metrics.items()}
    completed = replace(record, metrics=metrics, details=details)
    write_json_atomically(directory / f"{record.id}.json", asdict(completed))


def read_records(directory: Path) -> list[Record]:
    """Return every record in ``directory``, by id; none where it is missing.

    Raises:
        RecordError: a file is not a record.
    """
    return [_read_record(path) for path in sorted(directory.glob("*.json"))]


def _read_record(path: Path) -> Record:
    try:
        values = json.loads(read_whole(path).decode(), parse_constant=_no_number)
    except (OSError, ValueError) as error:
        raise RecordError(f"cannot read the record {path}: {error}") from error
    known = {entry.name for entry in fields(Record)}
    # Fields with a default are younger than some records.
    wanted = {entry.name for entry in fields(Record) if entry.default is entry.default_factory is MISSING}
    found = set(values) if isinstance(values, dict) else set()
    if not wanted <= found <= known:
        raise RecordError(
            f"{path} must hold the fields of a record, got {_listed(found - known)} too many "
            f"and {_listed(wanted - found)} too few"
        )
    if values["id"] != path.stem:
        # A copy under another name would count as one run more.
        raise RecordError(f"{path} must hold the record of {path.stem}, got that of {values['id']}")
    return Record(**values)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {name}")


def _check_same_outcome(path: Path, found: Record, wanted: Record) -> None:
    # Through JSON, which the one was and the other was not.
    here, there = (json.loads(json.dumps(asdict(record))) for record in (wanted, found))
    different = [name for name in _OUTCOME if here[name] != there[name]]
    if config_hash(here["config"]) != config_hash(there["config"]):
        different.append("config")
    if different:
        raise RecordError(
            f"{path} holds a finished run that differs from this one in {_listed(different)}; "
            f"move it away to replace it"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
