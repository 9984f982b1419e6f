"""Records of many writers, stopped and read at any step: none torn, none lost, none that nobody wrote."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faulty_disk import tell_of_operations
from forked import Child, needs_fork

from tasks.attention import AttentionGrid
from tasks.training.records import (
    Details,
    Record,
    RecordError,
    find_record,
    has_details,
    read_records,
    write_record,
    write_results,
)
from tests.example_record import RECORD

pytestmark = needs_fork
WRITERS = 8
EXAMPLE = AttentionGrid(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])
Step = Callable[[], object]


class Store(NamedTuple):
    """How records are written and read; a writer calls ``step`` before each of its steps and at last."""

    write: Callable[[Path, Record, Step], object]
    has: Callable[[Path, str], object]
    read: Callable[[Path], list[Record]]


def made(writer: int, number: int) -> Record:
    """A record that is as large as one of a real run, and known in all its parts."""
    history = [
        {"epoch": e, "step": e, "loss": writer + number / 7, "seconds": 1.0, "dev": {"accuracy": e / 100}}
        for e in range(40)
    ]
    return replace(RECORD, id=f"{writer}-{number}", seed=number, history=history)


# ------------------------------------------------------------------ steps of two writers, one after another
def own(folder: Path, record: Record, step: Step) -> None:
    """As the product writes, whose steps are its file operations."""
    with pytest.MonkeyPatch.context() as patch:
        tell_of_operations(patch, step)
        write_record(folder, record)
    step()


def in_place(folder: Path, record: Record, step: Step) -> None:
    """Under its own name from the first byte on."""
    text = json.dumps(asdict(record))
    with (folder / f"{record.id}.json").open("w") as file:
        for part in (text[:1000], text[1000:]):
            step()
            file.write(part)
            file.flush()
    step()


def by_one_name(folder: Path, record: Record, step: Step) -> None:
    """By a temporary name that all writers share."""
    temporary = folder / "record.tmp"
    step()
    temporary.write_text(json.dumps(asdict(record)))
    step()
    temporary.rename(folder / f"{record.id}.json")
    step()


def in_one_table(folder: Path, record: Record, step: Step) -> None:
    """In a file that every writer reads, adds to and writes again."""
    step()
    table = table_of(folder)
    temporary = folder / f"{record.id}.tmp"
    temporary.write_text(json.dumps({**table, record.id: asdict(record)}))
    step()
    temporary.rename(folder / "all.table")
    step()


def table_of(folder: Path) -> dict[str, Any]:
    path = folder / "all.table"
    return json.loads(path.read_text()) if path.exists() else {}


def has_file(folder: Path, run: str) -> bool:
    return (folder / f"{run}.json").exists()


OWN = Store(own, find_record, read_records)
WRONG = {
    "in place": Store(in_place, has_file, read_records),
    "by one temporary name": Store(by_one_name, has_file, read_records),
    "in one table": Store(
        in_one_table,
        lambda folder, run: run in table_of(folder),
        lambda folder: [Record(**values) for values in table_of(folder).values()],
    ),
}


def outcomes(store: Store, folder: Path) -> Iterator[bool]:
    """Whether all is well where, at a step of a writer, somebody reads, another writes, or it is killed."""
    steps: list[None] = []
    (folder / "counted").mkdir()
    store.write(folder / "counted", made(0, 0), lambda: steps.append(None))
    for event in ("read", "write", "kill"):
        for at in range(len(steps)):
            yield is_well(store, folder / f"{event} at {at}", event, at)


def is_well(store: Store, folder: Path, event: str, at: int) -> bool:
    folder.mkdir()
    first, second, steps = made(1, 0), made(2, 0), itertools.count()
    events: dict[str, Step] = {
        "read": lambda: store.read(folder),
        "write": lambda: store.write(folder, second, lambda: None),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }

    def step() -> None:
        if next(steps) == at:
            events[event]()

    try:
        if event == "kill":
            assert Child(lambda: store.write(folder, first, step)).wait() == -signal.SIGKILL
            if not store.has(folder, first.id):
                store.write(folder, first, lambda: None)
        else:
            store.write(folder, first, step)
        if event != "write":
            store.write(folder, second, lambda: None)
        return sorted(store.read(folder), key=lambda record: record.id) == [first, second]
    except Exception:
        return False


def test_no_step_of_a_writer_can_harm_a_record(tmp_path: Path) -> None:
    found = list(outcomes(OWN, tmp_path))
    assert len(found) == 3 * 5 and all(found)


@pytest.mark.measures("wrong writers")
@pytest.mark.parametrize("store", WRONG.values(), ids=WRONG)
def test_wrong_writer_is_caught(tmp_path: Path, store: Store) -> None:
    assert not all(outcomes(store, tmp_path))


# ------------------------------------------------------------------ many processes at once
def write_all(folder: Path, writer: int, each: int, killed_at: int | None) -> None:
    """What a sweep does, up to the file operation at which this process is killed."""
    operations = itertools.count()

    def count() -> None:
        if next(operations) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    tell_of_operations(pytest.MonkeyPatch(), count)
    for number in range(each):
        if not find_record(folder, f"{writer}-{number}"):
            write_record(folder, made(writer, number))


def test_no_record_is_torn_or_lost(tmp_path: Path, measure: Any) -> None:
    """Eight processes write at once, each is killed again and again as it writes, and somebody reads."""
    row, chance = measure("sweep", parts=WRITERS), random.Random(0)
    # A life is over within a record, of four operations, so that there is one left to write in each.
    lives = {w: [chance.randrange(4) for _ in range(max(1, row.n // 8))] for w in range(WRITERS)}
    kills = sum(map(len, lives.values()))

    def start(writer: int) -> Child:
        killed_at = lives[writer].pop() if lives[writer] else None
        return Child(partial(write_all, tmp_path, writer, row.n, killed_at))

    children = {writer: start(writer) for writer in range(WRITERS)}
    while children:
        read_records(tmp_path)
        for writer in [writer for writer, child in children.items() if child.has_ended()]:
            if children.pop(writer).wait() == -signal.SIGKILL:
                children[writer] = start(writer)
    assert not any(lives.values()) and kills, "not every kill struck: the test says little"
    found = {record.id: record for record in read_records(tmp_path)}
    expected = [made(writer, number) for writer in range(WRITERS) for number in range(row.n)]
    row.all([found.pop(record.id, None) == record for record in expected], writers=WRITERS, kills=kills)
    assert not found
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}, "something temporary is left"


def test_of_processes_that_finish_one_run_one_is_recorded(tmp_path: Path) -> None:
    """The others find its record, and its details, or are refused where theirs would say something else."""
    wait = tmp_path / "go"

    def finish(number: int, outcome: float) -> None:
        record = replace(
            RECORD, metrics={"dev": {"accuracy": outcome}}, seconds=RECORD.seconds | {"total": float(number)}
        )
        details = Details(id=RECORD.id, items={"test": {"accuracy": [outcome]}}, example=EXAMPLE)
        while not wait.exists():
            pass
        try:
            kept = write_results(tmp_path / "results", record, details)
        except RecordError:
            sys.exit(9)
        sys.exit(0 if kept.seconds == record.seconds else 8)

    for outcomes, wanted in (([0.5, 0.5, 0.5], [0, 8, 8]), ([0.1, 0.2, 0.3], [0, 9, 9])):
        children = [Child(partial(finish, number, outcome)) for number, outcome in enumerate(outcomes)]
        wait.touch()
        assert sorted(child.wait() for child in children) == wanted
        record = find_record(tmp_path / "results" / "runs", RECORD.id)
        assert record is not None and has_details(tmp_path / "results", record)
        shutil.rmtree(tmp_path / "results")
        wait.unlink()
