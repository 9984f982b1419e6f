"""Train in several processes of this machine: `make train NPROC=2`.

torchrun by its functions, because its command ends whatever goes wrong, a Ctrl-C too, in its own traceback.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from scripts import cli
from scripts.cli import UsageError
from tasks.training.signals import Preempted


def several(arguments: Sequence[str]) -> None:
    """Start as many processes as the first argument says of a training that the others say."""
    number = "".join(arguments[:1])
    if not (number.isdecimal() and int(number)):
        raise UsageError(f"NPROC must be an integer of at least 1, got {number!r}")
    logging.disable(logging.ERROR)  # what torchrun reports of processes that report themselves
    try:
        run(parse_args(["--standalone", "--nproc-per-node", number, "-m", "scripts.train", *arguments[1:]]))
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            raise UsageError(
                f"process {rank} was ended by {signal.Signals(-failure.exitcode).name}"
            ) from None
        sys.exit(failure.exitcode)
    except SignalException as stop:
        raise Preempted(stop.sigval.name) from None


if __name__ == "__main__":
    cli.main(lambda: several(sys.argv[1:]))
