"""How long the paper's own scale takes, by arithmetic from measured tokens a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from scripts.recipes import TIERS
from scripts.reproducing.jobs import TABLES
from scripts.reproducing.plan import Planned
from tasks.training.records import Record


@dataclass(frozen=True)
class Epoch:
    """An estimate of what one pass over the paper's training set holds.

    Args:
        pairs: of the set.
        tokens: of a pair, those that tokens a second counts: of both sentences for entailment, of the
            output for an encoder–decoder.
    """

    pairs: int
    tokens: int

    @property
    def total(self) -> int:
        return self.pairs * self.tokens


EPOCHS = {"snli": Epoch(550_152, 22), "summarization": Epoch(3_803_957, 9)}
"""By table; the corpora of translation are not known."""


def describe_hours(
    plan: Sequence[Planned], table: str, records: Sequence[Record], gpu_tokens_per_second: float | None
) -> str:
    """What the missing runs of a table cost at the paper's scale, as a paragraph.

    Args:
        plan: of that table, tier paper.
        table: one of ``TABLES``.
        records: of finished runs, any tier.
        gpu_tokens_per_second: given for the arithmetic; None to go by records.
    """
    if table not in EPOCHS:
        return f"hours for {table}: unknown, as are its corpora"
    missing = sum(planned.record is None for planned in plan)
    epoch, epochs = EPOCHS[table], plan[0].job.config["trainer"]["epochs"]
    tokens = epoch.total * epochs
    lines = [
        f"hours for {table}: {missing} missing runs of at most {tokens / 1e6:,.0f} million tokens",
        f"  estimated: {epoch.pairs:,} pairs × {epoch.tokens} tokens × {epochs} epochs, without dev and test",
        _device("GPU", tokens, missing, gpu_tokens_per_second, _measured(records, table, "cuda")),
        _device("CPU", tokens, missing, None, _measured(records, table, "cpu")),
    ]
    return "\n".join(lines)


def _measured(records: Iterable[Record], table: str, device: str) -> list[Record]:
    """Runs of the table's task on a device, of the tier nearest to the paper's that has any."""
    found = [r for r in records if r.task == TABLES[table] and r.device.startswith(device)]
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
