"""The paper's claims, tested on our runs: each with the paper's figures, ours, and what they say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import Any

from scripts.paper.reported import LEGEND, MARKS, Claim, Paper, Primary
from scripts.paper.selection import MAPPINGS, Recipe, Runs, first_run
from scripts.paper.significance import LEVEL, MOST_SEEDS, SAMPLES, Comparison, ItemScores, compare, holm
from scripts.paper.table import (
    UNKNOWN,
    Cell,
    Row,
    SplitMetric,
    Table,
    corpus_label,
    ids,
    metrics_in,
    our_cell,
    reported_cell,
)
from tasks.checks import counted

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
AGAINST = "points against the paper"
UNDECIDED = "undecided"
OUTCOMES = (REPRODUCED, NOT_REPRODUCED, AGAINST, UNDECIDED)
HEADS = (
    "compared", "on", "paper", "ours", "difference", "95 % interval", "p", "paired t", "seeds", "could see",
)  # fmt: skip
_ROLES = {"primary": "primary endpoints", "secondary": "secondary comparisons", "time": "comparisons of time"}
LEAST_SEEDS = 5
"""Of a primary comparison: with fewer it has no verdict."""


@dataclass(frozen=True)
class Verdict:
    """What runs say of a claim, and never more than they do."""

    outcome: str  # one of OUTCOMES
    seeds: int | None = None  # how many both mappings have; None of what was not measured by runs
    why: str = ""  # what leaves it undecided, and what would decide it
    data: str = ""  # on which data

    @property
    def text(self) -> str:
        """The outcome, and of one that is not decided at how many seeds.

        Example:
            >>> Verdict(UNDECIDED, 1).text, Verdict(REPRODUCED, 3).text
            ('undecided at n = 1 seed', 'reproduced')
        """
        if self.outcome in (REPRODUCED, NOT_REPRODUCED) or self.seeds is None:
            return self.outcome
        return f"{self.outcome} at n = {counted(self.seeds, 'seed')}"


@dataclass(frozen=True)
class ClaimTest:
    """One comparison that a claim makes: cells under ``HEADS``, its verdict, and the runs behind it."""

    cells: Row
    verdict: Verdict
    runs: tuple[str, ...]
    role: str  # primary, secondary, time, or part of a primary one that has several
    mapping: str = ""  # which is compared, of one comparison
    score: tuple[str, ...] = ()  # mapping, rival and metric, which recipes may share
    recipe: str = ""  # whose runs they are, without the tier

    def __getitem__(self, head: str) -> Cell:
        return self.cells[HEADS.index(head)]


@dataclass(frozen=True)
class ClaimResults:
    """The paper's claims at a tier: what was compared for each, if anything, and all of it in one table."""

    comparisons: Sequence[tuple[Claim, Sequence[ClaimTest]]]
    table: Table

    def tally(self) -> str:
        """How many comparisons of each kind have each verdict, in words."""
        parts = []
        for role, name in _ROLES.items():
            counts = Counter(
                t.verdict.outcome for _, tested in self.comparisons for t in tested if t.role == role
            )
            if counts:
                listed = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
                parts.append(f"{name}: {listed}")
        return "; ".join(parts) or "no comparison"


