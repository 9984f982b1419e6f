"""Plan the runs behind the paper's tables and run those that are missing: `make reproduce TABLE=… TIER=…`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import cli
from scripts.children import end_with_parent
from scripts.recipes import TIERS
from scripts.reproducing.hours import describe_hours
from scripts.reproducing.jobs import TABLES, list_jobs, parse_seeds, parse_tables
from scripts.reproducing.launchers import launch_jobs
from scripts.reproducing.plan import Planned, longest_first, make_plan, render
from scripts.reproducing.runner import run_jobs, tell
from scripts.reproducing.sources import describe_data
from scripts.sweeping.launching import LAUNCHERS, split_overrides
from tasks.ranges import PositiveIntOrNone, check_number
from tasks.training.records import read_records
from tasks.training.settings import Threads

FAILED = 1


def reproduce(arguments: Sequence[str]) -> int:
    """Print the plan, run what is missing, and return the exit status: 1 where a run failed."""
    options = _options(arguments)
    tables, seeds = parse_tables(options.table), parse_seeds(options.seeds)
    overrides, of_hydra = split_overrides(options.overrides)
    plan = make_plan(list_jobs(tables, options.tier, seeds, overrides))
    at_once = options.jobs or max(1, _cores() // options.threads)
    print(render(plan, at_once), flush=True)
    if options.dry:
        print("\n" + "\n\n".join(_needs(plan, tables, options)))
        return 0
    jobs = [planned.job for planned in longest_first(plan)]
    if options.launcher == "basic":
        failures = run_jobs(jobs, at_once, options.threads)
    else:
        failures = launch_jobs(jobs, options.launcher, at_once, of_hydra)
    if failures:
        print(tell(failures), file=sys.stderr)
    return FAILED if failures else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m scripts.reproduce", description=__doc__)
    parser.add_argument("--table", default="all", help=f"all, or of {', '.join(TABLES)} with commas")
    parser.add_argument("--tier", default="mini", choices=TIERS)
    parser.add_argument("--seeds", default="3", help="how many, or which with commas between them")
    parser.add_argument("--jobs", type=int, help="processes at once; by default one for each core")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each")
    parser.add_argument("--launcher", default="basic", choices=LAUNCHERS, help="basic: processes of this one")
    parser.add_argument("--dry", action="store_true", help="the plan alone, and the data that it needs")
    parser.add_argument("--gpu-tokens-per-s", type=float, help="for the hours that tier paper takes")
    parser.add_argument("overrides", nargs="*", help="for every run, such as data.root=…")
    given = parser.parse_args(arguments)
    check_number("JOBS", given.jobs, PositiveIntOrNone)
    check_number("THREADS", given.threads, Threads)
    return given


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _needs(plan: Sequence[Planned], tables: Sequence[str], options: argparse.Namespace) -> list[str]:
    """A paragraph on the data of each table and, at the paper's scale, one on the hours."""
    paragraphs = []
    for table in tables:
        paragraphs.append(describe_data(options.tier, table))
        if options.tier == "paper":
            mine = [planned for planned in plan if planned.job.table == table]
            records = read_records(Path(mine[0].job.config["results_dir"]) / "runs")
            paragraphs.append(describe_hours(mine, table, records, options.gpu_tokens_per_s))
    return paragraphs


def _main() -> None:
    if "MAKELEVEL" in os.environ:
        end_with_parent(os.getppid())
    if status := reproduce(sys.argv[1:]):
        sys.exit(status)


if __name__ == "__main__":
    cli.main(_main)
