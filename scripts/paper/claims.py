"""The paper's claims, tested on our runs: each with the paper's figures, ours, and what they say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean

from scripts.markdown import counted
from scripts.paper.metrics import (
    SplitMetric,
    corpus_label,
    ids,
    mean_score,
    metrics_in,
    our_cell,
    reported_cell,
)
from scripts.paper.reported import BEST, LEGEND, MARKS, Claim, Paper
from scripts.paper.selection import Rows, Runs, first_run
from scripts.paper.significance import LEVEL, ItemScores, holm
from scripts.paper.table import UNKNOWN, Cell, Row, Table
from tasks.bootstrap import Comparison, compare, differences_over_seeds, margin_p_value
from tasks.bootstrap import Rows as Scores
from tasks.training.records import Record

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
HEADS = ("compared", "on", "paper", "ours", "difference", "95 % interval", "p, corrected")


@dataclass(frozen=True)
class Verdict:
    """What runs say of a claim, and never more than they do.

    Attributes:
        outcome: reproduced, not reproduced or undecided.
        seeds: how many there are of the mapping with fewer.
        why: what of the runs leaves it undecided.
        data: on which data.
    """

    outcome: str
    seeds: int
    why: str = ""
    data: str = ""

    @property
    def text(self) -> str:
        """The outcome, and of an undecided one at how many seeds.

        Example:
            >>> Verdict(UNDECIDED, 1).text, Verdict(REPRODUCED, 3).text
            ('undecided at n = 1 seed', 'reproduced')
        """
        if self.outcome != UNDECIDED:
            return self.outcome
        return f"{UNDECIDED} at n = {counted(self.seeds, 'seed')}"


@dataclass(frozen=True)
class ClaimTest:
    """One comparison that a claim makes: cells under ``HEADS``, its verdict, and the runs behind it."""

    cells: Row
    verdict: Verdict
    runs: tuple[str, ...]


@dataclass(frozen=True)
class ClaimResults:
    """The paper's claims at a tier: what was compared for each, if anything, and all of it in one table."""

    comparisons: Sequence[tuple[Claim, Sequence[ClaimTest]]]
    table: Table

    def tally(self) -> str:
        """How many comparisons have each verdict, in words."""
        counts = Counter(one.verdict.outcome for _, tested in self.comparisons for one in tested)
        outcomes = (REPRODUCED, NOT_REPRODUCED, UNDECIDED)
        listed = ", ".join(f"{counts[outcome] or 'none'} {outcome}" for outcome in outcomes)
        return f"{counted(counts.total(), 'comparison')}: {listed}"


_OTHER_DATA = ", which are not the paper's data: what holds here need not hold there"
_BOOTSTRAP = (
    "Differences of scores: paired bootstrap, {:,} test sets drawn with replacement, the same "
    "for all systems and seeds. To each comes what other seeds would change, drawn from Student's "
    "distribution with the spread of the runs; with one seed, items alone are varied. The p-values are "
    "corrected by Holm's method for the {} comparisons of this tier, the intervals are not. The "
    "best mapping is chosen on the same test set."
)
_VERDICTS = (
    f"Reproduced: the corrected p-value is at most {LEVEL:g} and the difference lies as claimed (within "
    "a margin: the whole interval). Not reproduced: it lies the other way (the whole interval beyond the "
    "margin). Undecided: all else, and whatever one seed says."
)
_TIMES = (
    "Times of epochs follow from the share of a training step that passes in the mapping, all else in it "
    "taking the same time, of runs on one device with as many threads; their spread is that of all pairs "
    "of runs. They count as the same, within a margin that is this project's choice, if the whole spread "
    "does."
)


def _rows(claim: Claim, tested: Sequence[ClaimTest]) -> Iterator[Row]:
    label = Cell(claim_label(claim), note=f"the paper's, {claim.confidence}")
    for one in tested:
        why = f"{one.verdict.text}: {one.verdict.why}" if one.verdict.why else one.verdict.text
        yield (label, *one.cells, Cell(f"{why}; {one.verdict.data}", runs=one.runs))
    if not tested:
        yield (label, *[Cell(UNKNOWN)] * len(HEADS), Cell(untested(claim)))


def claim_label(claim: Claim) -> str:
    """What the paper says, with the mark of its confidence."""
    return f"{claim.text} {MARKS[claim.confidence]}".strip()


def untested(claim: Claim) -> str:
    """Why there is nothing to compare."""
    return f"not tested: {claim.how}" if claim.how else "no runs"


# ------------------------------------------------------------------ what is compared
@dataclass(frozen=True)
class _Pair:
    """Two mappings that a claim compares, on a score that runs of both have."""

    claim: Claim
    a: str
    b: str
    metric: SplitMetric
    runs: tuple[Runs, Runs]