_OTHER_DATA = ", which are not the paper's data: what holds here need not hold there"
_METHOD = (
    "Differences of scores: means over the seeds that both mappings have. Mappings × seeds are randomised "
    "blocks; a difference has the standard error √(2 MS/n + m²), MS the residual mean square of all of the "
    "paper's k mappings with these n seeds and m² what the choice of test items changes whatever the seeds: "
    f"of means over items by their variance, of BLEU by {SAMPLES:,} test sets drawn with replacement, the "
    "same for all runs. Student's distribution with (k − 1)(n − 1) degrees of freedom then gives intervals "
    "and p: of no difference, on both sides (>); of a deficit of the margin or more, on one (within). Paired "
    "t: Student's paired test over the seeds alone, to compare, which decides nothing."
)
_FAMILIES = (
    f"Primary comparisons were named before the runs were made, at most one endpoint for each task; each is "
    f"tested at {LEVEL:g} without correction, where there are several mappings all have to pass, and there "
    "is no "
    f"verdict before {LEAST_SEEDS} seeds. All others are secondary: their p are corrected by Holm's method "
    "within each claim, over comparisons with two seeds at least. One seed gives an estimate, without p."
)
_VERDICTS = (
    f"Reproduced: p is at most {LEVEL:g} and the difference lies as claimed. Not reproduced: as surely, it "
    "does not. Points against the paper: it does not, and chance may be why. Undecided: all else. Could see: "
    "the least difference that this many seeds find in four of five cases, or for a margin the largest "
    "deficit that they still show to lie within; of secondary comparisons at the level divided by their "
    "number. Seeds that would decide: to find a difference as large as this one, likewise."
)
_TIMES = (
    "Times: of whole training steps of the entailment model on the synthetic corpus, mappings in turn in one "
    "process (make bench): the median of their ratios with its 95 % interval. They count as the same if that "
    "lies within the margin. Clocks of runs are not compared: these shared their machine."
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
    if claim.relation == "same_time":
        return "not measured side by side"
    return f"not tested: {claim.how}" if claim.how else "no runs"


# ------------------------------------------------------------------ what is compared
@dataclass(frozen=True)
class _Pair:
    """Two mappings that a claim compares, on a score that runs of one recipe have of both."""

    claim: Claim
    a: str
    b: str
    metric: SplitMetric
    recipe: Recipe
    is_primary: bool
    found: Comparison

    @property
    def runs(self) -> tuple[Runs, Runs]:
        return self.recipe.rows[self.a], self.recipe.rows[self.b]

    @property
    def seeds(self) -> int:
        return self.found.design.seeds

    @property
    def shift(self) -> float:
        """How far the difference lies on the claim's side of what it must exceed."""
        return self.found.difference + self.claim.margin

    @property
    def sides(self) -> int:
        return 2 if self.claim.relation == "greater" else 1

    def p_value(self) -> float:
        return self.found.design.p_value(self.shift, self.sides)


def claims_of_tier(
    paper: Paper,
    tier: str,
    tables: Mapping[str, Sequence[Recipe]],
    items: ItemScores,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
) -> ClaimResults:
    """Test every claim at a tier, on item scores of the runs and on training ``steps`` of the benchmark."""
    comparisons = []
    for claim in paper.claims:
        if claim.relation == "same_time":
            tested = list(_timed(claim, steps or {})) if claim.table in tables else []
        else:
            tested = _tested(list(_pairs(claim, paper, tier, tables, items)), paper, tier)
        comparisons.append((claim, tested))
    corpora = ", ".join(sorted({corpus_label(first_run(of[0].rows)) for of in tables.values()}))
    table = Table(
        name=f"claims-{tier}",
        title=f"The paper's claims, tier {tier}",
        intro=f"Tier {tier}, on {corpora}{'' if tier == 'paper' else _OTHER_DATA}. "
        "Paper and ours: the first mapping / the second.",
        heads=("claim", *HEADS, "verdict"),
        rows=tuple(row for claim, tested in comparisons for row in _rows(claim, tested)),
        notes=(LEGEND, _METHOD, _FAMILIES, _VERDICTS, _TIMES),
    )
    return ClaimResults(comparisons, table)


def _pairs(
    claim: Claim, paper: Paper, tier: str, tables: Mapping[str, Sequence[Recipe]], items: ItemScores
) -> Iterator[_Pair]:
    """Every comparison of a claim on scores whose items runs of both mappings kept, primary ones first."""
    primary = next((p for p in paper.primary if p.claim == claim.id), None)
    found = []
    for recipe in tables.get(claim.table, ()) if claim.relation != "untested" else ():
        for metric in metrics_in(paper.tables[claim.table], first_run(recipe.rows)):
            if claim.columns and metric.column.key not in claim.columns:
                continue
            # The paper's mappings alone: what is trained beside them, and when, must decide no claim of its.
            rows = {name: runs for name, runs in recipe.rows.items() if name in MAPPINGS}
            block = items.block(rows, metric.split, metric.metric)
            for a, b in product(claim.a, claim.b):
                known = compare(block, a, b) if a != b and a in block and b in block else None
                if known is not None:
                    is_named = primary is not None and _is_primary(primary, recipe, metric, a, b)
                    found.append(_Pair(claim, a, b, metric, recipe, is_named, known))
    yield from sorted(found, key=lambda pair: not pair.is_primary)


def _is_primary(primary: Primary, recipe: Recipe, metric: SplitMetric, a: str, b: str) -> bool:
    place = recipe.name, metric.column.key, b
    is_split = metric.split in (primary.split, metric.column.split)
    return place == (primary.recipe, primary.column, primary.b) and is_split and a in primary.a


def _tested(pairs: Sequence[_Pair], paper: Paper, tier: str) -> list[ClaimTest]:
    """The comparisons of one claim with their verdicts, and one of all primary ones if they are several."""
    family = [pair for pair in pairs if pair.seeds > 1 and not pair.is_primary]
    corrected = holm([pair.p_value() for pair in family])
    p_values = {id(pair): p for pair, p in zip(family, corrected, strict=True)}
    primary = [pair for pair in pairs if pair.is_primary]
    tested = []
    for pair in pairs:
        level = LEVEL if pair.is_primary else LEVEL / max(1, len(family))
        p = pair.p_value() if pair.is_primary and pair.seeds > 1 else p_values.get(id(pair))
        role = "secondary" if not pair.is_primary else "part" if len(primary) > 1 else "primary"
        tested.append(_compared(pair, p, level, role, paper, tier))
        if role == "part" and pair is primary[-1]:
            tested.append(_together([one for one in tested if one.role == "part"]))
    return tested


def _compared(pair: _Pair, p: float | None, level: float, role: str, paper: Paper, tier: str) -> ClaimTest:
    claim, runs, interval, paired = pair.claim, ids(*pair.runs), pair.found.interval, pair.found.paired
    reported = paper.tables[claim.table].rows
    sign = ">" if claim.relation == "greater" else f"within {claim.margin:g} below"
    verdict = verdict_on_scores(
        pair.found, claim, p, level, is_primary=pair.is_primary, data=_data(tier, pair.runs[0])
    )
    cells = (
        Cell(f"{pair.a} {sign} {pair.b}", note="primary" if pair.is_primary else ""),
        Cell(f"{pair.metric.label}, {pair.recipe.name}{', primary' if pair.is_primary else ''}"),
        _beside(*(reported_cell(reported[mapping][pair.metric.column.key]) for mapping in (pair.a, pair.b))),
        _beside(*(our_cell(of, pair.metric) for of in pair.runs)),
        Cell(_signed(pair.found.difference), pair.found.difference, runs),
        Cell(_signed(*interval), runs=runs) if interval else Cell(UNKNOWN),
        Cell(UNKNOWN) if p is None else Cell(f"{p:.3f}", p, runs),
        Cell(UNKNOWN) if paired is None else Cell(f"{paired:.3f}", paired, runs),
        Cell(str(pair.seeds), float(pair.seeds), runs),
        _sight(pair, level, runs),
    )
    score = pair.a, pair.b, pair.metric.label
    return ClaimTest(cells, verdict, runs, role, pair.a, score, pair.recipe.name)


def _signed(*numbers: float) -> str:
    return " to ".join(f"{number:+.2f}" for number in numbers)


def _together(parts: Sequence[ClaimTest]) -> ClaimTest:
    """All primary comparisons of a claim in one: it is reproduced if each is, and not if one is not."""
    order = (NOT_REPRODUCED, AGAINST, UNDECIDED, REPRODUCED)
    outcome = next(o for o in order if any(part.verdict.outcome == o for part in parts))
    runs = tuple(dict.fromkeys(run for part in parts for run in part.runs))
    seeds = min(part.verdict.seeds or 0 for part in parts)
    waiting = [part.mapping for part in parts if part.verdict.outcome == outcome]
    why = "" if outcome == REPRODUCED else f"because of {', '.join(waiting)}"
    verdict = Verdict(outcome, seeds, why, parts[0].verdict.data)
    empty = (Cell(UNKNOWN),) * (len(HEADS) - 2)
    return ClaimTest((Cell(f"all {len(parts)}"), parts[0].cells[1], *empty), verdict, runs, "primary")


def _beside(a: Cell, b: Cell) -> Cell:
    """Two figures in a cell; it is sorted by the first of ours."""
    value = a.value if a.runs else None
    return Cell(f"{a.text} / {b.text}", value, (*a.runs, *b.runs), f"{a.note} / {b.note}")


def _sight(pair: _Pair, level: float, runs: tuple[str, ...]) -> Cell:
    """The least difference that these seeds find, or the largest deficit that they show to be within."""
    if pair.seeds < 2:
        return Cell(UNKNOWN)
    least = pair.found.design.least(pair.sides, level)
    if pair.claim.relation == "greater":
        return Cell(f"{least:.2f}", least, runs)
    deficit = pair.claim.margin - least
    return Cell(f"−{deficit:.2f}" if deficit > 0 else "no deficit", deficit, runs)


def _data(tier: str, runs: Runs) -> str:
    corpus = runs[0].corpus["name"]
    return f"on {corpus}" if tier == "paper" else f"on {corpus}, not the paper's data"


# ------------------------------------------------------------------ what it says
def verdict_on_scores(
    found: Comparison,
    claim: Claim,
    p: float | None,
    level: float = LEVEL,
    *,
    is_primary: bool = False,
    data: str = "",
) -> Verdict:
    """The verdict on a claim about the scores of two mappings by its p-value, corrected where it has to be.

    ``level`` is that at which further runs would have to decide it.

    Example:
        >>> from scripts.paper.significance import Design
        >>> claim = Claim("c", "a beats b", "stated", "greater")
        >>> found = Comparison(0.4, Design(5, 5, 0.075, 0.0025), 0.1)
        >>> verdict_on_scores(found, claim, 0.04).text, verdict_on_scores(found, claim, 0.06).text
        ('reproduced', 'undecided at n = 5 seeds')
        >>> verdict_on_scores(found, claim, 0.06).why
        '9 seeds would decide it'
    """
    shift, seeds = found.difference + claim.margin, found.design.seeds
    open_outcome = AGAINST if shift < 0 else UNDECIDED
    if p is None:
        return Verdict(open_outcome, seeds, "one seed gives an estimate alone", data)
    if is_primary and seeds < LEAST_SEEDS:
        return Verdict(open_outcome, seeds, f"no verdict before {LEAST_SEEDS} seeds", data)
    if p <= LEVEL:
        return Verdict(REPRODUCED if shift > 0 else NOT_REPRODUCED, seeds, data=data)
    needed = found.design.seeds_for(shift, 2 if claim.relation == "greater" else 1, level)
    why = f"{needed} seeds would decide it" if needed else f"not even {MOST_SEEDS} seeds would decide it"
    return Verdict(open_outcome, seeds, why, data)


# ------------------------------------------------------------------ time
def _timed(claim: Claim, steps: Mapping[str, Mapping[str, Any]]) -> Iterator[ClaimTest]:
    """How long a step of training takes with each mapping of ``a``, measured side by side with softmax."""
    for mapping in (name for name in claim.a if name in steps):
        ratio, (low, high) = steps[mapping]["ratio"], median_interval(steps[mapping])
        cells = (
            Cell(f"{mapping} within {claim.margin:.0%} of {claim.b[0]}"),
            Cell("time of a training step"),
            Cell(UNKNOWN, note="the paper gives no times"),
            Cell(UNKNOWN),
            Cell(f"× {ratio:.3f}", ratio),
            Cell(f"× {low:.3f} to {high:.3f}"),
            *(Cell(UNKNOWN),) * 4,
        )
        verdict = Verdict(outcome_on_time(claim.margin, low, high), data="measured side by side")
        yield ClaimTest(cells, verdict, (), "time", mapping)


def median_interval(step: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % interval of a median ratio, from its quartiles and the number of rounds.

    Example:
        >>> median_interval({"ratio": 1.0, "ratio_quartiles": [0.95, 1.05], "rounds": 100})
        (0.9843, 1.0157)

    Source: McGill, Tukey & Larsen (1978), "Variations of Box Plots".
    """
    low, high = step["ratio_quartiles"]
    half = 1.57 * (high - low) / sqrt(step["rounds"])
    return step["ratio"] - half, step["ratio"] + half


def outcome_on_time(margin: float, low: float, high: float) -> str:
    """What an interval of a ratio says of the claim that it is 1.

    Example:
        >>> outcome_on_time(0.1, 0.98, 1.03), outcome_on_time(0.1, 1.2, 1.3), outcome_on_time(0.1, 1.05, 1.2)
        ('reproduced', 'not reproduced', 'undecided')
    """
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return REPRODUCED
    return NOT_REPRODUCED if low > 1 + margin or high < 1 / (1 + margin) else UNDECIDED
