"""One training of a sweep in a process of its own: what `make train` would have done, once the run is free.

It ends with the process that started it, whose id is its first argument. Where another process is in the run,
as of the same sweep begun twice, it waits for that to end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from scripts import cli
from scripts.runs.subprocesses import die_with_parent
from scripts.runs.training import train
from scripts.train import prepare
from tasks.training.run_directory import RunInUseError

_PAUSE = 2.0  # seconds before another try to enter a run that is in use


def run(parent: int, overrides: Sequence[str]) -> None:
    """Train what the overrides say."""
    die_with_parent(parent)
    setup = prepare(overrides)
    while True:
        try:
            return train(setup)
        except RunInUseError as error:
            print(f"waiting: {error}", flush=True)
            time.sleep(_PAUSE)


if __name__ == "__main__":
    cli.main(lambda: run(int(sys.argv[1]), sys.argv[2:]))
