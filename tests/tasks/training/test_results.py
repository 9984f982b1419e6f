"""A finished run leaves details and a record that belong together, wherever the writing was cut off."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, Killed, KillingDisk
from forked import Child, needs_fork

from tasks.training.details import Details, Example, has_details, read_details, write_results
from tasks.training.records import RecordError, read_records
from tests.example_record import RECORD

OWN = replace(RECORD, details="")
EXAMPLE = Example(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])
DETAILS = Details(id=RECORD.id, items={"test": {"accuracy": [0, 1]}}, example=EXAMPLE)
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
