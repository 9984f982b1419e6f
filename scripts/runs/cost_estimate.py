"""What a table needs before it can be made: its data, and at the paper's scale the hours, by arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

from scripts.runs.config import TIERS
from scripts.runs.plan import Planned
from tasks._registry import TASKS
from tasks.training.records import Record, read_records


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
