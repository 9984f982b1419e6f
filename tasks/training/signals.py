"""Being asked to stop: a signal sets a flag while a model trains, and ends everything else at once."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
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
    """The name of the last signal that asked for a stop, or None, and what becomes of those that come."""

    signal: str | None = None
    _ctrl_c = 0
    _is_interrupting = _is_held = False

    def hear(self, name: str) -> None:
        """Remember a signal.

        Raises:
            Interrupted: there is nothing to lose, or it is the second Ctrl-C of one who will not wait.
        """
        self.signal = name
        self._ctrl_c += name == signal.SIGINT.name
        if self._is_interrupting or (self._ctrl_c > 1 and not self._is_held):
            raise Interrupted(name)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Have a signal that came, or comes, break off the block, which must change nothing that is kept."""
        self._is_interrupting = True
        try:
            if self.signal:
                raise Interrupted(self.signal)
            yield
        finally:
            self._is_interrupting = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the block, which saves, end first, whatever comes meanwhile."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._ctrl_c > 1:
            raise Interrupted(str(self.signal))


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGUSR1, SIGUSR2 and SIGINT into a request while the block runs, however often they come.

    Only a second SIGINT is raised at once, as :class:`Interrupted`, unless something is being saved. Outside
    the main thread, where Python allows no handlers, nothing is ever requested.
    """
    request = StopRequest()

    def handler(number: int, frame: FrameType | None) -> None:
        request.hear(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield request
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def raise_stop_signals() -> Iterator[None]:
    """Turn the same signals into :class:`Interrupted`, raised wherever the block is."""
    with catch_stop_signals() as request, request.interrupting():
        yield


def exit_at_stop_signals() -> None:
    """Have the same signals end this process as its command does, as long as nobody else handles them."""

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(2, f"stopped: {signal.Signals(number).name}; the same command continues it\n".encode())
        os._exit(Preempted.exit_code)

    for number in STOPPING:
        signal.signal(number, stop)


def die_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have this process get a signal when its parent has ended, however that came; on Linux alone."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before it could be watched
        os.kill(os.getpid(), number)
