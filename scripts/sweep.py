"""Train a grid of settings on one machine or a cluster: `make sweep SWEEP=lambda_gamma ATTN=fusedmax`.

Every run of the grid is checked before any is trained, and its settings are ranked on dev.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from pathlib import Path
from statistics import mean

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from scripts import cli
from scripts.cli import UsageError
from scripts.markdown import markdown
from scripts.paper.significance import mean_std
from scripts.paper.table import UNKNOWN
from scripts.runs.config import folder_overrides, keep_apart, load_choice, plain, read_config, split_overrides
from scripts.runs.runner import LAUNCHERS, Job, die_with_make, launch
from scripts.runs.setup import Setup, set_up
from scripts.runs.training import make_command
from tasks.checks import PositiveInt, check_number, counted
from tasks.training.records import Record, read_records

RESULTS = "results/sweeps"
"""Where the records of sweeps lie, unless told otherwise: apart from those that tables are made of."""

_NO_WORD = "it was not begun, or ended without a word"


# ------------------------------------------------------------------ the settings of a grid
Choice = tuple[str, ...]
"""The overrides that make one setting of a grid."""


@dataclass(frozen=True)
class Grid:
    """Settings to train."""

    fixed: list[str]  # overrides that all share
    axes: dict[str, list[str]]  # for every key that varies its overrides, such as ["seed=1", "seed=2"]

    @property
    def choices(self) -> list[Choice]:
        """Every combination, the last axis running fastest."""
        return list(product(*self.axes.values()))


def read_grid(name: str, overrides: Sequence[str]) -> Grid:
    """The grid configs/sweep/``name``.yaml (none where it is empty) under ``overrides``.

    An override may vary a key too, as Hydra writes it, or hold one of the grid's still.

    Example:
        >>> read_grid("lambda_gamma", ["attention.gamma=1", "attention.lam=0.1,0.2", "seed=range(1,3)"])
        Grid(fixed=['attention.gamma=1'],
             axes={'attention.lam': ['attention.lam=0.1', 'attention.lam=0.2'], 'seed': ['seed=1', 'seed=2']})
    """
    values = dict(_read_override(text) for text in [*_named_grid(name), *overrides])
    fixed = [text for choices in values.values() for text in choices if len(choices) == 1]
    return Grid(fixed, {key: choices for key, choices in values.items() if len(choices) > 1})


def _named_grid(name: str) -> list[str]:
    if not name:
        return []
    params = load_choice("SWEEP", "sweep", name)["hydra"]["sweeper"]["params"]
    return [f"{key}={values}" for key, values in params.items()]


def _read_override(text: str) -> tuple[str, list[str]]:
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UsageError(
            f"an override must be key=value, got {text!r}: {str(error).splitlines()[0]}"
        ) from None
    key = override.get_key_element()
    if not override.is_sweep_override():
        return key, [text]
    if not (choices := [f"{key}={value}" for value in override.sweep_string_iterator()]):
        raise UsageError(f"an override must have a value at least, got {text!r}, which has none")
    return key, choices


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of a grid, what trains it, and the run that it is."""

    choice: Choice
    job: Job
    setup: Setup

    @property
    def is_finished(self) -> bool:
        """Whether its record exists."""
        return self.setup.record_file.exists()


def check_settings(grid: Grid) -> list[Setting]:
    """Check every setting and find out its run, before any is trained; a corpus is read once."""
    read: dict[str, Setup] = {}
    settings = []
    for choice in grid.choices:
        job = Job(",".join(choice).replace("/", "-") or "run", (*grid.fixed, *choice))
        config = read_config(job.overrides)
        data = json.dumps([plain(config.data), plain(config.task)])
        setup = set_up(config, like=read.get(data))
        read.setdefault(data, setup)
        settings.append(Setting(choice, job, setup))
    return settings


