"""A disk that fails, or a process that ends, at one chosen file operation of an atomic write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tasks.training import atomic


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


class FaultyDisk:
    """The file operations of atomic writes, of which the one numbered ``at`` fails."""

    OPERATIONS = ("open", "fsync", "replace")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, is_late: bool) -> None:
        self.calls, self.at, self.error, self.is_late = 0, at, error, is_late
        for name in ("fsync", "replace"):
            monkeypatch.setattr(atomic.os, name, self.wrap(getattr(os, name)))
        monkeypatch.setattr(atomic, "open", self.wrap(open), raising=False)

    def wrap(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls != self.at:
                return operation(*arguments)
            if self.is_late:
                operation(*arguments)
            elif isinstance(arguments[0], int) and os.path.isfile(f"/dev/fd/{arguments[0]}"):
                os.ftruncate(arguments[0], 100)
            self.fail()

        return faulty

    def fail(self) -> None:
        raise self.error


class KillingDisk(FaultyDisk):
    """The same, where the process ends as if by kill -9: nothing can clean up."""

    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
