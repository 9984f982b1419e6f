"""Rows of Arrow files, mapped into memory: read when they are asked for, shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa

Item = TypeVar("Item")
Numbers = list[int]

_NUMBERS = pa.list_(pa.int32())
ITEM = pa.schema([("item", pa.binary())])
PLACE = pa.schema([("part", pa.int32()), ("line", pa.int64())])
PAIR = pa.schema([("source", _NUMBERS), ("target", _NUMBERS)])


class Items(Sequence[Item], Generic[Item]):
    """Rows of a file that :func:`write_batches` has written, each made an item when it is asked for.

    ``schema`` is that of the rows: ``PLACE`` where items are read anew from text files, else they are stored.

    Args:
        path: the file.
        decode: makes an item of the columns of a row.
    """

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __init__(self, path: Path, decode: Callable[..., Item]) -> None:
        self._decode = decode
        # To read all in order: of a mapped file every page that was read counts as memory ever after.
        self._in_order = pa.ipc.open_file(pa.OSFile(str(path)))
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.schema = reader.schema
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *map(len, self._batches)], dtype=np.int32)
        self._rows = np.arange(self._starts[-1], dtype=np.int32)  # which of them, ascending

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        places = range(len(self))[index]
        if isinstance(places, int):
            row = self._rows[places]
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            place = int(row - self._starts[number])
            return self._decode(*(column[place].as_py() for column in self._batches[number].columns))
        if places.step != 1:
            return [self[place] for place in places]
        return [self._decode(*row) for row in self.stored(places.start, places.stop)]

    def __iter__(self) -> Iterator[Item]:
        return (self._decode(*row) for row in self.stored())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def stored(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[Any, ...]]:
        """The columns of the rows from ``start`` to ``stop``."""
        rows = self._rows[start:stop]
        if not len(rows):
            return
        first, last = np.searchsorted(self._starts, rows[[0, -1]], side="right")
        # Batch by batch: what is taken out of all of them at once is copied into one first.
        for number in range(first - 1, last):
            begin, end = np.searchsorted(rows, self._starts[number : number + 2])
            if begin < end:
                batch = self._in_order.get_batch(number)
                taken = batch.take(pa.array(rows[begin:end] - self._starts[number]))
                yield from zip(*(column.to_pylist() for column in taken.columns), strict=True)

    def where(self, flags: Iterable[bool]) -> Items[Item]:
        """Those of the items whose flag is true."""
        chosen = copy(self)
        chosen._rows = self._rows[np.fromiter(flags, bool, len(self))]
        return chosen


def row_batch(schema: pa.Schema, *columns: Sequence[Any]) -> pa.RecordBatch:
    """Rows, given as their columns."""
    types = [field.type for field in schema]
    return pa.record_batch([*map(pa.array, columns, types)], schema=schema)


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches of one schema, one after the other."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
