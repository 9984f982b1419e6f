"""The paper's claims, tested on our runs: each with the paper's figures, ours, and what they say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from statistics import mean

from scripts.cells import Cell, Table
from scripts.columns import UNKNOWN
from scripts.comparing.costs import epoch_ratios
from scripts.comparing.measured import Measured, corpus_label, ids, measured_in, our_cell, quoted_cell, score
from scripts.comparing.paper import BEST, LEGEND, MARKS, Claim, Paper
from scripts.comparing.selection import Row, Runs
from scripts.comparing.significance import LEVEL, ItemScores, holm
from scripts.comparing.verdicts import on_scores, on_time
from tasks.bootstrap import Comparison, Rows, compare, differences_over_seeds, margin_p_value

_HEADS = (
    "claim", "compared", "on", "paper", "ours", "difference", "95 % interval", "p, corrected", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Two mappings that a claim compares, on a score that runs of both have."""

    claim: Claim
    a: str
    b: str
    one: Measured
    runs: tuple[Runs, Runs]


def claims_table(paper: Paper, tier: str, rows: Mapping[str, Row], items: ItemScores) -> Table:
    """Every claim at a tier.

    Args:
        paper: what the paper says.
        tier: of the runs.
        rows: table of the paper → the runs of its cells at that tier.
        items: item scores of the runs.

    Raises:
        RecordError: details are missing or damaged.
    """
    found = [trial for claim in paper.claims for trial in trials(claim, paper, rows)]
    differences = [_differences(trial, items) for trial in found]
    tested = [number for number, drawn in enumerate(differences) if drawn is not None]
    corrected = holm([_p_value(found[n].claim, differences[n]) for n in tested])
    p_values = dict(zip(tested, corrected, strict=True))
    lines: dict[str, list[tuple[Cell, ...]]] = {claim.id: [] for claim in paper.claims}
    for number, (trial, drawn) in enumerate(zip(found, differences, strict=True)):
        lines[trial.claim.id].append(_score_line(trial, drawn, p_values.get(number), paper, tier))
    for claim in paper.claims:
        if claim.relation == "same_time":
            lines[claim.id] = list(_time_lines(claim, rows.get(claim.table, {}), tier))
        lines[claim.id] = lines[claim.id] or [_untested_line(claim)]
    return Table(
        name=f"claims-{tier}",
        title=f"The paper's claims, tier {tier}",
        intro=_intro(tier, rows),
        heads=_HEADS,
        rows=tuple(line for claim in paper.claims for line in lines[claim.id]),
        notes=_notes(len(tested), items.samples),
    )


def trials(claim: Claim, paper: Paper, rows: Mapping[str, Row]) -> Iterator[Trial]:
    """Every comparison of a claim on scores for which there are runs of both mappings."""
    row = rows.get(claim.table, {})
    if claim.relation not in ("greater", "within") or not row:
        return
    for one in measured_in(paper.tables[claim.table], next(iter(row.values()))[0]):
        if claim.columns and one.column.key not in claim.columns:
            continue
        best = max(row, key=lambda mapping: mean(score(record, one) for record in row[mapping]))
        for a, b in product(claim.a, claim.b):
            b = best if b == BEST else b
            if a != b and a in row and b in row:
                yield Trial(claim, a, b, one, (row[a], row[b]))


def _differences(trial: Trial, items: ItemScores) -> Rows | None:
    """Differences of a from b, found and drawn; None where runs kept no item scores."""
    a, b = (items.by_seed(runs, trial.one.split, trial.one.metric) for runs in trial.runs)
    return None if a is None or b is None else differences_over_seeds(b, a, seed=items.seed)


def _p_value(claim: Claim, differences: Rows | None) -> float:
    assert differences is not None
    if claim.relation == "within":
        return margin_p_value(differences, claim.margin)
    return compare(differences).p_value


def _score_line(
    trial: Trial, differences: Rows | None, p: float | None, paper: Paper, tier: str
) -> tuple[Cell, ...]:
    claim, runs = trial.claim, ids(*trial.runs)
    seeds = min(len(of) for of in trial.runs)
    result = None if differences is None else compare(differences)
    verdict = on_scores(claim, result, p, seeds)
    a, b = (our_cell(of, trial.one) for of in trial.runs)
    sign = ">" if claim.relation == "greater" else f"within {claim.margin:g} of"
    return (
        _claim_cell(claim),
        Cell(f"{trial.a} {sign} {trial.b}"),
        Cell(trial.one.label),
        _paper_cell(trial, paper),
        Cell(f"{a.text} / {b.text}", a.value, runs, f"{a.note} / {b.note}"),
        *_interval_cells(result, p, runs),
        Cell(verdict + _where(tier, trial.runs[0]), runs=runs),
    )