Seeds = dict[Choice, list[Record | None]]
"""The records of every setting by what was chosen apart from the seed, None where there is none yet."""


def rank(settings: Sequence[Setting], records: Iterable[Record]) -> Seeds:
    """Collect the seeds of every setting; those with the best mean on dev come first, test has no say."""
    known = {record.id: record for record in records}
    seeds: Seeds = {}
    for setting in settings:
        choice = tuple(text for text in setting.choice if not text.startswith("seed="))
        seeds.setdefault(choice, []).append(known.get(setting.setup.id))
    metric = settings[0].setup.task.metric

    def score(choice: Choice) -> float:
        values = [record.metrics["dev"][metric] for record in seeds[choice] if record]
        return mean(values) if values else float("-inf")

    return {choice: seeds[choice] for choice in sorted(seeds, key=score, reverse=True)}


def ranking(ranked: Seeds, metric: str) -> str:
    """The table of :func:`rank`: the mean and standard deviation over seeds."""
    keys = [text.partition("=")[0].rpartition(".")[2] for text in next(iter(ranked))]
    rows = []
    for choice, runs in ranked.items():
        figures = [UNKNOWN] * 3
        if done := [run for run in runs if run]:
            score = mean_std([run.metrics["dev"][metric] for run in done]).text(4)
            figures = [score, f"{min(run.seconds['per_epoch'] for run in done):.1f}", done[0].id]
        values = [text.partition("=")[2] for text in choice]
        rows.append([*values, figures[0], f"{len(done)}/{len(runs)}", *figures[1:]])
    return markdown([*keys, f"dev {metric}", "runs", "s per epoch", "first run"], rows, numbers=True)


# ------------------------------------------------------------------ trained
def sweep(name: str, launcher: str, at_once: int, overrides: Sequence[str]) -> bool:
    """Train what is missing of a grid, print how its settings rank on dev, and say if all is finished."""
    of_runs, of_hydra = split_overrides(overrides)
    asked = read_grid(name, of_runs)
    grid = Grid(keep_apart(asked.fixed, RESULTS), asked.axes)
    settings = check_settings(grid)
    pending = [setting for setting in settings if not setting.is_finished]
    finished = len(settings) - len(pending)
    print(f"{counted(len(settings), 'run')}, {finished} of them finished before", flush=True)
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
    choice, runs = next(iter(ranked.items()))
    if any(runs):
        print(f"\nbest on dev: {make_command([*grid.fixed, *choice])}", flush=True)


def _list_missing(pending: dict[Setting, str | None]) -> None:
    missing = {setting: why for setting, why in pending.items() if not setting.is_finished}
    for setting, why in missing.items():
        print(f"\n{setting.setup.id} is not finished: {why or _NO_WORD}", file=sys.stderr)
        print(f"  {make_command(setting.job.overrides)}", file=sys.stderr)
    if missing:
        print("\nthe same command continues the sweep: finished runs are not repeated", file=sys.stderr)


def main(arguments: Sequence[str]) -> None:
    """Exit 0 where all is finished, 1 where a run failed, 2 for a wrong command, 75 where it was stopped."""
    parser = cli.Parser(prog="make sweep")
    parser.add_argument("--sweep", default="", metavar="GRID")
    parser.add_argument("--launcher", default="basic", choices=LAUNCHERS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the settings, for a shell, and train none")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    check_number("JOBS", given.jobs, PositiveInt)
    overrides = folder_overrides(given.overrides)
    if given.list:  # as docs/slurm/sweep.sbatch asks for them
        grid = read_grid(given.sweep, overrides)
        fixed = keep_apart(grid.fixed, RESULTS)
        print("\n".join(shlex.join([*fixed, *choice]) for choice in grid.choices))
    elif not sweep(given.sweep, given.launcher, given.jobs, overrides):
        sys.exit(1)


if __name__ == "__main__":
    die_with_make()
    cli.main(lambda: main(sys.argv[1:]))
