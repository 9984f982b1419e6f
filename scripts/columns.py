"""What a table of results may have in a column: each is a text made of the runs of one mapping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from tasks.training.records import Record

UNKNOWN = "–"

MAPPINGS = ("softmax", "sparsemax", "fusedmax", "oscarmax", "pnormmax")
"""The paper's mappings in its order."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: what stands above it.
        text: what it says of the runs of one mapping, which differ in their seeds; None where they do not
            know it.
    """

    head: str
    text: Callable[[Sequence[Record]], str | None]


def metric(head: str, split: str, name: str, digits: int, scale: float = 1) -> Column:
    """A metric of a split, times ``scale``."""

    def text(records: Sequence[Record]) -> str | None:
        values = [record.metrics.get(split, {}).get(name) for record in records]
        known = [scale * value for value in values if value is not None]
        return spread(known, digits) if len(known) == len(records) else None

    return Column(head, text)


def percent(head: str, split: str, name: str, digits: int = 1) -> Column:
    """A share, in %."""
    return metric(head, split, name, digits, scale=100)


def mapping_rank(mapping: str) -> tuple[int, str]:
    """What mappings are sorted by: the paper's come first.

    Example:
        >>> sorted(["fusedmax", "oscarmax_published", "softmax"], key=mapping_rank)
        ['softmax', 'fusedmax', 'oscarmax_published']
    """
    return MAPPINGS.index(mapping) if mapping in MAPPINGS else len(MAPPINGS), mapping


def mapping_label(record: Record) -> str:
    """The mapping with its strengths.

    Example:
        >>> from types import SimpleNamespace
        >>> mapping_label(SimpleNamespace(mapping="fusedmax", mapping_params={"gamma": 1.0, "lam": 0.1}))
        'fusedmax (gamma 1, lam 0.1)'
    """
    strengths = ", ".join(f"{name} {value:g}" for name, value in record.mapping_params.items())
    return f"{record.mapping} ({strengths})"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and the standard deviation over seeds where there are several.

    Example:
        >>> spread([50.0], 2), spread([50.0, 60.0], 1)
        ('50.00', '55.0 ± 7.1')
    """
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


MAPPING = Column("mapping", lambda records: mapping_label(records[0]))
SEEDS = Column("seeds", lambda records: _listed([r.seed for r in records]))
BEST_EPOCH = Column("best epoch", lambda records: _listed([r.best_epoch for r in records]))
EPOCHS = Column("epochs", lambda records: _listed([r.epochs for r in records]))
# Of time the least disturbed run: a shared machine only ever adds to it.
EPOCH_SECONDS = Column(
    "s / epoch, fastest", lambda records: f"{min(r.seconds['per_epoch'] for r in records):.1f}"
)
TOKENS = Column("tokens / s, fastest", lambda records: f"{max(r.tokens_per_second for r in records):,.0f}")
MAPPING_SHARE = Column(
    "time in the mapping", lambda records: spread([100 * r.seconds["mapping_share"] for r in records], 1)
)