def claims_of_tier(paper: Paper, tier: str, tables: Mapping[str, Rows], items: ItemScores) -> ClaimResults:
    """Test every claim at a tier.

    Args:
        paper: what the paper says.
        tier: of the runs.
        tables: task → the runs of its table's cells at that tier.
        items: item scores of the runs.

    Raises:
        RecordError: details are missing or damaged.
    """
    pairs = [pair for claim in paper.claims for pair in _pairs(claim, paper, tables)]
    differences = [_differences(pair, items) for pair in pairs]
    known = [number for number, drawn in enumerate(differences) if drawn is not None]
    corrected = holm([_p_value(pairs[n].claim, differences[n]) for n in known])
    p_values = dict(zip(known, corrected, strict=True))
    tested: dict[str, list[ClaimTest]] = {claim.id: [] for claim in paper.claims}
    for number, (pair, drawn) in enumerate(zip(pairs, differences, strict=True)):
        found = None if drawn is None else compare(drawn)
        tested[pair.claim.id].append(_compared(pair, found, p_values.get(number), paper, tier))
    for claim in paper.claims:
        if claim.relation == "same_time":
            tested[claim.id] = list(_timed(claim, tables.get(claim.table, {}), tier))
    comparisons = [(claim, tested[claim.id]) for claim in paper.claims]
    corpora = ", ".join(sorted({corpus_label(first_run(rows)) for rows in tables.values()}))
    table = Table(
        name=f"claims-{tier}",
        title=f"The paper's claims, tier {tier}",
        intro=f"Tier {tier}, on {corpora}{'' if tier == 'paper' else _OTHER_DATA}. "
        "Paper and ours: the first mapping / the second.",
        heads=("claim", *HEADS, "verdict"),
        rows=tuple(row for claim, found in comparisons for row in _rows(claim, found)),
        notes=(LEGEND, _BOOTSTRAP.format(items.samples, len(known)), _VERDICTS, _TIMES),
    )
    return ClaimResults(comparisons, table)


def _pairs(claim: Claim, paper: Paper, tables: Mapping[str, Rows]) -> Iterator[_Pair]:
    """Every comparison of a claim on scores for which there are runs of both mappings."""
    rows = tables.get(claim.table, {})
    if claim.relation not in ("greater", "within") or not rows:
        return
    for metric in metrics_in(paper.tables[claim.table], first_run(rows)):
        if claim.columns and metric.column.key not in claim.columns:
            continue
        best = max(rows, key=lambda mapping: mean_score(rows[mapping], metric))
        for a, b in product(claim.a, claim.b):
            b = best if b == BEST else b
            if a != b and a in rows and b in rows:
                yield _Pair(claim, a, b, metric, (rows[a], rows[b]))


def _differences(pair: _Pair, items: ItemScores) -> Scores | None:
    """Differences of a from b, found and drawn; None where runs kept no item scores."""
    a, b = (items.by_seed(runs, pair.metric.split, pair.metric.metric) for runs in pair.runs)
    return None if a is None or b is None else differences_over_seeds(b, a, seed=items.seed)


def _p_value(claim: Claim, differences: Scores | None) -> float:
    assert differences is not None
    if claim.relation == "within":
        return margin_p_value(differences, claim.margin)
    return compare(differences).p_value


def _compared(pair: _Pair, found: Comparison | None, p: float | None, paper: Paper, tier: str) -> ClaimTest:
    claim, runs = pair.claim, ids(*pair.runs)
    verdict = verdict_on_scores(claim, found, p, min(map(len, pair.runs)), _data(tier, pair.runs[0]))
    reported = paper.tables[claim.table].rows
    sign = ">" if claim.relation == "greater" else f"within {claim.margin:g} of"
    cells = (
        Cell(f"{pair.a} {sign} {pair.b}"),
        Cell(pair.metric.label),
        _beside(*(reported_cell(reported[mapping][pair.metric.column.key]) for mapping in (pair.a, pair.b))),
        _beside(*(our_cell(of, pair.metric) for of in pair.runs)),
        *_interval_cells(found, p, runs),
    )
    return ClaimTest(cells, verdict, runs)


def _beside(a: Cell, b: Cell) -> Cell:
    """Two figures in a cell; it is sorted by the first of ours."""
    value = a.value if a.runs else None
    return Cell(f"{a.text} / {b.text}", value, (*a.runs, *b.runs), f"{a.note} / {b.note}")


def _interval_cells(found: Comparison | None, p: float | None, runs: tuple[str, ...]) -> Row:
    if found is None or p is None:
        return (Cell(UNKNOWN),) * 3
    return (
        Cell(f"{found.difference:+.2f}", found.difference, runs),
        Cell(f"{found.low:+.2f} to {found.high:+.2f}", runs=runs),
        Cell(f"{p:.3f}", p, runs),
    )


def _timed(claim: Claim, rows: Rows, tier: str) -> Iterator[ClaimTest]:
    """How long an epoch takes with each mapping of ``a`` beside one with ``b``, of runs on CPU."""
    on_cpu = {mapping: [run for run in runs if run.device == "cpu"] for mapping, runs in rows.items()}
    for a, b in product(claim.a, claim.b):
        first, second = on_cpu.get(a, []), on_cpu.get(b, [])
        if ratios := epoch_ratios(first, second):
            yield _same_time(claim, first, second, ratios, tier)


