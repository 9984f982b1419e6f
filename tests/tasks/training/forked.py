"""A process that can be killed: a fork of the tests' own, so that it starts in milliseconds."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

import pytest
import torch

# Autograd refuses to run in a fork of a process that has run it beside a GPU.
needs_fork = pytest.mark.skipif(torch.cuda.is_available(), reason="autograd beside a GPU cannot be forked")


class Child:
    """Runs ``work`` and ends with 0, with the code that it exits with, or with 1 and a traceback."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            # Not by sys.exit: what the test runner would do at its end is not this process's to do.
            os._exit(_code(work))

    def send(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code; of a process that a signal ended the signal's number, negative."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def has_ended(self) -> bool:
        """Whether :meth:`wait` returns at once; the process is left for it."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _code(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
