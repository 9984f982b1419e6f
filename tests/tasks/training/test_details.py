"""Details come back as they were, and only to the record that they were written with, or none is there."""

import errno
import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty_disk import FaultyDisk, Killed, KillingDisk
from forked import Child, needs_fork

from tasks.attention import AttentionGrid
from tasks.training.records import (
    Details,
    RecordError,
    complete_results,
    has_details,
    read_details,
    read_records,
    write_details,
    write_results,
)
from tests.example_record import RECORD

GRID = AttentionGrid.of(("ein", "Hund"), ("a",), torch.tensor([[0.25, 0.75]]), torch.tensor([[1, 2]]))
ITEMS = {"test": {"accuracy": [0, 1, 1], "bleu": [[3, 4, 2, 1], [5, 5, 5, 4]]}, "other": {"rouge1": [12.5]}}
DETAILS = Details(id="a", items=ITEMS, example=GRID.rounded(3))


def test_details_come_back(tmp_path: Path) -> None:
    sha256 = write_details(tmp_path / "details", DETAILS)
    assert read_details(tmp_path / "details", "a", sha256) == DETAILS
    assert write_details(tmp_path / "again", DETAILS) == sha256


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("items"),
        lambda values: values.update(items={"test": {"accuracy": "oops"}}),
        lambda values: values.update(items={"test": {"bleu": [[1, 2], [3]]}}),
        lambda values: values.update(items=[]),
        lambda values: values.pop("example"),
        lambda values: values["example"].update(more=1),
        lambda values: values["example"].update(source=[1, 2]),
        lambda values: values["example"].update(weights=[[1.0]]),
        lambda values: values["example"].update(groups="oops"),
    ],
)
def test_details_that_are_none_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """Even with the checksum that the record has."""
    write_details(tmp_path, DETAILS)
    path = tmp_path / "a.json"
    change(values := json.loads(path.read_text()))
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match=r"cannot read the details of a run, .*a\.json"):
        read_details(tmp_path, "a", hashlib.sha256(path.read_bytes()).hexdigest())


def test_an_example_is_as_long_as_its_words() -> None:
    example = DETAILS.example
    assert (example.source, example.target) == (["ein", "Hund"], ["a"])
    assert (example.weights, example.groups) == ([[0.25, 0.75]], [[1, 2]])


def test_every_score_has_a_line(tmp_path: Path) -> None:
    write_details(tmp_path, DETAILS)
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert '"accuracy": [0,1,1],' in lines
    assert '"bleu": [[3,4,2,1],[5,5,5,4]]' in lines


@pytest.mark.parametrize("damage", ["gone", "other"])
def test_details_of_another_run_are_refused(tmp_path: Path, damage: str) -> None:
    sha256 = write_details(tmp_path, DETAILS)
    path = tmp_path / "a.json"
    path.unlink() if damage == "gone" else path.write_text(path.read_text().replace("12.5", "13.5"))
    with pytest.raises(RecordError, match=r"a\.json"):
        read_details(tmp_path, "a", sha256)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    bad = Details(id="a", items={"test": {"rouge1": [float("nan")]}}, example=DETAILS.example)
    with pytest.raises(ValueError, match="JSON"):
        write_details(tmp_path, bad)
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(RecordError, match=r"a\.json must be a file, got a pipe or device; make evaluate"):
        read_details(tmp_path, "a", "0" * 64)


# ------------------------------------------------------------------ a finished run
OWN = replace(RECORD, details="")
OPERATIONS = 2 * 4  # a file is opened, synced, renamed; its folder is synced


def is_whole(results: Path) -> bool:
    """Whether there is one run, with the details that its record points at, or none at all."""
    runs = read_records(results / "runs")
    return len(runs) <= 1 and all(has_details(results, run) for run in runs)


