"""How every command begins and ends: with its work, or with one sentence that says what is wrong."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import InstantiationException

from scripts import end_imports
from tasks.packages import PackageError
from tasks.training.checkpoint import CheckpointError
from tasks.training.distributed import ProcessError
from tasks.training.fit import NonFiniteError
from tasks.training.records import RecordError
from tasks.training.run_directory import RunInUseError
from tasks.training.signals import Preempted, raise_stop_signals
from tasks.training.state import ResumeError

WRONG_INPUT = 2

_EXPECTED = (
    CheckpointError,
    ConnectionError,
    NonFiniteError,
    OSError,
    PackageError,
    ProcessError,
    RecordError,
    ResumeError,
    RunInUseError,
    ValueError,
)


class UsageError(ValueError):
    """What the user asked for cannot be done; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """Refuses a command line in one sentence, as everything else is refused."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(work: Callable[[], None]) -> None:
    """Run ``work`` and exit: 0, 2 with a sentence for what a user can mend, or 75 when a signal stopped it.

    With HYDRA_FULL_ERROR=1 a bad input shows its traceback as well.
    """
    end_imports()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a ?, and the rest
    try:
        with raise_stop_signals():
            work()
    except (Preempted, KeyboardInterrupt) as stop:
        _say(f"stopped: {stop}; the same command continues it")
        sys.exit(Preempted.exit_code)
    except InstantiationException as error:
        if not isinstance(error.__cause__, _EXPECTED):
            raise
        _refuse(error.__cause__)
    except _EXPECTED as error:
        _refuse(error)


def _refuse(error: BaseException) -> None:
    if os.environ.get("HYDRA_FULL_ERROR"):
        raise error
    _say(f"error: {' '.join(sentence(error).split())}")
    sys.exit(WRONG_INPUT)


def sentence(error: BaseException) -> str:
    """What an error says, with the file that the file system refused."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}"
    return str(error) or type(error).__name__


def _say(sentence: str) -> None:
    rank = os.environ.get("RANK", "0")
    print(sentence if rank == "0" else f"process {rank}: {sentence}", file=sys.stderr)