def _interval_cells(result: Comparison | None, p: float | None, runs: tuple[str, ...]) -> tuple[Cell, ...]:
    if result is None or p is None:
        return (Cell(UNKNOWN),) * 3
    return (
        Cell(f"{result.difference:+.2f}", result.difference, runs),
        Cell(f"{result.low:+.2f} to {result.high:+.2f}", runs=runs),
        Cell(f"{p:.3f}", p, runs),
    )


def _paper_cell(trial: Trial, paper: Paper) -> Cell:
    rows, key = paper.tables[trial.claim.table].rows, trial.one.column.key
    a, b = (quoted_cell(rows[mapping][key]) for mapping in (trial.a, trial.b))
    return Cell(f"{a.text} / {b.text}", note=f"{a.note} / {b.note}")


def _time_lines(claim: Claim, row: Row, tier: str) -> Iterator[tuple[Cell, ...]]:
    """How long an epoch takes with each mapping of ``a`` beside one with ``b``, of runs on CPU."""
    on_cpu = {mapping: [r for r in runs if r.device == "cpu"] for mapping, runs in row.items()}
    for a, b in product(claim.a, claim.b):
        first, second = on_cpu.get(a, []), on_cpu.get(b, [])
        if ratios := epoch_ratios(first, second):
            yield _time_line(claim, (first, second), ratios, tier)


def _time_line(claim: Claim, runs: tuple[Runs, Runs], ratios: list[float], tier: str) -> tuple[Cell, ...]:
    names, behind = [of[0].mapping for of in runs], ids(*runs)
    shares = [mean(record.seconds["mapping_share"] for record in of) for of in runs]
    ratio, verdict = mean(ratios), on_time(claim, ratios, min(map(len, runs)))
    return (
        _claim_cell(claim),
        Cell(f"{names[0]} within {claim.margin:.0%} of {names[1]}"),
        Cell("time in the mapping, and of an epoch"),
        Cell(UNKNOWN, note="the paper gives no times"),
        Cell(f"{shares[0]:.1%} / {shares[1]:.1%}", shares[0], behind),
        Cell(f"× {ratio:.3f}", ratio, behind),
        Cell(f"× {min(ratios):.3f} to {max(ratios):.3f}", runs=behind, note="spread of runs, no interval"),
        Cell(UNKNOWN),
        Cell(verdict + _where(tier, runs[0]), runs=behind),
    )


def _untested_line(claim: Claim) -> tuple[Cell, ...]:
    """A claim for which there is nothing to test, or no runs."""
    why = f"not tested: {claim.how}" if claim.how else "no runs"
    return (_claim_cell(claim), *[Cell(UNKNOWN)] * (len(_HEADS) - 2), Cell(why))


def _claim_cell(claim: Claim) -> Cell:
    return Cell(f"{claim.text} {MARKS[claim.standing]}".strip(), note=f"the paper's, {claim.standing}")


def _where(tier: str, runs: Runs) -> str:
    corpus = runs[0].corpus["name"]
    return f"; on {corpus}" if tier == "paper" else f"; on {corpus}, not the paper's data"


def _intro(tier: str, rows: Mapping[str, Row]) -> str:
    names = sorted({corpus_label(next(iter(row.values()))[0]) for row in rows.values()})
    whose = "" if tier == "paper" else ", which are not the paper's data: what holds here need not hold there"
    return f"Tier {tier}, on {', '.join(names)}{whose}. Paper and ours: the first mapping / the second."


def _notes(tested: int, samples: int) -> tuple[str, ...]:
    return (
        LEGEND,
        f"Differences of scores: paired bootstrap, {samples:,} test sets drawn with replacement, the same "
        "for all systems and seeds. To each comes what other seeds would change, drawn from Student's "
        "distribution with the spread of the runs; with one seed, items alone are varied. The p-values are "
        f"corrected by Holm's method for the {tested} comparisons of this tier, the intervals are not. The "
        "best mapping is chosen on the same test set.",
        f"Reproduced: the corrected p-value is at most {LEVEL:g} and the difference lies as claimed (within "
        "a margin: the whole interval). Not reproduced: it lies the other way (the whole interval beyond the "
        "margin). Undecided: all else, and whatever one seed says.",
        "Times of epochs follow from the share of a training step that passes in the mapping, all else in it "
        "taking the same time, of runs on one device with as many threads; their spread is that of all pairs "
        "of runs. They count as the same, within a margin that is this project's choice, if the whole spread "
        "does.",
    )
