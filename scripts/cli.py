"""How every command begins and ends: with its work, or with one sentence that says what is wrong."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from scripts import end_imports
from tasks.checks import Refusal
from tasks.training.signals import Interrupted, Preempted, raise_stop_signals

WRONG_INPUT = 2
_NOBODY_READS = 128 + signal.SIGPIPE  # what a shell reports of a program that a closed pipe has ended


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


class _StandardOutput(io.FileIO):
    """Standard output that names itself where it cannot be written; the system's errors do not."""

    NAME = "standard output"

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = self.NAME
            raise


def main(work: Callable[[], object]) -> None:
    """Run ``work`` and exit: 0, 2 with a sentence for what a user can mend, or 75 when a signal stopped it.

    With HYDRA_FULL_ERROR=1 a bad input shows its traceback as well. Where nobody reads standard output any
    longer, as after ``| head``, it ends with 141 and says nothing.
    """
    end_imports()
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout is sys.__stdout__:
            file = io.BufferedWriter(_StandardOutput(sys.stdout.fileno(), "w", closefd=False))
            sys.stdout = io.TextIOWrapper(file, sys.stdout.encoding, line_buffering=sys.stdout.line_buffering)
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a ?, and the rest
    try:
        with raise_stop_signals():
            try:
                work()
            except SystemExit as stop:
                if isinstance(stop.__context__, BrokenPipeError):  # of a bar, whose library exits by itself
                    _end(_NOBODY_READS)
                _flush()
                raise
            _flush()
    except (Preempted, KeyboardInterrupt) as stop:
        _end(Preempted.exit_code, f"stopped: {stop}; the same command continues it")
    except Exception as error:
        hydra = sys.modules.get("hydra.errors")  # which wraps what goes wrong in what it builds
        cause = error.__cause__ if hydra and isinstance(error, hydra.InstantiationException) else error
        if isinstance(cause, BrokenPipeError) and cause.filename == _StandardOutput.NAME:
            _end(_NOBODY_READS)
        if not isinstance(cause, Refusal | OSError | ValueError):
            if heard := _stop_behind(error):
                _end(Preempted.exit_code, f"stopped: {heard}; the same command continues it")
            raise
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise cause from None
        _end(WRONG_INPUT, f"error: {' '.join(sentence(cause).split())}")


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _end(status: int, said: str = "") -> NoReturn:
    if said:
        _say(said)
    try:
        _flush()
    except OSError:  # which has been said
        _discard(sys.stdout)
    sys.exit(status)


def _discard(stream: TextIO) -> None:
    """Give up what could not be written: python would try again at its end, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
    try:
        print(sentence if rank == "0" else f"process {rank}: {sentence}", file=sys.stderr, flush=True)
    except OSError:  # standard error may be full, too, and the exit status still says it
        _discard(sys.stderr)
