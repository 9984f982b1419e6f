"""Rows shared among threads: whoever is free takes the next block, and nobody waits for who comes late.

numba's own thread pools are not safe under fork (OpenMP) or under several Python threads (workqueue);
compiled code without the GIL in plain threads is both. Blocks are taken and reported in compiled code:
a thread that asks for the GIL while another holds it may wake up too late to be of help.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

from regattn.kernels import rows

_LOOKS = 5000  # at a ledger, before sleeping between them: about the time that waking up takes
_NAP = 5e-5


class _Job:
    """Rows to be worked on by the caller, and by those helpers that come while some are left."""

    __slots__ = ("arguments", "error", "kernel", "ledger")

    def __init__(self, kernel: Callable[..., None], ledger: np.ndarray, arguments: tuple[Any, ...]):
        self.kernel, self.ledger, self.arguments = kernel, ledger, arguments
        self.error: BaseException | None = None

    def help(self) -> None:
        arguments = self.arguments  # before the look at the ledger: none are left once all rows are done
        try:
            if not rows.all_taken(self.ledger):
                self.kernel(0, 0, self.ledger, *arguments)
        except BaseException as error:
            self.error = error

    def wait(self) -> None:
        """Return when all rows are done; raise what a helper met."""
        while not rows.all_done(self.ledger, _LOOKS):
            if self.error is not None:
                raise self.error
            time.sleep(_NAP)
        self.arguments = ()  # else a helper that has not come yet would keep them alive


class _Helpers:
    """Threads that wait for jobs, started when first asked for."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.lock = Lock()
        self.count = 0

    def ask(self, job: _Job, wanted: int) -> None:
        if self.count < wanted:
            self._start(wanted)
        for _ in range(wanted):
            self.jobs.put(job)

    def _start(self, wanted: int) -> None:
        with self.lock:
            while self.count < wanted:
                try:
                    Thread(target=_serve, args=(self.jobs,), name="regattn", daemon=True).start()
                except RuntimeError:  # no more threads to be had: the caller does what nobody takes
                    return
                self.count += 1


def _serve(jobs: SimpleQueue[_Job]) -> None:
    while True:
        jobs.get().help()


_helpers = _Helpers()


def _forget_helpers() -> None:
    global _helpers
    _helpers = _Helpers()


os.register_at_fork(after_in_child=_forget_helpers)  # a child has none of its parent's threads


def share(kernel: Callable[..., None], count: int, threads: int, *arguments: Any) -> None:
    """Call ``kernel(0, 0, ledger, *arguments)`` in up to so many threads; return when all rows are done."""
    job = _Job(kernel, rows.new_ledger(count, threads), arguments)
    _helpers.ask(job, threads - 1)
    kernel(0, 0, job.ledger, *arguments)
    job.wait()
