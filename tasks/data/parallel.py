"""Work on many items in as many processes as there are cores, results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from tasks.training.provenance import available_cores
from tasks.training.signals import die_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 10_000
"""Items that a process works on at a time: a second's work at most, and few MB to send."""

_work: Callable[[Any], Any]  # of a process of a pool


def map_chunks(work: Callable[[Item], Result], chunks: Iterable[Item]) -> Iterator[Result]:
    """Yield ``work(chunk)`` for every chunk, in order; a few chunks are under way at a time.

    One chunk, or one core, needs no other process. ``work`` may be any function, because the processes are
    forked; chunks and results are sent, and have to be plain. Where a system does not fork, this process does
    all by itself.

    Raises:
        OSError: a process was ended from outside.
    """
    chunks = iter(chunks)
    first = list(islice(chunks, 2))
    processes = available_cores()
    if len(first) < 2 or processes == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(work, chain(first, chunks))
        return
    context = multiprocessing.get_context("fork")
    waiting: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(processes, context, _begin, (work, os.getpid())) as pool:
        try:
            for chunk in chain(first, chunks):
                waiting.append(pool.submit(_call, chunk))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise OSError(
                "a process that prepared the data was ended from outside, perhaps for its memory; "
                "the same command begins again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def map_items(work: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The same for ``work`` on runs of consecutive items; every process takes its own out of ``items``."""
    spans = [slice(start, start + CHUNK) for start in range(0, len(items), CHUNK)]
    return map_chunks(lambda span: work(items[span]), spans)


def _begin(work: Callable[[Any], Any], parent: int) -> None:
    global _work
    _work = work
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        # A signal to all is answered by the parent, which ends its pool; one to this process alone ends it.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    die_with_parent(parent, signal.SIGKILL)


def _call(chunk: Any) -> Any:
    return _work(chunk)
