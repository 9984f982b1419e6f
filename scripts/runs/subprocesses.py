"""Processes that end with the one that started them, and what their logs say last."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from tasks.training.signals import STOPPING, Preempted

STOPPED = (Preempted.exit_code, *(-number for number in STOPPING))
"""Exit codes of a process that a signal stopped: once it could say so, or before."""

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have this process get SIGTERM when its parent has ended, however that came; on Linux alone."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be watched
        os.kill(os.getpid(), signal.SIGTERM)


def die_with_make() -> None:
    """The same where make is the parent: what is killed is often make alone."""
    if "MAKELEVEL" in os.environ:
        die_with_parent(os.getppid())


def last_line(log: Path) -> str:
    """What a process said last, or that it said nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
