"""The runs behind the paper's tables: which are done, what the others need, and how long they may take."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from regattn import MAPPINGS
from scripts.cli import UsageError
from scripts.runs.config import TIERS, compose_config, missing_keys, plain
from scripts.runs.runner import Job
from scripts.runs.training import make_command
from tasks._registry import TASKS
from tasks.ranges import Range, check_number
from tasks.training.callbacks import format_duration
from tasks.training.provenance import SEEDS, config_hash
from tasks.training.records import Record, read_records

OVERHEAD = 15.0
"""Seconds of a run besides its training, a guess: corpus, first compilation, test sets, picture."""

_SeedCount = Annotated[int, Range(least=1, most=100)]


@dataclass(frozen=True)
class Run:
    """One run that a table is made of.

    Args:
        task: whose table it is.
        tier: its scale.
        mapping: of its attention.
        seed: of the run.
        arguments: overrides besides, those that this task has a key for.
        config: plain; not resolved where it ``lacks`` values.
        lacks: keys that must be given and are not.
    """

    task: str
    tier: str
    mapping: str
    seed: int
    arguments: tuple[str, ...]
    config: dict[str, Any]
    lacks: tuple[str, ...] = ()

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
    """A run with what the records say of it.

    Args:
        run: which.
        record: of it, where it is done.
        seconds: that it may take, from earlier runs like it; None where there are none.
    """

    run: Run
    record: Record | None
    seconds: float | None

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

    Args:
        tasks: by name.
        tier: of :data:`scripts.runs.config.TIERS`.
        seeds: one run of each cell for each.
        arguments: overrides of them all. One of ``data`` or ``task`` goes to the tasks that have its key.
        mappings: by name; the paper's five if not given.

    Raises:
        UsageError: an override that no task has a key for, or that is wrong.
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

    Raises:
        ValueError: neither, or too many.

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

    Raises:
        UsageError: another name.

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
    """Look every run up in the records of the directory that its own would be written to.

    Raises:
        RecordError: a file there is not a record.
    """
    directories = {run.config["results_dir"] for run in runs}
    records = {directory: read_records(Path(directory) / "runs") for directory in directories}
    earlier = _by_similarity(record for found in records.values() for record in found)
    done = {name: {config_hash(record.config): record for record in found} for name, found in records.items()}
    plan = []
    for run in runs:
        record = None if run.lacks else done[run.config["results_dir"]].get(run.hash)
        plan.append(Planned(run, record, _estimate(run.config, earlier)))
    return plan


def _kind(config: dict[str, Any]) -> Hashable:
    return config["task_name"], config["tier"]


def _kind_and_mapping(config: dict[str, Any]) -> Hashable:
    return _kind(config), config["attention"]["_target_"]


# What makes runs take alike, most alike first; unlike that of a cell, it is a question of pace, too.
_SIMILARITIES: tuple[Callable[[dict[str, Any]], Hashable], ...] = (
    partial(config_hash, without=SEEDS),
    partial(config_hash, without=(*SEEDS, "attention")),
    _kind_and_mapping,
    _kind,
)
_Earlier = dict[tuple[int, Hashable], list[float]]


def _by_similarity(records: Iterable[Record]) -> _Earlier:
    """Seconds an epoch of training, dev sets included, for each similarity."""
    found: _Earlier = {}
    for record in records:
        for rank, similarity in enumerate(_SIMILARITIES):
            seconds = record.seconds["total"] / record.epochs
            found.setdefault((rank, similarity(record.config)), []).append(seconds)
    return found


def _estimate(config: dict[str, Any], earlier: _Earlier) -> float | None:
    for rank, similarity in enumerate(_SIMILARITIES):
        if seconds := earlier.get((rank, similarity(config))):
            return median(seconds) * config["trainer"]["epochs"] + OVERHEAD
    return None


def longest_first(plan: Iterable[Planned]) -> list[Planned]:
    """What is to be run, in an order that leaves no process alone with a long run at the end."""
    ready = [planned for planned in plan if planned.is_ready]
    unknown = max((planned.seconds or 0.0 for planned in ready), default=0.0) + 1
    return sorted(ready, key=lambda planned: -(planned.seconds or unknown))


def wall_seconds(seconds: Sequence[float], at_once: int) -> float:
    """How long runs take that are started in this order, so many at once.

    Example:
        >>> wall_seconds([30, 20, 20, 10], at_once=2)
        40.0
    """
    free = [0.0] * at_once
    for run in seconds:
        heapq.heapreplace(free, free[0] + run)
    return max(free)


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
    parts = [f"{done} of {len(plan)} runs done, {len(ready)} to run, {at_once} at once"]
    if known:
        parts.append(f"about {format_duration(wall_seconds(known, at_once))}")
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


# ------------------------------------------------------------------ what a table needs before it can be made
def describe_needs(plan: Sequence[Planned], tier: str, gpu_tokens_per_second: float | None) -> str:
    """A paragraph on the data of each table of a plan and, at the paper's scale, one on the hours."""
    paragraphs = []
    for task, cells in groupby(plan, lambda planned: planned.run.task):
        paragraphs.append(describe_data(tier, task))
        if tier == "paper":
            mine = list(cells)
            records = read_records(Path(mine[0].run.config["results_dir"]) / "runs")
            paragraphs.append(describe_hours(mine, task, records, gpu_tokens_per_second))
    return "\n\n".join(paragraphs)


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


