"""Plan the runs behind the paper's tables and run those that are missing: `make reproduce TABLE=… TIER=…`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from regattn import MAPPINGS
from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import TIERS, compose_config, missing_keys, plain, split_overrides
from scripts.runs.runner import LAUNCHERS, Job, die_with_make, launch
from scripts.runs.training import make_command
from scripts.style import check_drawing
from tasks._registry import TASKS
from tasks.checks import PositiveIntOrNone, Range, check_number, counted
from tasks.training.callbacks import format_duration
from tasks.training.provenance import available_cores, config_hash
from tasks.training.records import Record, read_records
from tasks.training.settings import Threads

FAILED = 1
OVERHEAD = 15.0
"""Seconds of a run besides its training, a guess: corpus, first compilation, test sets, picture."""

_SeedCount = Annotated[int, Range(least=1, most=100)]


@dataclass(frozen=True)
class Run:
    """One run that a table is made of."""

    task: str  # whose table it is
    tier: str
    mapping: str
    seed: int
    arguments: tuple[str, ...]  # overrides besides, those that this task has a key for
    config: dict[str, Any]  # plain; not resolved where it lacks values
    lacks: tuple[str, ...] = ()  # keys that must be given and are not

    @property
    def experiment(self) -> str:
        """Its recipe, a file of configs/experiment."""
        return f"{self.tier}/{self.task}"

    @property
    def cell(self) -> str:
        """All that it shares with the runs of other seeds."""
        return f"{self.experiment} {self.mapping}"

    @property
    def job(self) -> Job:
        """What trains it."""
        name = f"{self.tier}-{self.task}-{self.mapping}-s{self.seed}"
        chosen = (f"experiment={self.experiment}", f"attention={self.mapping}", f"seed={self.seed}")
        return Job(name, (*chosen, *self.arguments))

    @property
    def command(self) -> str:
        """What a person types to train it."""
        return make_command(self.job.overrides)

    @cached_property
    def hash(self) -> str:
        """What the config of its record hashes to."""
        assert not self.lacks
        return config_hash(self.config)


@dataclass(frozen=True)
class Planned:
    """A run with what the records say of it."""

    run: Run
    record: Record | None  # where it is done
    seconds: float | None  # that it may take, by earlier runs like it

    @property
    def is_ready(self) -> bool:
        """Whether it can and should be run."""
        return self.record is None and not self.run.lacks


PAPER = tuple(name for name, spec in MAPPINGS.items() if spec.in_paper)


def list_runs(
    tasks: Sequence[str],
    tier: str,
    seeds: Sequence[int],
    arguments: Sequence[str],
    mappings: Sequence[str] = PAPER,
) -> list[Run]:
    """The runs of every cell of some tasks' tables at one tier, tasks and mappings in the paper's order.

    ``arguments`` are overrides of them all; one of ``data`` or ``task`` goes to the tasks that have its key.
    """
    fitting = {task: _fitting(f"{tier}/{task}", arguments) for task in tasks}
    used = {argument for chosen in fitting.values() for argument in chosen}
    # One that fits nowhere is refused where it is composed.
    astray = [argument for argument in arguments if argument not in used]
    return [
        run
        for task in tasks
        for mapping in mappings
        for run in _runs_of_cell(task, tier, mapping, seeds, (*fitting[task], *astray))
    ]


def _runs_of_cell(
    task: str, tier: str, mapping: str, seeds: Sequence[int], arguments: tuple[str, ...]
) -> Iterator[Run]:
    config = compose_config([f"experiment={tier}/{task}", f"attention={mapping}", *arguments])
    lacks = tuple(missing_keys(config))
    for seed in seeds:
        config.seed = seed
        values: Any = OmegaConf.to_container(config, resolve=False) if lacks else plain(config)
        yield Run(task, tier, mapping, seed, arguments, values, lacks)


def _fitting(experiment: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """Those arguments that are not of another task's data or options."""
    doubtful = [word for word in arguments if word.startswith(("data.", "task."))]
    if not doubtful:
        return tuple(arguments)
    # A group that is chosen, such as data=…, decides which keys there are.
    config = compose_config([f"experiment={experiment}", *(w for w in arguments if w not in doubtful)])
    return tuple(word for word in arguments if word not in doubtful or _has_key(config, word))


def _has_key(config: DictConfig, override: str) -> bool:
    section, _, key = override.partition("=")[0].rpartition(".")
    node = OmegaConf.select(config, section, throw_on_missing=False)
    return isinstance(node, DictConfig) and key in {str(name) for name in node}


