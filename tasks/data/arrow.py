"""Items and numbers in Arrow files, mapped into memory: read when they are asked for, shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa

Item = TypeVar("Item")

_ITEM = pa.schema([("item", pa.binary())])
_PAIR = pa.schema([("source", pa.list_(pa.int32())), ("target", pa.list_(pa.int32()))])


@contextmanager
def _written(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatchWriter]:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        yield writer


class _Batches:
    """The record batches of a file, and where in them a row is."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.starts = np.cumsum([0, *map(len, self.batches)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def place(self, row: int) -> tuple[int, int]:
        batch = int(np.searchsorted(self.starts, row, side="right")) - 1
        return batch, row - int(self.starts[batch])


class Items(Sequence[Item], Generic[Item]):
    """The items of a file that :func:`write_items` has written.

    Args:
        path: the file.
        decode: makes an item of what is stored.
        rows: which rows they are, ascending; all by default.
    """

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __init__(
        self, path: Path | _Batches, decode: Callable[[bytes], Item], rows: np.ndarray | None = None
    ) -> None:
        self._file = path if isinstance(path, _Batches) else _Batches(path)
        self._decode, self._rows = decode, rows

    def __len__(self) -> int:
        return len(self._file if self._rows is None else self._rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return [self._decode(line) for line in self.lines(start, stop)]
            return [self[row] for row in range(start, stop, step)]
        if not -len(self) <= index < len(self):
            raise IndexError(f"an item must be one of {len(self)}, got {index}")
        row = index % len(self)
        batch, place = self._file.place(row if self._rows is None else int(self._rows[row]))
        return self._decode(self._file.batches[batch].column(0)[place].as_py())

    def __iter__(self) -> Iterator[Item]:
        return (self._decode(line) for line in self.lines())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<{len(self):,} items in memory-mapped files>"

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The items from ``start`` to ``stop`` as they are stored."""
        stop = len(self) if stop is None else stop
        file = self._file
        for number, first in enumerate(file.starts[:-1].tolist()):
            column, last = file.batches[number].column(0), int(file.starts[number + 1])
            if self._rows is None:
                if first < stop and last > start:
                    begin = max(start - first, 0)
                    yield from column.slice(begin, min(stop, last) - first - begin).to_pylist()
            else:
                low, high = np.searchsorted(self._rows, [first, last])
                wanted = self._rows[max(low, start) : min(high, stop)] - first
                if len(wanted):
                    yield from column.take(pa.array(wanted)).to_pylist()

    def where(self, flags: Iterable[bool]) -> Items[Item]:
        """Those of the items whose flag is true."""
        kept = np.flatnonzero(np.fromiter(flags, bool, len(self)))
        return Items(self._file, self._decode, kept if self._rows is None else self._rows[kept])


def write_items(path: Path, chunks: Iterable[list[bytes]]) -> None:
    """Write items, whatever their bytes mean, chunk after chunk."""
    with _written(path, _ITEM) as writer:
        for chunk in filter(None, chunks):
            writer.write_batch(pa.record_batch([pa.array(chunk, pa.binary())], schema=_ITEM))


Numbers = tuple[np.ndarray, np.ndarray]
"""Lists of numbers: all of them, one list after the other, and their lengths; both int32."""


class NumberedPairs(Sequence[tuple[list[int], list[int]]]):
    """The pairs of a file that :func:`write_pairs` has written whose sides both have 1 to ``longest`` tokens.

    ``lengths`` are those of the sources, int32.
    """

    def __init__(self, path: Path, longest: int) -> None:
        self._file = _Batches(path)
        sides = []
        for name in _PAIR.names:
            columns = [batch.column(name) for batch in self._file.batches]
            offsets = [column.offsets.to_numpy() for column in columns]
            sides.append([(o, c.values.to_numpy()) for o, c in zip(offsets, columns, strict=True)])
        self._sides = sides
        lengths = [np.concatenate([np.diff(o) for o, _ in side] or [np.zeros(0, np.int32)]) for side in sides]
        fits = np.logical_and.reduce([(length > 0) & (length <= longest) for length in lengths])
        self._rows = np.flatnonzero(fits).astype(np.int32)
        self.lengths = lengths[0][self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[list[int], list[int]]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[list[int], list[int]]]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        batch, place = self._file.place(int(self._rows[index]))
        found = (side[batch] for side in self._sides)
        return tuple(values[offsets[place] : offsets[place + 1]].tolist() for offsets, values in found)


def numbers_of(sequences: Sequence[Sequence[int]]) -> Numbers:
    """Lists of numbers in the form in which they are written."""
    lengths = np.fromiter(map(len, sequences), np.int32, len(sequences))
    return np.concatenate([np.zeros(0, np.int32), *(np.asarray(s, np.int32) for s in sequences)]), lengths


def write_pairs(path: Path, chunks: Iterable[tuple[Numbers, Numbers]]) -> None:
    """Write pairs of lists of numbers, chunk after chunk."""
    with _written(path, _PAIR) as writer:
        for chunk in chunks:
            columns = []
            for values, lengths in chunk:
                offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
                columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)))
            writer.write_batch(pa.record_batch(columns, schema=_PAIR))