def written_again(results: Path) -> bool:
    """Whether the next attempt leaves the whole run, once, and nothing else."""
    record = write_results(results, OWN, DETAILS)
    files = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    is_there = read_details(results / "details", record.id, record.details) == DETAILS
    return is_there and files == {f"runs/{record.id}.json", f"details/{record.id}.json"} and is_whole(results)


@pytest.mark.measures("finished run")
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("at", range(1, OPERATIONS + 1))
def test_a_refused_write_leaves_no_half_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, is_late: bool
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        disk = FaultyDisk(patch, at, full, is_late)
        write_results(tmp_path, OWN, DETAILS)
    assert disk.calls == at and is_whole(tmp_path) and written_again(tmp_path)


def write_and_die(results: Path, at: int, is_late: bool) -> None:
    KillingDisk(pytest.MonkeyPatch(), at, Killed(), is_late)
    write_results(results, OWN, DETAILS)


@needs_fork
@pytest.mark.measures("finished run")
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("at", range(1, OPERATIONS + 1))
def test_a_killed_write_leaves_no_half_of_a_run(tmp_path: Path, at: int, is_late: bool) -> None:
    assert Child(partial(write_and_die, tmp_path, at, is_late)).wait() == -signal.SIGKILL
    assert is_whole(tmp_path) and written_again(tmp_path)


def test_another_outcome_under_the_same_name_touches_nothing(tmp_path: Path) -> None:
    first = write_results(tmp_path, OWN, DETAILS)
    other = replace(DETAILS, items={"test": {"accuracy": [1, 1]}})
    with pytest.raises(RecordError, match="differs from this one in metrics"):
        write_results(tmp_path, replace(OWN, metrics={"dev": {"accuracy": 1.0}}), other)
    assert write_results(tmp_path, replace(OWN, seconds={}), other) == first
    assert read_records(tmp_path / "runs") == [first] and has_details(tmp_path, first)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{}")], ids=["gone", "other"])
def test_details_that_are_not_those_of_the_record_are_noticed(tmp_path: Path, damage: object) -> None:
    record = write_results(tmp_path, OWN, DETAILS)
    damage(tmp_path / "details" / f"{record.id}.json")  # type: ignore[operator]
    assert not has_details(tmp_path, record)
    with pytest.raises(RecordError, match=f"make evaluate RUN={record.id} writes them again"):
        read_details(tmp_path / "details", record.id, record.details)


def test_a_run_evaluated_again_gets_what_its_record_lacks(tmp_path: Path) -> None:
    complete_results(tmp_path, RECORD.id, {}, lambda: DETAILS)
    assert not list(tmp_path.iterdir()), "without a record there is nothing to complete"
    record = write_results(tmp_path, OWN, DETAILS)
    again = {split: {**known, "entropy": 0.5} for split, known in record.metrics.items()}
    complete_results(tmp_path, record.id, again, lambda: DETAILS)
    assert read_records(tmp_path / "runs") == [record], "it lacks nothing"
    (tmp_path / "details" / f"{record.id}.json").unlink()
    other = {split: dict.fromkeys(known, 0.25) for split, known in record.metrics.items()}
    with pytest.raises(RecordError, match=f"{record.id} must have the accuracy"):
        complete_results(tmp_path, record.id, other, lambda: DETAILS)
    assert not has_details(tmp_path, record) and read_records(tmp_path / "runs") == [record]
    complete_results(tmp_path, record.id, again, lambda: DETAILS)
    assert read_records(tmp_path / "runs") == [replace(record, metrics=again)] and is_whole(tmp_path)


def test_details_of_another_id_are_refused(tmp_path: Path) -> None:
    """Even with the checksum that the record has."""
    sha256 = write_details(tmp_path, replace(DETAILS, id="another"))
    os.rename(tmp_path / "another.json", tmp_path / f"{DETAILS.id}.json")
    with pytest.raises(RecordError, match=f"must hold the details of {DETAILS.id}, got those of another"):
        read_details(tmp_path, DETAILS.id, sha256)
