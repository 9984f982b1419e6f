"""The paper's tables with ours beside them, what attention looked like in training, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from scripts.markdown import counted
from scripts.paper.claims import ClaimResults, claims_of_tier, machine
from scripts.paper.metrics import (
    corpus_label,
    ids,
    metrics_in,
    our_cell,
    over_seeds,
    reported_cell,
    seeds_cell,
)
from scripts.paper.reported import LEGEND, Paper, ReportedTable
from scripts.paper.selection import MAPPINGS, Rows, Runs, by_recipe, first_run, rows_of, sizes_of
from scripts.paper.significance import ItemScores
from scripts.paper.table import UNKNOWN, Cell, Row, Table
from scripts.runs.config import TIERS
from tasks._registry import TASKS
from tasks.training.records import Record

_BASELINE = "softmax"


@dataclass(frozen=True)
class TierResults:
    """Everything of one tier with runs."""

    tier: str
    scores: Sequence[Table]
    claims: ClaimResults
    interpretability: Table
    cost: Table

    @property
    def tables(self) -> list[Table]:
        return [*self.scores, self.claims.table, self.interpretability, self.cost]


def results_of_tiers(records: Runs, details: Path, paper: Paper) -> list[TierResults]:
    """The results of every tier with runs of the paper's cells, from mini to paper.

    Args:
        records: of all runs; those that are no cell's are left out.
        details: the folder of their details.
        paper: what the paper says.

    Raises:
        RecordError: the runs of a table are of several corpora, or their details are missing or damaged.
    """
    items, found = ItemScores(details), []
    for tier in TIERS:
        every = {task: rows_of(records, task, tier) for task in paper.tables}
        tables = {task: rows for task, rows in every.items() if rows}
        if tables:
            scores = [score_table(task, paper.tables[task], tier, rows) for task, rows in tables.items()]
            claims = claims_of_tier(paper, tier, tables, items)
            attention = interpretability_table(tier, tables, records)
            found.append(TierResults(tier, scores, claims, attention, cost_table(tier, tables)))
    return found


# ------------------------------------------------------------------ the paper's tables
def score_table(task: str, reported: ReportedTable, tier: str, rows: Rows) -> Table:
    """A table of the paper with ours beside it: mappings × scores, those of the best in bold."""
    metrics = metrics_in(reported, first_run(rows))
    others = [mapping for mapping in rows if mapping not in MAPPINGS]
    mappings = [*MAPPINGS, *others]
    columns = [
        [reported_cell(reported.rows[mapping][column.key]) for mapping in MAPPINGS]
        + [Cell(UNKNOWN, note="not a mapping of the paper's")] * len(others)
        for column in reported.columns
    ]
    columns += [[our_cell(rows.get(mapping, ()), one) for mapping in mappings] for one in metrics]
    heads = [f"paper: {column.label}" for column in reported.columns]
    heads += [f"ours: {one.label}" for one in metrics]
    seeds = [seeds_cell(rows.get(mapping, ())) for mapping in mappings]
    return Table(
        name=f"{task}-{tier}",
        title=f"{TASKS[task].title}, tier {tier}",
        intro=whose_data(reported, tier, rows),
        heads=("mapping", *heads, "seeds"),
        rows=tuple(zip(map(Cell, mappings), *map(_with_best, columns), seeds, strict=True)),
        notes=(
            f"{LEGEND} Ours: mean ± standard deviation over the seeds. In bold the largest of each column, "
            "which says nothing of significance: the table of claims does.",
        ),
    )


def whose_data(reported: ReportedTable, tier: str, rows: Rows) -> str:
    """A paragraph that says what ours is measured on, and that it is not the paper's where it is not."""
    run = first_run(rows)
    sha256 = run.corpus["sha256"][:16]
    ours = f"Ours: {run.corpus['name']}, {sizes_of(run)} (SHA-256 {sha256}…), tier {tier}."
    other = (
        "" if tier == "paper" else " Ours is trained on other data at another scale: the two do not compare."
    )
    return f"{ours} The paper's: {reported.corpus}.{other}"


def _with_best(column: Sequence[Cell]) -> list[Cell]:
    known = [cell.value for cell in column if cell.value is not None]
    return [replace(cell, best=len(known) > 1 and cell.value == max(known)) for cell in column]


# ------------------------------------------------------------------ what attention looked like
@dataclass(frozen=True)
class _Property:
    """A statistic of attention: its metric, what stands above it, digits shown, and what it is times."""

    metric: str
    head: str
    digits: int = 2
    scale: float = 1.0


_PROPERTIES = (
    _Property("zero_share", "exact zeros, %", 1, 100),
    _Property("support_runs", "support runs"),
    _Property("segments", "segments"),
    _Property("segment_length", "segment length"),
    _Property("groups", "groups"),
    _Property("group_size", "group size"),
    _Property("entropy", "entropy, nats"),
    _Property("evidence_mass", "weight on the evidence, %", 1, 100),
    _Property("aer", "AER, %", 1, 100),
)
_AGREEMENT = ("evidence_mass", "aer")


