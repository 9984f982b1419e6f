"""Being asked to stop: a signal sets a flag while a model trains, and ends everything else at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SIGUSR2 is submitit's; SLURM sends it to the training as well as to the process that started it.
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class Preempted(Exception):
    """The run was asked to stop and has saved its state; the process should exit with ``exit_code``.

    75 is EX_TEMPFAIL: the same command, given again, continues the run.
    """

    exit_code = 75


class Interrupted(KeyboardInterrupt):
    """A signal asked for a stop where there is nothing to save; the message is its name."""


class StopRequest:
    """The name of the last signal that asked for a stop, or None."""

    signal: str | None = None


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGUSR1, SIGUSR2 and SIGINT into a flag while the block runs, however often they come.

    Outside the main thread, where Python allows no handlers, the flag never rises.
    """
    request = StopRequest()

    def remember(name: str) -> None:
        request.signal = name

    with _handled_by(remember):
        yield request


@contextmanager
def raise_stop_signals() -> Iterator[None]:
    """Turn the same signals into :class:`Interrupted`, raised wherever the block is."""

    def stop(name: str) -> None:
        raise Interrupted(name)

    with _handled_by(stop):
        yield


def exit_at_stop_signals() -> None:
    """Have the same signals end this process as its command does, as long as nobody else handles them."""

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(2, f"stopped: {signal.Signals(number).name}; the same command continues it\n".encode())
        os._exit(Preempted.exit_code)

    for number in STOPPING:
        signal.signal(number, stop)


@contextmanager
def _handled_by(handle: Callable[[str], None]) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        handle(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
