"""What attention looked like, and how far it agrees with what people know: for every mapping and corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scripts.cells import Cell, Table
from scripts.columns import UNKNOWN
from scripts.comparing.measured import corpus_label, seeds_cell, spread_cell
from scripts.comparing.selection import Row, Runs, by_recipe
from scripts.comparing.significance import spread
from tasks.training.records import Record


@dataclass(frozen=True)
class Property:
    """A statistic of attention: its metric, what stands above it, digits shown, and what it is times."""

    metric: str
    head: str
    digits: int = 2
    scale: float = 1.0


PROPERTIES = (
    Property("zero_share", "exact zeros, %", 1, 100),
    Property("support_runs", "support runs"),
    Property("segments", "segments"),
    Property("segment_length", "segment length"),
    Property("groups", "groups"),
    Property("group_size", "group size"),
    Property("entropy", "entropy, nats"),
    Property("evidence_mass", "weight on the evidence, %", 1, 100),
    Property("aer", "AER, %", 1, 100),
)
_AGREEMENT = ("evidence_mass", "aer")
_NOTES = (
    "Means over the rows of attention weights, one for each premise or output word; mean ± standard "
    "deviation over seeds. Support runs: stretches of neighbours with weights above 0. Groups: positions "
    "that the mapping fused to one weight, neighbours or not; segments: stretches of neighbours in them.",
    "Evidence: the words that decide, known of the embedded entailment corpus. AER: alignment error rate of "
    "the heaviest weight against known links, of the embedded corpora by construction, of Hansards by hand "
    "(Och & Ney, 2003); less is better.",
)


def interpretability_table(tier: str, rows: Mapping[str, Row], records: Runs) -> Table:
    """Statistics of attention at a tier: of the cells' runs, and of all others on texts with known links.

    Args:
        tier: of the runs.
        rows: table of the paper → the runs of its cells at that tier.
        records: of all runs.
    """
    cells = {record.id for row in rows.values() for runs in row.values() for record in runs}
    linked = [r for r in records if r.tier == tier and r.id not in cells and _splits_that_agree(r)]
    found = [*rows.values(), *by_recipe(linked)]
    return Table(
        name=f"interpretability-{tier}",
        title=f"What attention looks like, tier {tier}",
        intro="For every mapping on the first test set of its corpus, and on those where it is known what "
        f"attention should find. Tier {tier}: {_corpora(found)}.",
        heads=("corpus, split", "mapping", "seeds", *(one.head for one in PROPERTIES)),
        rows=tuple(line for row in found for line in _lines(row)),
        notes=_NOTES,
    )


def _lines(row: Row) -> Iterator[tuple[Cell, ...]]:
    first = next(iter(row.values()))[0]
    for split in _splits_that_agree(first) or first.test_splits[:1]:
        for mapping, runs in row.items():
            place = Cell(f"{corpus_label(first)}, {split}")
            yield (place, Cell(mapping), seeds_cell(runs), *(_cell(runs, split, one) for one in PROPERTIES))


def _cell(runs: Runs, split: str, one: Property) -> Cell:
    values = [record.metrics.get(split, {}).get(one.metric) for record in runs]
    known = [one.scale * value for value in values if value is not None]
    if len(known) < len(values):
        return Cell(UNKNOWN)
    return spread_cell(spread(known), runs, one.digits)


def _splits_that_agree(record: Record) -> list[str]:
    """Test sets of which is known what attention should find."""
    return [
        split for split in record.test_splits if any(name in record.metrics[split] for name in _AGREEMENT)
    ]


def _corpora(rows: list[Row]) -> str:
    found = [next(iter(row.values()))[0] for row in rows]
    return ", ".join(
        f"{corpus_label(one)} ({one.corpus['sizes']['train']:,} training pairs)" for one in found
    )