def interpretability_table(tier: str, tables: Mapping[str, Rows], records: Runs) -> Table:
    """Statistics of attention at a tier: of the cells' runs, and of all others on texts with known links.

    Args:
        tier: of the runs.
        tables: task → the runs of its table's cells at that tier.
        records: of all runs.
    """
    cells = {run.id for rows in tables.values() for runs in rows.values() for run in runs}
    linked = [run for run in records if run.tier == tier and run.id not in cells and _splits_that_agree(run)]
    found = [*tables.values(), *by_recipe(linked)]
    firsts = [first_run(rows) for rows in found]
    sizes = [f"{corpus_label(run)} ({run.corpus['sizes']['train']:,} training pairs)" for run in firsts]
    return Table(
        name=f"interpretability-{tier}",
        title=f"What attention looks like, tier {tier}",
        intro="For every mapping on the first test set of its corpus, and on those where it is known what "
        f"attention should find. Tier {tier}: {', '.join(sizes)}.",
        heads=("corpus, split", "mapping", "seeds", *(one.head for one in _PROPERTIES)),
        rows=tuple(row for rows in found for row in _attention_rows(rows)),
        notes=(
            "Means over the rows of attention weights, one for each premise or output word; mean ± standard "
            "deviation over seeds. Support runs: stretches of neighbours with weights above 0. Groups: "
            "positions that the mapping fused to one weight, neighbours or not; segments: stretches of "
            "neighbours in them.",
            "Evidence: the words that decide, known of the synthetic entailment corpus. AER: alignment error "
            "rate of the heaviest weight against known links, of the synthetic corpora by construction, of "
            "Hansards by hand (Och & Ney, 2003); less is better.",
        ),
    )


def _attention_rows(rows: Rows) -> Iterator[Row]:
    first = first_run(rows)
    for split in _splits_that_agree(first) or first.test_splits[:1]:
        place = Cell(f"{corpus_label(first)}, {split}")
        for mapping, runs in rows.items():
            cells = (_property_cell(runs, split, one) for one in _PROPERTIES)
            yield place, Cell(mapping), seeds_cell(runs), *cells


def _property_cell(runs: Runs, split: str, one: _Property) -> Cell:
    values = [run.metrics.get(split, {}).get(one.metric) for run in runs]
    return over_seeds(runs, [None if v is None else one.scale * v for v in values], one.digits)


def _splits_that_agree(record: Record) -> list[str]:
    """Test sets of which is known what attention should find."""
    return [split for split in record.test_splits if not record.metrics[split].keys().isdisjoint(_AGREEMENT)]


# ------------------------------------------------------------------ what it cost
def cost_table(tier: str, tables: Mapping[str, Rows]) -> Table:
    """Time of an epoch and in the mapping, of every task with runs at a tier.

    Args:
        tier: of the runs.
        tables: task → the runs of its table's cells at that tier.
    """
    return Table(
        name=f"cost-{tier}",
        title=f"Cost of training, tier {tier}",
        intro="Seconds of an epoch, training alone, of the fastest run: what else a shared machine does only "
        "ever adds to them. The runs of a corpus are compared on one device with as many threads.",
        heads=(
            "corpus", "device", "mapping", "s / epoch, fastest", "to softmax", "s / epoch, slowest",
            "time in the mapping, %", "tokens / s, fastest", "runs",
        ),
        rows=tuple(row for rows in tables.values() for row in _cost_rows(rows)),
        notes=(
            "Runs may have shared their machine with others: differences smaller than those between fastest "
            "and slowest say nothing. Time in the mapping: its share of a training step, measured apart.",
        ),
    )  # fmt: skip


def _cost_rows(rows: Rows) -> Iterator[Row]:
    machines = sorted({machine(run) for runs in rows.values() for run in runs})
    for on, mapping in product(machines, rows):
        mine, baseline = (
            [run for run in rows.get(name, ()) if machine(run) == on] for name in (mapping, _BASELINE)
        )
        if mine:
            yield _cost_row(mine, baseline)


def _cost_row(mine: Runs, baseline: Runs) -> Row:
    run, runs = mine[0], ids(mine)
    seconds = [one.seconds["per_epoch"] for one in mine]
    tokens = max(one.tokens_per_second for one in mine)
    return (
        Cell(corpus_label(run)),
        Cell(f"{run.device}, {counted(run.threads, 'thread')}"),
        Cell(run.mapping),
        Cell(f"{min(seconds):.1f}", min(seconds), runs),
        _ratio_cell(mine, baseline),
        Cell(f"{max(seconds):.1f}", max(seconds), runs),
        over_seeds(mine, [100 * one.seconds["mapping_share"] for one in mine], digits=1),
        Cell(f"{tokens:,.0f}", tokens, runs),
        Cell(str(len(mine)), float(len(mine)), runs),
    )


def _ratio_cell(mine: Runs, baseline: Runs) -> Cell:
    if not baseline:
        return Cell(UNKNOWN)
    fastest = [min(record.seconds["per_epoch"] for record in runs) for runs in (mine, baseline)]
    ratio = fastest[0] / fastest[1]
    return Cell(f"{ratio:.2f}", ratio, ids(mine, baseline))
