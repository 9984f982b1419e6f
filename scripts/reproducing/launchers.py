"""The same runs through Hydra's launchers, as on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.reproducing.jobs import Job
from scripts.reproducing.runner import Failure
from scripts.sweeping.grids import Choice, Grid
from scripts.sweeping.launching import launch

Arguments = tuple[str, ...]


def launch_jobs(jobs: Sequence[Job], launcher: str, at_once: int, of_hydra: Sequence[str]) -> list[Failure]:
    """Train the jobs by one of Hydra's launchers and return those that failed.

    Args:
        jobs: none of which is done.
        launcher: a key of ``scripts.sweeping.launching.LAUNCHERS``.
        at_once: how many may run at the same time, where the launcher can tell.
        of_hydra: overrides of the launcher's own settings.

    Raises:
        UsageError: the launcher is not installed, or has no such setting.
    """
    failures = []
    for arguments, group in by_arguments(jobs).items():
        grid, choices = Grid(list(arguments), {}), [choice_of(job) for job in group]
        folder = Path(group[0].config["output_dir"]) / "logs"
        why = launch(grid, choices, launcher, at_once, folder, of_hydra)
        failures += [Failure(job, reason, folder) for job, reason in zip(group, why, strict=True) if reason]
    return failures


def by_arguments(jobs: Sequence[Job]) -> dict[Arguments, list[Job]]:
    """The jobs that share what a launcher wants said once."""
    groups: dict[Arguments, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.arguments, []).append(job)
    return groups


def choice_of(job: Job) -> Choice:
    """What tells a job from others of its group."""
    return tuple(text for text in job.overrides if text not in job.arguments)
