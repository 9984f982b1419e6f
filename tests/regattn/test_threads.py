"""Rows shared among threads: each done once, whoever fails, comes late or does not come at all."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from threading import Event, Lock, Thread, get_ident
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit

import regattn
from regattn.kernels import cpu, rows, threads
from regattn.kernels.rows import ledger as ledgers

ROWS, WIDTH = 1500, 400


@njit
def take(ledger, start, stop):
    return ledgers.take(ledger, start, stop)


class Kernel:
    """A kernel that counts what it is given, written with the functions that the compiled ones use."""

    def __init__(self) -> None:
        self.seen, self.lock = np.zeros(ROWS, np.int64), Lock()

    def __call__(self, start: int, stop: int, ledger: np.ndarray) -> None:
        while True:
            with self.lock:
                self.seen[start:stop] += 1
            time.sleep(0)
            start, stop = take(ledger, start, stop)
            if start == stop:
                return


@pytest.fixture
def fresh(monkeypatch) -> Iterator[Any]:
    """Helpers of this test's own."""
    helpers = threads._Helpers()
    monkeypatch.setattr(threads, "_helpers", helpers)
    yield helpers


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_every_row_is_done_once(count, fresh):
    for _ in range(20):
        kernel = Kernel()
        threads.share(kernel, ROWS, count)
        assert (kernel.seen == 1).all()
    assert fresh.count == count - 1


def test_blocks_become_smaller():
    ledger, sizes = rows.new_ledger(ROWS, 2), []
    start, stop = take(ledger, 0, 0)
    while start < stop:
        sizes.append(stop - start)
        start, stop = take(ledger, start, stop)
    assert sizes[0] == ROWS // 4 and sizes[-1] <= sizes[-2] == ROWS // 32
    assert sum(sizes) == ROWS and rows.all_done(ledger, 1)


def test_helper_that_comes_late_is_not_waited_for(fresh):
    busy, release = Event(), Event()

    def stuck(start: int, stop: int, ledger: np.ndarray) -> None:
        busy.set()
        release.wait(30)

    fresh.ask(threads._Job(stuck, rows.new_ledger(1, 2), ()), 1)
    assert busy.wait(30)
    kernel = Kernel()
    threads.share(kernel, ROWS, 2)
    assert (kernel.seen == 1).all() and not release.is_set()
    release.set()


def test_caller_does_it_alone_where_no_thread_can_start(fresh, monkeypatch):
    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    kernel = Kernel()
    threads.share(kernel, ROWS, 4)
    assert (kernel.seen == 1).all() and fresh.count == 0


def test_what_a_helper_meets_is_raised_in_the_caller(fresh):
    taken = Event()

    def kernel(start: int, stop: int, ledger: np.ndarray, caller: int) -> None:
        if get_ident() != caller:
            take(ledger, start, stop)  # and never reported
            taken.set()
            raise MemoryError("no room")
        assert taken.wait(30)
        while start < stop or not start:
            start, stop = take(ledger, start, stop)

    with pytest.raises(MemoryError, match="no room"):
        threads.share(kernel, ROWS, 2, get_ident())
    came = Event()
    fresh.ask(threads._Job(lambda *_: came.set(), rows.new_ledger(1, 2), ()), 1)
    assert came.wait(30), "the helper is lost"


def test_nothing_is_kept_alive_for_a_helper_that_is_late(fresh):
    release = Event()
    fresh.ask(threads._Job(lambda *_: release.wait(30), rows.new_ledger(1, 2), ()), 1)
    weights = np.zeros(ROWS)
    kept = weakref.ref(weights)
    threads.share(lambda start, stop, ledger, _: Kernel()(start, stop, ledger), ROWS, 2, weights)
    del weights
    assert kept() is None
    release.set()


def test_gradient_is_not_copied_while_a_helper_still_holds_its_memory(monkeypatch, two_threads):
    held, real = [], rows.group_average

    def holding(*arguments: Any) -> None:
        held.append(arguments)
        real(*arguments)

    monkeypatch.setattr(cpu.rows, "group_average", holding)
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    regattn.sparsemax(x).backward(torch.randn(ROWS, WIDTH))
    assert x.grad is not None and x.grad.data_ptr() == held[0][5].ctypes.data


def test_idle_helpers_cost_nothing(two_threads):
    regattn.fusedmax(torch.randn(ROWS, WIDTH))
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def test_rows_that_cost_differently_give_the_bits_of_one_thread(two_threads):
    lengths = torch.linspace(1, WIDTH, ROWS).int()
    mask = torch.arange(WIDTH) < lengths[:, None]
    x = torch.randn(ROWS, WIDTH)
    shared = regattn.fusedmax(x, mask=mask)
    torch.set_num_threads(1)
    assert torch.equal(shared, regattn.fusedmax(x, mask=mask))
