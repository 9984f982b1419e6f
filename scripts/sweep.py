"""Train a grid of settings on one machine or a cluster: `make sweep SWEEP=lambda_gamma ATTN=fusedmax`."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from scripts import cli
from scripts.runs.config import folder_overrides, keep_apart, split_overrides
from scripts.runs.grids import Grid, Setting, check_settings, rank, ranking, read_grid
from scripts.runs.runner import LAUNCHERS, die_with_make, launch
from scripts.runs.training import make_command
from tasks.ranges import PositiveInt, check_number
from tasks.training.records import read_records

RESULTS = "results/sweeps"
"""Where the records of sweeps lie, unless told otherwise: apart from those that tables are made of."""

_NO_WORD = "it was not begun, or ended without a word"


def sweep(name: str, launcher: str, at_once: int, overrides: Sequence[str]) -> bool:
    """Train what is missing of a grid; print how its settings rank on dev, and what is missing still.

    Returns:
        Whether nothing is.

    Raises:
        KeyboardInterrupt: somebody asked for a stop; what was printed says where it stands.
    """
    of_runs, of_hydra = split_overrides(overrides)
    asked = read_grid(name, of_runs)
    grid = Grid(keep_apart(asked.fixed, RESULTS), asked.axes)
    settings = check_settings(grid)
    pending = [setting for setting in settings if not setting.is_finished]
    print(f"{len(settings)} runs, {len(settings) - len(pending)} of them finished before", flush=True)
    why: list[str] = []
    try:
        if pending:
            folder = _folder(name, grid, settings[0])
            print(f"{launcher}, {at_once} at once; what they print goes to {folder}/", flush=True)
            why = launch([setting.job for setting in pending], launcher, at_once, folder, of_hydra)
    finally:
        _report(asked, settings)
        _list_missing(dict(zip_longest(pending, why)))
    return all(setting.is_finished for setting in settings)


def _folder(name: str, grid: Grid, setting: Setting) -> Path:
    """The same for the same grid, so that a sweep begun again goes on with its logs."""
    digest = hashlib.sha256(json.dumps(grid.fixed).encode()).hexdigest()[:8]
    return Path(setting.setup.config.output_dir) / "sweeps" / f"{name or 'grid'}-{digest}"


def _report(grid: Grid, settings: Sequence[Setting]) -> None:
    setup = settings[0].setup
    ranked = rank(settings, read_records(setup.record_file.parent))
    print(f"\n{ranking(ranked, setup.task.metric)}")
    if ranked[0].records:
        print(f"\nbest on dev: {make_command([*grid.fixed, *ranked[0].choice])}", flush=True)


def _list_missing(pending: dict[Setting, str | None]) -> None:
    missing = {setting: why for setting, why in pending.items() if not setting.is_finished}
    for setting, why in missing.items():
        print(f"\n{setting.setup.id} is not finished: {why or _NO_WORD}", file=sys.stderr)
        print(f"  {make_command(setting.job.overrides)}", file=sys.stderr)
    if missing:
        print("\nthe same command continues the sweep: finished runs are not repeated", file=sys.stderr)


def _main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(prog="make sweep")
    parser.add_argument("--sweep", default="", metavar="GRID")
    parser.add_argument("--launcher", default="basic", choices=LAUNCHERS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the settings, for a shell, and train none")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    check_number("JOBS", given.jobs, PositiveInt)
    given.overrides = folder_overrides(given.overrides)
    if given.list:
        grid = read_grid(given.sweep, given.overrides)
        fixed = keep_apart(grid.fixed, RESULTS)
        print("\n".join(shlex.join([*fixed, *choice]) for choice in grid.choices))
    elif not sweep(given.sweep, given.launcher, given.jobs, given.overrides):
        sys.exit(1)


def main(arguments: Sequence[str]) -> None:
    """Exit 0 where all is finished, 1 where a run failed, 2 for a wrong command, 75 where it was stopped."""
    die_with_make()
    cli.main(lambda: _main(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
