"""How every command begins and ends: with its work, or with one sentence that says what is wrong."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from scripts import end_imports
from tasks.errors import Refusal
from tasks.training.signals import Interrupted, Preempted, raise_stop_signals

WRONG_INPUT = 2


class UsageError(ValueError):
    """What the user asked for cannot be done; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """Refuses a command line in one sentence, as everything else is refused."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def study_name(text: str) -> str:
    """A study's name from a command line: that of a file, in the folder where studies lie."""
    if not text.strip(".") or "/" in text:
        raise argparse.ArgumentTypeError(f"must be a name without /, got {text!r}")
    return text


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
    except Exception as error:
        hydra = sys.modules.get("hydra.errors")  # which wraps what goes wrong in what it builds
        cause = error.__cause__ if hydra and isinstance(error, hydra.InstantiationException) else error
        if not isinstance(cause, Refusal | OSError | ValueError):
            if heard := _stop_behind(error):
                _say(f"stopped: {heard}; the same command continues it")
                sys.exit(Preempted.exit_code)
            raise
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise cause from None
        _say(f"error: {' '.join(sentence(cause).split())}")
        sys.exit(WRONG_INPUT)


def _stop_behind(error: BaseException | None) -> BaseException | None:
    """The signal in whose wake a library, broken off in the middle, raised an error of its own."""
    while error and not isinstance(error, Interrupted):
        error = error.__context__
    return error


def sentence(error: BaseException) -> str:
    """What an error says, with the file that the file system refused."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}"
    return str(error) or type(error).__name__


def _say(sentence: str) -> None:
    rank = os.environ.get("RANK", "0")
    print(sentence if rank == "0" else f"process {rank}: {sentence}", file=sys.stderr)
