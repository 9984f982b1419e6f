"""Records of many writers that are killed and started again: none torn, none lost, none that nobody wrote."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from forked import Child, needs_fork

from tasks.training.records import Record, find_record, read_records, write_record
from tests.example_record import RECORD

pytestmark = needs_fork
WRITERS = 8


class Store(NamedTuple):
    """How records are written and read."""

    write: Callable[[Path, Record], object]
    has: Callable[[Path, str], object]
    read: Callable[[Path], list[Record]]


OWN = Store(write_record, find_record, read_records)


def made(writer: int, number: int) -> Record:
    """A record that is as large as one of a real run, and known in all its parts."""
    history = [{"epoch": e, "loss": writer + number / 7, "dev": {"accuracy": e / 100}} for e in range(40)]
    return replace(RECORD, id=f"{writer}-{number}", seed=number, history=history)


def write_all(store: Store, folder: Path, writer: int, each: int) -> None:
    """What a sweep does: every run that has no record yet."""
    for number in range(each):
        if not store.has(folder, f"{writer}-{number}"):
            store.write(folder, made(writer, number))


def sweep(store: Store, folder: Path, each: int) -> tuple[list[Record], int]:
    """Let 8 writers do their part while any of them is killed, and somebody reads, at any moment.

    Returns:
        The records, and how many kills struck.
    """
    chance, kills, planned = random.Random(0), 0, WRITERS * each // 8
    children = {w: Child(partial(write_all, store, folder, w, each)) for w in range(WRITERS)}
    try:
        while children:
            writer = chance.choice(list(children))
            if kills < planned:
                time.sleep(chance.uniform(0, 0.02))
                children[writer].send()
            code = children.pop(writer).wait()
            kills += code == -signal.SIGKILL
            if code:
                children[writer] = Child(partial(write_all, store, folder, writer, each))
            store.read(folder)
    finally:
        for child in children.values():
            child.send()
            child.wait()
    return store.read(folder), kills


def wanted(each: int) -> dict[str, Record]:
    return {r.id: r for r in (made(writer, number) for writer in range(WRITERS) for number in range(each))}


def test_no_record_is_torn_or_lost(tmp_path: Path, measure: Any) -> None:
    row = measure("sweep", parts=WRITERS)
    folder = tmp_path / "runs"
    folder.mkdir()
    (found, kills), expected = sweep(OWN, folder, row.n), wanted(row.n)
    assert {record.id for record in found} == set(expected)
    row.all([record == expected[record.id] for record in found], writers=WRITERS, kills=kills)
    assert kills, "nothing was killed: the test says little"
    assert {path.suffix for path in folder.iterdir()} == {".json"}, "something temporary is left"


# ------------------------------------------------------------------ planted faults
def in_place(folder: Path, record: Record) -> None:
    """Under its own name from the first byte on."""
    text = json.dumps(asdict(record))
    with (folder / f"{record.id}.json").open("w") as file:
        for start in range(0, len(text), 1000):
            file.write(text[start : start + 1000])
            file.flush()
            time.sleep(0.001)


def by_one_name(folder: Path, record: Record) -> None:
    """By a temporary name that all writers share."""
    temporary = folder / "record.tmp"
    temporary.write_text(json.dumps(asdict(record)))
    time.sleep(0.001)
    temporary.rename(folder / f"{record.id}.json")


def in_one_table(folder: Path, record: Record) -> None:
    """In a file that every writer reads, adds to and writes again."""
    table = table_of(folder)
    time.sleep(0.001)
    temporary = folder / f"{record.id}.tmp"
    temporary.write_text(json.dumps({**table, record.id: asdict(record)}))
    temporary.rename(folder / "all.table")


def table_of(folder: Path) -> dict[str, Any]:
    path = folder / "all.table"
    return json.loads(path.read_text()) if path.exists() else {}


def has_file(folder: Path, run: str) -> bool:
    return (folder / f"{run}.json").exists()


WRONG = {
    "in place": Store(in_place, has_file, read_records),
    "by one temporary name": Store(by_one_name, has_file, read_records),
    "in one table": Store(
        in_one_table,
        lambda folder, run: run in table_of(folder),
        lambda folder: [Record(**values) for values in table_of(folder).values()],
    ),
}


def is_caught(store: Store, folder: Path, each: int) -> bool:
    folder.mkdir()
    try:
        found, _ = sweep(store, folder, each)
    except Exception:
        return True  # a torn record
    return {record.id: record for record in found} != wanted(each)


@pytest.mark.measures("wrong writers")
@pytest.mark.parametrize("store", WRONG.values(), ids=WRONG)
def test_wrong_writer_is_caught(tmp_path: Path, store: Store) -> None:
    """Of two writers that are in each other's way one may be lucky: in one sweep of a few."""
    assert any(is_caught(store, tmp_path / str(attempt), each=12) for attempt in range(5))
