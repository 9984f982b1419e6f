"""Being asked to stop: a signal sets a flag, and the training loop stops between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Preempted(Exception):
    """The run was asked to stop and has saved its state; the process should exit with ``exit_code``.

    75 is EX_TEMPFAIL: the same command, given again, continues the run.
    """

    exit_code = 75


class StopRequest:
    """The name of the last signal that asked for a stop, or None."""

    signal: str | None = None


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGUSR1 and SIGINT into a flag while the block runs, however often they come.

    Outside the main thread, where Python allows no handlers, the flag never rises.
    """
    request = StopRequest()

    def remember(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.signal(number, remember) for number in STOPPING}
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
