"""Atomic writes whose every file operation is told of, or fails, or ends the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tasks.data import files


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


Operation = Callable[..., Any]


def wrap_operations(monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Operation], Operation]) -> None:
    for name in ("fsync", "replace", "link"):
        monkeypatch.setattr(files.os, name, wrap(getattr(os, name)))
    monkeypatch.setattr(files, "open", wrap(open), raising=False)


def tell_of_operations(monkeypatch: pytest.MonkeyPatch, tell: Callable[[], object]) -> None:
    """Have ``tell`` called before each file operation of atomic writes."""

    def wrap(operation: Operation) -> Operation:
        def told(*arguments: Any) -> Any:
            tell()
            return operation(*arguments)

        return told

    wrap_operations(monkeypatch, wrap)


class FaultyDisk:
    """The file operations of atomic writes, of which the one numbered ``at`` fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, is_late: bool) -> None:
        self.calls, self.at, self.error, self.is_late = 0, at, error, is_late
        wrap_operations(monkeypatch, self.wrap)

    def wrap(self, operation: Operation) -> Operation:
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
