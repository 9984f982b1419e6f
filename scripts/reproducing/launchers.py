"""The same runs through Hydra's launchers, as on a cluster."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from scripts.reproducing.jobs import Job


def multirun_commands(jobs: Sequence[Job], launcher: str) -> list[list[str]]:
    """Command lines that train exactly these jobs: one for each set of cells that lack the same seeds.

    Args:
        jobs: none of which is done.
        launcher: a choice of Hydra's group ``hydra/launcher``.
    """
    cells: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for job in jobs:
        cells.setdefault((job.experiment, job.arguments), []).append(job.seed)
    grids: dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]] = {}
    for (experiment, arguments), seeds in cells.items():
        grids.setdefault((arguments, tuple(sorted(seeds))), []).append(experiment)
    return [
        [
            *(sys.executable, "-m", "scripts.train", "--multirun", f"hydra/launcher={launcher}"),
            f"experiment={','.join(experiments)}",
            f"seed={','.join(map(str, seeds))}",
            *arguments,
        ]
        for (arguments, seeds), experiments in grids.items()
    ]


def launch(commands: Sequence[Sequence[str]]) -> int:
    """Run the commands one after another and return how many failed."""
    return sum(subprocess.run(command, check=False).returncode != 0 for command in commands)