def describe_hours(
    plan: Sequence[Planned], task: str, records: Sequence[Record], gpu_tokens_per_second: float | None
) -> str:
    """What the missing runs of a table cost at the paper's scale, as a paragraph.

    Args:
        plan: of that table, tier paper.
        task: whose table it is.
        records: of finished runs, any tier.
        gpu_tokens_per_second: given for the arithmetic; None to go by records.
    """
    epoch = TASKS[task].paper_epoch
    if epoch is None:
        return f"hours for {task}: unknown, as are its corpora"
    missing = sum(planned.record is None for planned in plan)
    epochs = plan[0].run.config["trainer"]["epochs"]
    tokens = epoch.total * epochs
    lines = [
        f"hours for {task}: {missing} missing runs of at most {tokens / 1e6:,.0f} million tokens",
        f"  estimated: {epoch.pairs:,} pairs × {epoch.tokens} tokens × {epochs} epochs, without dev and test",
        _device("GPU", tokens, missing, gpu_tokens_per_second, _measured(records, task, "cuda")),
        _device("CPU", tokens, missing, None, _measured(records, task, "cpu")),
    ]
    return "\n".join(lines)


def _measured(records: Iterable[Record], task: str, device: str) -> list[Record]:
    """Runs of a task on a device, of the tier nearest to the paper's that has any."""
    found = [r for r in records if r.task == task and r.device.startswith(device)]
    for tier in reversed(TIERS):
        if of_tier := [record for record in found if record.tier == tier]:
            return of_tier
    return []


def _device(kind: str, tokens: int, runs: int, given: float | None, measured: Sequence[Record]) -> str:
    if given is None and not measured:
        hint = "; GPU_TOKENS_PER_S=… gives the arithmetic" if kind == "GPU" else ""
        return f"  {kind} hours unknown: no run on a {kind} is recorded{hint}"
    rate = given or median(record.tokens_per_second for record in measured)
    hours = tokens / rate / 3600
    whence = "as given" if given else _whence(measured)
    return f"  {kind} hours {hours:,.1f} a run, {hours * runs:,.0f} in all, at {rate:,.0f} tokens/s, {whence}"


def _whence(measured: Sequence[Record]) -> str:
    first = measured[0]
    threads = "–".join(str(count) for count in sorted({record.threads for record in measured}))
    on = "" if first.device.startswith("cuda") else f" on {threads} CPU thread{'s' * (threads != '1')}"
    smaller = "" if first.tier == "paper" else "; its model is smaller than the paper's, which takes longer"
    return f"the median of {len(measured)} runs of tier {first.tier}{on}{smaller}"