def parse_seeds(text: str) -> list[int]:
    """Seeds from how many (``5``: 1 to 5), or from which, with commas between them.

    Example:
        >>> parse_seeds("3"), parse_seeds("4,7"), parse_seeds("4,")
        ([1, 2, 3], [4, 7], [4])
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UsageError(f"SEEDS must be how many (5) or which (4,5,6), got {text!r}")
    if "," in text:
        return sorted({int(word) for word in words})
    check_number("SEEDS", count := int(words[0]), _SeedCount)
    return list(range(1, count + 1))


def parse_names(
    variable: str, text: str, known: Iterable[str], word: str, means: Collection[str]
) -> list[str]:
    """Names with commas between them, in the order of those known; ``word`` among them means several.

    Example:
        >>> parse_names("TABLE", "translation,snli", TASKS, "all", TASKS)
        ['snli', 'translation']
        >>> parse_names("MAPPINGS", "paper,entmax15", MAPPINGS, "paper", ["softmax", "sparsemax"])
        ['softmax', 'sparsemax', 'entmax15']
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name != word and name not in known:
            raise UsageError(f"{variable} must be {word} or of {', '.join(known)}, got {name!r}")
    return [name for name in known if name in names or (word in names and name in means)]


def make_plan(runs: Sequence[Run]) -> list[Planned]:
    """Look every run up in the records of the directory that its own would be written to."""
    directories = {run.config["results_dir"] for run in runs}
    records = {directory: read_records(Path(directory) / "runs") for directory in directories}
    every = [record for found in records.values() for record in found]
    done = {name: {config_hash(record.config): record for record in found} for name, found in records.items()}
    plan = []
    for run in runs:
        record = None if run.lacks else done[run.config["results_dir"]].get(run.hash)
        plan.append(Planned(run, record, _estimate(run, every)))
    return plan


def _estimate(run: Run, records: Sequence[Record]) -> float | None:
    """By seconds an epoch, dev sets included, of earlier runs of the cell, or else of its table."""
    of_table = [record for record in records if (record.task, record.tier) == (run.task, run.tier)]
    alike = [record for record in of_table if record.mapping == run.mapping] or of_table
    if not alike:
        return None
    epoch = median(record.seconds["total"] / record.epochs for record in alike)
    return epoch * float(run.config["trainer"]["epochs"]) + OVERHEAD


def longest_first(plan: Iterable[Planned]) -> list[Planned]:
    """What is to be run, in an order that leaves no process alone with a long run at the end."""
    ready = [planned for planned in plan if planned.is_ready]
    unknown = max((planned.seconds or 0.0 for planned in ready), default=0.0) + 1
    return sorted(ready, key=lambda planned: -(planned.seconds or unknown))


def render(plan: Sequence[Planned], at_once: int) -> str:
    """The plan as lines of text: one for each cell, then the sum."""
    cells = [list(cell) for _, cell in groupby(plan, lambda planned: planned.run.cell)]
    rows = [("cell", "done", "missing", "a run", ""), *(_row(cell) for cell in cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), "", _sum(plan, at_once)])


def _row(cell: Sequence[Planned]) -> tuple[str, ...]:
    first = cell[0]
    done = " ".join(str(planned.run.seed) for planned in cell if planned.record)
    missing = " ".join(str(planned.run.seed) for planned in cell if not planned.record)
    seconds = "unknown" if first.seconds is None else format_duration(first.seconds)
    needs = f"needs {', '.join(f'{key}=…' for key in first.run.lacks)}" if first.run.lacks else ""
    return first.run.cell, done or "–", missing or "–", seconds, needs


def _sum(plan: Sequence[Planned], at_once: int) -> str:
    done = sum(planned.record is not None for planned in plan)
    lacking = sum(bool(planned.run.lacks) for planned in plan)
    ready = longest_first(plan)
    known = [planned.seconds for planned in ready if planned.seconds is not None]
    parts = [f"{done} of {counted(len(plan), 'run')} done, {len(ready)} to run, {at_once} at once"]
    if known:
        parts.append(f"about {format_duration(max(known[0], sum(known) / at_once))}")
    if len(known) < len(ready):
        parts.append(f"{len(ready) - len(known)} of them of unknown length, for want of earlier runs")
    if lacking:
        parts.append(f"{lacking} lack values that must be given in ARGS")
    return "; ".join(parts)


def headline(record: Record) -> str:
    """The figure that a run is looked at for, of its first test set."""
    metric, split = TASKS[record.task].primary_metric, record.test_splits[0]
    label = metric.label.removesuffix(", greedy")  # as on dev
    return f"{split} {label} {record.metrics[split][metric.name] * metric.scale:.2f}"


def describe_data(tier: str, task: str) -> str:
    """What the table of a task needs at a tier, as a paragraph."""
    sources = TASKS[task].sources.get(tier, ())
    lines = [f"data for {task}, tier {tier}:"]
    if not sources:
        return f"{lines[0]} none, its corpus is generated"
    for source in sources:
        facts = {"holds": source.size, "as": source.files, "from": source.where, "terms": source.terms}
        lines += [f"  {source.name}", *(f"    {name:<7}{fact}" for name, fact in facts.items() if fact)]
    return "\n".join(lines)


# ------------------------------------------------------------------ run
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
        print("", *(describe_data(options.tier, task) for task in tasks), sep="\n\n")
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
