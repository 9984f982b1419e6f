"""Train a grid of settings on one machine or a cluster: `make sweep SWEEP=lambda_gamma ATTN=fusedmax`."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import cli
from scripts.cli import Parser, read_config
from scripts.runs import Setup, set_up
from scripts.sweeping.grids import Choice, Grid, read_grid
from scripts.sweeping.launching import LAUNCHERS, launch, split_overrides
from scripts.sweeping.ranking import rank, ranking
from scripts.train import make_command
from tasks.ranges import PositiveInt, check_number
from tasks.training.records import read_records

RESULTS = "results/sweeps"
"""Where the records of sweeps lie, unless told otherwise: apart from those that tables are made of."""

_NO_WORD = "it was not begun, or ended without a word"


@dataclass(frozen=True)
class Job:
    """One setting of a grid, and the run that it is."""

    choice: Choice
    setup: Setup

    @property
    def is_finished(self) -> bool:
        """Whether its record exists."""
        return self.setup.record_file.exists()


def plan(grid: Grid) -> list[Job]:
    """Check every setting and find out its run, before any is trained; a corpus is read once.

    Raises:
        UsageError: a key or value is wrong.
        ValueError: a value is out of its range, or the data cannot be used.
    """
    read: dict[str, Setup] = {}
    jobs = []
    for choice in grid.choices:
        config = read_config([*grid.fixed, *choice])
        data = json.dumps([cli.plain(config.data), cli.plain(config.task)])
        setup = set_up(config, like=read.get(data))
        read.setdefault(data, setup)
        jobs.append(Job(choice, setup))
    return jobs


def keep_apart(overrides: Sequence[str], results: str) -> list[str]:
    """Send the records to ``results``, unless ``overrides`` have sent them somewhere already."""
    mine = read_config(overrides).results_dir == read_config([]).results_dir
    return [*overrides, f"results_dir={results}"] if mine else list(overrides)


def sweep(name: str, launcher: str, at_once: int, overrides: Sequence[str]) -> bool:
    """Train what is missing of a grid; print how its settings rank on dev, and what is missing still.

    Returns:
        Whether nothing is.

    Raises:
        KeyboardInterrupt: somebody asked for a stop; what was printed says where it stands.
    """
    of_runs, of_hydra = split_overrides(overrides)
    asked = read_grid(name, of_runs)
    grid = _apart(asked)
    jobs = plan(grid)
    pending = [job.choice for job in jobs if not job.is_finished]
    print(f"{len(jobs)} runs, {len(jobs) - len(pending)} of them finished before", flush=True)
    why: list[str] = []
    try:
        if pending:
            folder = _folder(name, grid, jobs[0])
            print(f"{launcher}, {at_once} at once; what they print goes to {folder}/", flush=True)
            why = launch(grid, pending, launcher, at_once, folder, of_hydra)
    finally:
        _report(asked, jobs)
        reasons = dict(zip(pending, why, strict=False))
        _list_missing(grid, [job for job in jobs if not job.is_finished], reasons)
    return all(job.is_finished for job in jobs)


def _apart(grid: Grid) -> Grid:
    return Grid(keep_apart(grid.fixed, RESULTS), grid.axes)


def _folder(name: str, grid: Grid, job: Job) -> Path:
    """The same for the same grid, so that a sweep begun again goes on with its logs."""
    digest = hashlib.sha256(json.dumps(grid.fixed).encode()).hexdigest()[:8]
    return Path(job.setup.config.output_dir) / "sweeps" / f"{name or 'grid'}-{digest}"


def _report(grid: Grid, jobs: Sequence[Job]) -> None:
    records = {record.id: record for record in read_records(jobs[0].setup.record_file.parent)}
    metric = jobs[0].setup.task.metric
    settings = rank([(job.choice, records.get(job.setup.id)) for job in jobs], metric)
    print(f"\n{ranking(settings, metric)}")
    if settings[0].records:
        print(f"\nbest on dev: {make_command([*grid.fixed, *settings[0].choice])}", flush=True)


def _list_missing(grid: Grid, jobs: Sequence[Job], why: dict[Choice, str]) -> None:
    for job in jobs:
        print(f"\n{job.setup.id} is not finished: {why.get(job.choice) or _NO_WORD}", file=sys.stderr)
        print(f"  {make_command([*grid.fixed, *job.choice])}", file=sys.stderr)
    if jobs:
        print("\nthe same command continues the sweep: finished runs are not repeated", file=sys.stderr)


def _main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="make sweep")
    parser.add_argument("--sweep", default="", metavar="GRID")
    parser.add_argument("--launcher", default="basic", choices=LAUNCHERS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the settings, for a shell, and train none")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    check_number("JOBS", given.jobs, PositiveInt)
    if given.list:
        grid = _apart(read_grid(given.sweep, given.overrides))
        print("\n".join(shlex.join([*grid.fixed, *choice]) for choice in grid.choices))
        return
    if not sweep(given.sweep, given.launcher, given.jobs, given.overrides):
        sys.exit(1)


def main(arguments: Sequence[str]) -> None:
    """Exit 0 where all is finished, 1 where a run failed, 2 for a wrong command, 75 where it was stopped."""
    cli.main(lambda: _main(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
