"""Rows shared among PyTorch's threads: each done once, whatever a thread meets, no thread beside those."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from numba.core.errors import TypingError

import regattn
from regattn.kernels import cpu
from regattn.kernels.cpu import openmp
from tests.mappings import FUNCTIONS, SOLVED, weights_and_gradient

ROWS, WIDTH = 1500, 400

needs_openmp = pytest.mark.skipif(
    not openmp._gomp_parallel, reason="PyTorch without GOMP_parallel: rows are not shared"
)


@njit(nogil=True)
def count_rows(start, stop, seen):
    for r in range(start, stop):
        seen[r] += 1


@njit(nogil=True)
def count_rows_but_one(start, stop, seen, bad):
    for r in range(start, stop):
        if r == bad:
            raise ValueError("no such row")
        seen[r] += 1


@njit
def take(queue):
    return openmp._take(queue)


@pytest.fixture
def two_threads(threads: Callable[[int], None]) -> None:
    threads(2)


def solve(rows: int = ROWS) -> list[torch.Tensor]:
    """Weights and gradients of all mappings, on rows that cost differently."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(WIDTH) < torch.linspace(1, WIDTH, rows).int()[:, None]
    found = []
    for name in SOLVED:
        scores, direction = torch.randn(2, rows, WIDTH, generator=generator)
        found += weights_and_gradient(FUNCTIONS[name], scores, direction, mask=mask)
    return found


@needs_openmp
@pytest.mark.parametrize("count", [2, 3, 7])
def test_every_row_is_done_once(count, two_threads):
    torch.set_num_threads(count)
    for _ in range(20):
        seen = np.zeros(ROWS, np.int64)
        openmp.parallel_rows(count_rows, ROWS, seen)
        assert (seen == 1).all()


@pytest.mark.parametrize("rows_in_all", [1, 2, 31, ROWS])
def test_blocks_become_smaller(rows_in_all):
    queue, sizes = np.array([0, rows_in_all, 2, 0]), []
    start, stop = take(queue)
    while start < stop:
        sizes.append(stop - start)
        start, stop = take(queue)
    assert sum(sizes) == rows_in_all and sizes == sorted(sizes, reverse=True)
    assert sizes[0] == max(rows_in_all // 4, 1)
    assert len(sizes) <= 40


@needs_openmp
def test_what_a_thread_meets_is_raised_in_the_caller(two_threads):
    for bad in (0, ROWS - 1):
        seen = np.zeros(ROWS, np.int64)
        with pytest.raises(MemoryError, match="no memory for the rows of count_rows_but_one"):
            openmp.parallel_rows(count_rows_but_one, ROWS, seen, bad)
        assert seen[bad] == 0 and (seen <= 1).all()
    openmp.parallel_rows(count_rows_but_one, ROWS, seen, -1)  # and it is not remembered


@needs_openmp
def test_each_type_has_machine_code_of_its_own(two_threads):
    for kind in (np.int64, np.float32, np.int64, np.float64):
        seen = np.zeros(ROWS, kind)
        openmp.parallel_rows(count_rows, ROWS, seen)
        assert (seen == 1).all()


@needs_openmp
def test_arrays_with_gaps_are_refused(two_threads):
    openmp.parallel_rows(count_rows, ROWS, np.zeros(ROWS, np.int64))
    with pytest.raises(TypingError, match="must be C-contiguous"):
        openmp.parallel_rows(count_rows, ROWS, np.zeros(2 * ROWS, np.int64)[::2])


@needs_openmp
def test_arrays_are_not_held_after_the_call(two_threads):
    seen = np.zeros(ROWS)
    before = sys.getrefcount(seen)
    openmp.parallel_rows(count_rows, ROWS, seen)
    assert sys.getrefcount(seen) == before


def test_gradient_is_not_copied(monkeypatch, two_threads):
    held, real = [], cpu.parallel_rows

    def holding(*arguments: Any) -> None:
        held.append(arguments[-3].ctypes.data)  # where the output of group_average stands
        real(*arguments)

    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    y = regattn.sparsemax(x)
    monkeypatch.setattr(cpu, "parallel_rows", holding)
    y.backward(torch.randn(ROWS, WIDTH))
    assert x.grad is not None and x.grad.data_ptr() == held[0]


@needs_openmp
@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="the system does not list a process's threads"
)
def test_no_threads_run_beside_pytorch_s_own(two_threads):
    def running() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    torch.randn(1 << 20).add(1.0)  # so that PyTorch has its threads
    solve(1)  # takes none, but compiles, for which there is a thread of its own for a moment
    before = running()
    solve()
    assert running() <= before  # one of before may have ended meanwhile


def test_idle_threads_cost_nothing(two_threads):
    regattn.fusedmax(torch.randn(ROWS, WIDTH))
    spent = 1.0
    while spent >= 0.1:  # OpenMP's stay awake for a while: GNU's some milliseconds, LLVM's 200
        before = time.process_time()
        time.sleep(0.3)
        spent = time.process_time() - before


def test_without_openmp_the_caller_works_alone(two_threads, monkeypatch):
    shared = solve()
    monkeypatch.setattr(openmp, "_gomp_parallel", openmp._find("GOMP_no_such_function"))
    monkeypatch.setattr(openmp, "_solve_in_threads", None)
    assert all(torch.equal(a, b) for a, b in zip(shared, solve(), strict=True))


@pytest.mark.skipif(platform.system() != "Linux", reason="other systems have other OpenMP runtimes")
def test_pytorch_s_openmp_is_found():
    assert bool(openmp._gomp_parallel) == ("OpenMP" in torch.__config__.parallel_info())