def _same_time(claim: Claim, a: Runs, b: Runs, ratios: Sequence[float], tier: str) -> ClaimTest:
    runs, ratio = ids(a, b), mean(ratios)
    shares = [mean(record.seconds["mapping_share"] for record in of) for of in (a, b)]
    cells = (
        Cell(f"{a[0].mapping} within {claim.margin:.0%} of {b[0].mapping}"),
        Cell("time in the mapping, and of an epoch"),
        Cell(UNKNOWN, note="the paper gives no times"),
        Cell(f"{shares[0]:.1%} / {shares[1]:.1%}", shares[0], runs),
        Cell(f"× {ratio:.3f}", ratio, runs),
        Cell(f"× {min(ratios):.3f} to {max(ratios):.3f}", runs=runs, note="spread of runs, no interval"),
        Cell(UNKNOWN),
    )
    return ClaimTest(cells, verdict_on_time(claim, ratios, min(len(a), len(b)), _data(tier, a)), runs)


def machine(record: Record) -> tuple[str, int]:
    """What times depend on and records know: device and threads."""
    return record.device, record.threads


def epoch_ratios(a: Runs, b: Runs) -> list[float]:
    """How long an epoch takes in every run of ``a`` to one in every run of ``b``, of those of one machine.

    From the mapping's share of a step, all else in it taking the same time. The clock would not do: runs
    share their machine with whatever else it does, which may cost some of them half their speed.

    Where there are several machines, of that with most runs; none without one that both ran on.
    """
    by_machine = [
        [
            (1 - second.seconds["mapping_share"]) / (1 - first.seconds["mapping_share"])
            for first, second in product(a, b)
            if machine(first) == machine(second) == on
        ]
        for on in sorted({machine(record) for record in a} & {machine(record) for record in b})
    ]
    return max(by_machine, key=len, default=[])


def _data(tier: str, runs: Runs) -> str:
    corpus = runs[0].corpus["name"]
    return f"on {corpus}" if tier == "paper" else f"on {corpus}, not the paper's data"


# ------------------------------------------------------------------ what it says
def verdict_on_scores(
    claim: Claim, found: Comparison | None, p: float | None, seeds: int, data: str = ""
) -> Verdict:
    """The verdict on a claim about the scores of two mappings.

    Args:
        claim: ``greater`` or ``within``.
        found: a against b; None where runs kept no item scores.
        p: its p-value, corrected for the number of claims.
        seeds: how many there are of the mapping with fewer.
        data: on which data.

    Example:
        >>> claim = Claim("c", "a beats b", "stated", "greater")
        >>> verdict_on_scores(claim, Comparison(1.0, 0.4, 1.6, 0.001), 0.01, seeds=5).text
        'reproduced'
        >>> verdict_on_scores(claim, Comparison(1.0, -0.4, 2.4, 0.2), 1.0, seeds=5).text
        'undecided at n = 5 seeds'
    """
    if found is None or p is None:
        return Verdict(UNDECIDED, seeds, "these runs kept no scores of single items", data)
    outcome = _outcome(claim, found) if p <= LEVEL else UNDECIDED
    if seeds > 1:
        return Verdict(outcome, seeds, data=data)
    alone = "do not decide it either" if outcome == UNDECIDED else f"would say {outcome}"
    return Verdict(UNDECIDED, seeds, f"seeds were not varied; the test items alone {alone}", data)


def _outcome(claim: Claim, found: Comparison) -> str:
    """What a significant difference means; nothing where it is within the margin and its interval is not."""
    if claim.relation == "greater":
        return REPRODUCED if found.difference > 0 else NOT_REPRODUCED
    if -claim.margin < found.low and found.high < claim.margin:
        return REPRODUCED
    outside = found.low >= claim.margin or found.high <= -claim.margin
    return NOT_REPRODUCED if outside else UNDECIDED


def verdict_on_time(claim: Claim, ratios: Sequence[float], seeds: int, data: str = "") -> Verdict:
    """The verdict on a claim that epochs of two mappings take the same time.

    Args:
        claim: ``same_time``.
        ratios: of the seconds of every run of the one to those of every run of the other.
        seeds: how many runs there are of the mapping with fewer.
        data: on which data.

    Example:
        >>> claim = Claim("c", "they take the same time", "stated", "same_time", margin=0.1)
        >>> verdict_on_time(claim, [0.97, 1.02, 1.05], seeds=3).text
        'reproduced'
    """
    inside = [1 / (1 + claim.margin) <= ratio <= 1 + claim.margin for ratio in ratios]
    one_side = min(ratios) > 1 or max(ratios) < 1
    outcome = REPRODUCED if all(inside) else NOT_REPRODUCED if not any(inside) and one_side else UNDECIDED
    return Verdict(outcome if seeds > 1 else UNDECIDED, seeds, data=data)
