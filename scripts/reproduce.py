"""Plan the runs behind the paper's tables and run those that are missing: `make reproduce TABLE=… TIER=…`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from regattn import MAPPINGS
from scripts import cli
from scripts.runs.config import TIERS, split_overrides
from scripts.runs.plan import (
    PAPER,
    describe_needs,
    headline,
    list_runs,
    longest_first,
    make_plan,
    parse_names,
    parse_seeds,
    render,
)
from scripts.runs.runner import LAUNCHERS, die_with_make, launch
from scripts.style import check_drawing
from tasks._registry import TASKS
from tasks.ranges import PositiveIntOrNone, check_number
from tasks.training.provenance import available_cores
from tasks.training.settings import Threads

FAILED = 1


def reproduce(arguments: Sequence[str]) -> int:
    """Print the plan, run what is missing, and return the exit status: 1 where a run failed."""
    options = _options(arguments)
    tasks, seeds = parse_names("TABLE", options.table, TASKS, "all", TASKS), parse_seeds(options.seeds)
    overrides, of_hydra = split_overrides(options.overrides)
    mappings = parse_names("MAPPINGS", options.mappings, MAPPINGS, "paper", PAPER)
    plan = make_plan(list_runs(tasks, options.tier, seeds, overrides, mappings))
    at_once = options.jobs or max(1, available_cores() // options.threads)
    print(render(plan, at_once), flush=True)
    if options.dry:
        print(f"\n{describe_needs(plan, options.tier)}")
        return 0
    check_drawing()  # what every run ends with
    missing = [planned.run for planned in longest_first(plan)]
    folder = Path(plan[0].run.config["output_dir"]) / "logs"
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    why = launch([run.job for run in missing], options.launcher, at_once, folder, of_hydra)
    again = make_plan(missing)
    for planned in again:
        if planned.record:
            print(f"{planned.run.cell} s{planned.run.seed}: {headline(planned.record)}")
    failed = [(p.run, reason or "no record") for p, reason in zip(again, why, strict=True) if not p.record]
    if failed:
        print(f"{len(failed)} failed; each again:", file=sys.stderr)
    for run, reason in failed:
        log = shlex.quote(str(run.job.log_in(folder)))
        print(f"  {run.command}\n    {reason}\n    {log}", file=sys.stderr)
    return FAILED if failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m scripts.reproduce", description=__doc__)
    parser.add_argument("--table", default="all", help=f"all, or of {', '.join(TASKS)} with commas")
    parser.add_argument("--tier", default="mini", choices=TIERS)
    parser.add_argument("--mappings", default="paper", help="the paper's five, or which, as paper,entmax15")
    parser.add_argument("--seeds", default="3", help="how many, or which with commas between them")
    parser.add_argument("--jobs", type=int, help="processes at once; by default one for each core")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each")
    parser.add_argument("--launcher", default="basic", choices=LAUNCHERS, help="basic: processes of this one")
    parser.add_argument("--dry", action="store_true", help="the plan alone, and the data that it needs")
    parser.add_argument("overrides", nargs="*", help="for every run, such as data.root=…")
    given = parser.parse_args(arguments)
    check_number("JOBS", given.jobs, PositiveIntOrNone)
    check_number("THREADS", given.threads, Threads)
    return given


def _main() -> None:
    die_with_make()
    if status := reproduce(sys.argv[1:]):
        sys.exit(status)


if __name__ == "__main__":
    cli.main(_main)
