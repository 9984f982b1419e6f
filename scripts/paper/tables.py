"""The paper's tables with ours beside them, what attention looked like in training, and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from scripts.bench.render import read_results
from scripts.paper.claims import ClaimResults, ClaimTest, claims_of_tier
from scripts.paper.reported import LEGEND, Baselines, Paper, ReportedTable, Scores, read_baselines
from scripts.paper.selection import (
    MAPPINGS,
    TUNED,
    UNIFORM,
    Recipe,
    Rows,
    Runs,
    by_label,
    by_setting,
    chosen_strengths,
    first_run,
    grouped,
    mapping_rank,
    recipes_of,
    rows_of,
    sizes_of,
    strengths_label,
)
from scripts.paper.significance import ItemScores
from scripts.paper.table import (
    UNKNOWN,
    Cell,
    Row,
    Signatures,
    SplitMetric,
    Table,
    check_signatures,
    corpus_label,
    ids,
    metrics_in,
    our_cell,
    over_seeds,
    reported_cell,
    seeds_cell,
)
from scripts.runs.config import TIERS
from tasks._registry import TASKS
from tasks.checks import counted
from tasks.training.records import Record

Tables = Mapping[str, Sequence[Recipe]]
"""Task → the recipes of its table that there are runs of."""


@dataclass(frozen=True)
class TierResults:
    """Everything of one tier with runs."""

    tier: str
    scores: Sequence[Table]
    claims: ClaimResults
    interpretability: Table
    agreement: Table
    cost: Table
    overview: Table
    findings: Mapping[str, str]

    @property
    def tables(self) -> list[Table]:
        return [*self.scores, self.claims.table, self.interpretability, self.agreement, self.cost]


def results_of_tiers(records: Runs, results: Path, paper: Paper) -> list[TierResults]:
    """The results of every tier with runs of the paper's cells, from mini to paper."""
    items, found = ItemScores(results / "details"), []
    steps = training_steps(results / "bench" / "cpu.json")
    chosen = chosen_strengths(results / "studies")
    for tier in TIERS:
        every = {task: recipes_of(records, task, tier, chosen) for task in paper.tables}
        tables = {task: recipes for task, recipes in every.items() if recipes}
        if not tables:
            continue
        scores = []
        for task, recipes in tables.items():
            corpus = first_run(recipes[0].rows).corpus["sha256"]
            simple = read_baselines(results / "baselines", task, tier, corpus)
            uniform = [run for runs in rows_of(records, task + UNIFORM, tier).values() for run in runs]
            scores.append(score_table(task, paper.tables[task], tier, recipes, simple, uniform))
        claims = claims_of_tier(paper, tier, tables, items, steps)
        with_links = recipes_with_links(tier, tables, records)
        shapes, agreement = attention_tables(tier, tables, with_links)
        cost, overview = cost_table(tier, tables), overview_table(tier, tables, scores, paper)
        said = findings(claims, with_links, tier)
        found.append(TierResults(tier, scores, claims, shapes, agreement, cost, overview, said))
    return found


def training_steps(path: Path) -> dict[str, Mapping[str, Any]]:
    """Mapping → what the benchmark at ``path`` has of training steps with it beside those with softmax."""
    cells = read_results(path).get("training", {}).get("cells", [])
    return {name.removeprefix("regattn."): row for cell in cells for name, row in cell["results"].items()}


# ------------------------------------------------------------------ the paper's tables
def score_table(
    task: str,
    reported: ReportedTable,
    tier: str,
    recipes: Sequence[Recipe],
    simple: Baselines | None = None,
    uniform: Runs = (),
) -> Table:
    """A table of the paper with ours beside it: mappings × scores, recipe by recipe, and baselines below.

    The paper's figures stand beside the first recipe's; ``uniform`` are runs without attention.
    """
    metrics = metrics_in(reported, first_run(recipes[0].rows))
    runs = [run for recipe in recipes for run in recipe.runs]
    measured: dict[str, Signatures] = {run.id: run.signatures for run in (*runs, *uniform)}
    if simple is not None:
        measured["results/baselines"] = simple.signatures
    check_signatures(metrics, measured)
    rows: list[list[Cell]] = []
    for recipe in recipes:
        names = dict.fromkeys((*(MAPPINGS if recipe is recipes[0] else ()), *recipe.rows))
        for mapping in sorted(names, key=mapping_rank):
            figures = reported.rows.get(mapping, {}) if recipe is recipes[0] else {}
            rows.append([
                Cell(mapping), Cell(recipe.name), _strengths_cell(recipe.rows.get(mapping, ())),
                *(reported_cell(figures[c.key]) if figures else Cell(UNKNOWN) for c in reported.columns),
                *(our_cell(recipe.rows.get(mapping, ()), one) for one in metrics),
                seeds_cell(recipe.rows.get(mapping, ())),
            ])  # fmt: skip
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns = [
        column if n < 3 or n == len(columns) - 1 else _with_best(column) for n, column in enumerate(columns)
    ]
    baselines = list(_baseline_rows(reported, metrics, simple, uniform))
    heads = [f"paper: {column.label}" for column in reported.columns]
    heads += [f"ours: {one.label}" for one in metrics]
    return Table(
        name=f"{task}-{tier}",
        title=f"{TASKS[task].title}, tier {tier}",
        intro=whose_data(reported, tier, recipes[0].rows),
        heads=("mapping", "recipe", "strengths", *heads, "seeds"),
        rows=(*zip(*columns, strict=True), *baselines),
        notes=(
            f"{LEGEND} Ours: mean ± standard deviation over the seeds. In bold the largest of each column, "
            "which says nothing of significance: the table of claims does. A recipe is "
            f"configs/experiment/{tier}/<recipe>.yaml; the paper's figures stand beside the first.",
        ),
    )


def _strengths_cell(runs: Runs) -> Cell:
    return Cell(strengths_label(runs[0]) if runs else UNKNOWN)


def _baseline_rows(
    reported: ReportedTable, metrics: Sequence[SplitMetric], simple: Baselines | None, uniform: Runs
) -> Iterator[Row]:
    """What is reached without attention: by simple systems, and by the same model with uniform weights."""
    papers = [Cell(UNKNOWN)] * len(reported.columns)
    for name, scores in (simple.scores if simple else {}).items():
        note = f"{simple.command}, commit {simple.commit[:12]}" if simple else ""
        cells = (_baseline_cell(scores, one, note) for one in metrics)
        yield Cell(name), Cell("baseline"), Cell(UNKNOWN), *papers, *cells, Cell(UNKNOWN)
    if uniform:
        cells = (our_cell(uniform, one) for one in metrics)
        head = Cell("no attention", note="uniform weights")
        yield head, Cell("baseline"), _strengths_cell(uniform), *papers, *cells, seeds_cell(uniform)


def _baseline_cell(scores: Scores, one: SplitMetric, note: str) -> Cell:
    value = scores.get(one.split, {}).get(one.metric)
    if value is None:
        return Cell(UNKNOWN)
    return Cell(f"{value * one.scale:.2f}", value * one.scale, note=note)


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
class Column(NamedTuple):
    """A metric of a test set: what stands above it, digits after the point, and what it is multiplied by."""

    label: str
    metric: str
    digits: int = 2
    scale: float = 1.0


_SHAPES = (
    Column("exact zeros, %", "zero_share", 1, 100),
    Column("support runs", "support_runs"),
    Column("segments", "segments"),
    Column("segment length", "segment_length"),
    Column("groups", "groups"),
    Column("group size", "group_size"),
    Column("entropy, nats", "entropy"),
)
_AER = Column("AER, %", "aer", 1, 100)
_AGREEMENT = (
    _AER,
    Column("weight on the evidence, %", "evidence_mass", 1, 100),
    Column("weight on explained words, % (uniform)", "explained_mass", 1, 100),
    Column("average precision of explained words, % (random)", "explained_ap", 1, 100),
    Column("segments that end at phrases, % (random)", "edges_at_phrases", 1, 100),
)
_CHANCE = {
    "explained_mass": "explained_mass_uniform",
    **{metric: f"{metric}_random" for metric in ("explained_ap", "edges_at_phrases")},
}
"""Metrics of what chance gives, which stands in brackets."""
_KNOWN_LINKS = ("evidence_mass", "aer")
_BY_HAND = "hansards"
"""The test set with word alignments that people made."""


def recipes_with_links(tier: str, tables: Tables, records: Runs) -> list[Recipe]:
    """Runs outside the paper's ``tables``, on texts of which it is known what attention should find."""
    cells = {run.id for of in tables.values() for recipe in of for run in recipe.runs}
    linked = [r for r in records if r.tier == tier and r.id not in cells and _splits_with_links(r)]
    return [
        Recipe(runs[0].experiment.partition("/")[2] or UNKNOWN, by_label(runs))
        for *_, runs in by_setting(linked)
    ]


def attention_tables(tier: str, tables: Tables, with_links: Sequence[Recipe]) -> tuple[Table, Table]:
    """Statistics of attention in the runs of ``tables``, and in further ones from :func:`recipes_with_links`:
    what it looks like, and how far it agrees with what is known."""
    found = [*(recipe for recipes in tables.values() for recipe in recipes), *with_links]
    firsts = {corpus_label(first_run(recipe.rows)): first_run(recipe.rows) for recipe in found}
    sizes = [f"{label} ({_training_pairs(run)})" for label, run in firsts.items()]
    where = f"Tier {tier}: {', '.join(sizes)}."
    heads = ("corpus, split", "recipe", "mapping", "strengths", "seeds")
    spread = (
        "Means ± half of the 95 % interval over the seeds, by Student's distribution; of one seed the mean."
    )
    shapes = Table(
        name=f"interpretability-{tier}",
        title=f"What attention looks like, tier {tier}",
        intro="For every mapping on the first test set of its corpus, and on those where it is known what "
        f"attention should find. {where}",
        heads=(*heads, *(one.label for one in _SHAPES)),
        rows=tuple(row for recipe in found for row in _attention_rows(recipe, _SHAPES)),
        notes=(
            f"{spread} Over the rows of attention weights, one for each premise, each word of a hypothesis "
            "or each output word. Support runs: stretches of neighbours with weights above 0. Groups: "
            "positions that the mapping fused to one weight, neighbours or not; segments: stretches of "
            "neighbours in them.",
        ),
    )
    agreement = Table(
        name=f"agreement-{tier}",
        title=f"What attention agrees with, tier {tier}",
        intro=f"How far attention finds what people, or whoever made the corpus, say it should. {where}",
        heads=(*heads, *(one.label for one in _AGREEMENT)),
        rows=tuple(
            row
            for recipe in found
            for row in _attention_rows(recipe, _AGREEMENT)
            if not all(cell.is_empty for cell in row[len(heads) :])
        ),
        notes=(
            f"{spread} In brackets what chance gives. AER: alignment error rate of the heaviest weight "
            "against known links, of the synthetic corpora by construction, of Hansards by hand (Och & Ney, "
            "2003); less is better. Evidence: the words that decide, known of the synthetic entailment "
            "corpus.",
            "Explained words: content words of the premise that at least one of e-SNLI's three explanations "
            "of the label repeats; weight on them beside that of uniform weights, and the average precision "
            "of their order by weight among all content words beside that of a random order. A stand-in: "
            "people explain a label to people, not what a model should look at. Segments that end at "
            "phrases: ends of fused segments of two words and more at which a phrase ends, beside those of "
            "segments of the same lengths anywhere in the sentence. Phrases are stood in for by chinks and "
            "chunks (Liberman & Church, 1992): one ends where a function word follows a content word, and at "
            "punctuation.",
        ),
    )
    return shapes, agreement


def _attention_rows(recipe: Recipe, columns: Sequence[Column]) -> Iterator[Row]:
    first = first_run(recipe.rows)
    for split in _splits_with_links(first) or first.test_splits[:1]:
        place = Cell(f"{corpus_label(first)}, {split}")
        for runs in recipe.rows.values():
            about = Cell(recipe.name), Cell(runs[0].mapping), _strengths_cell(runs), seeds_cell(runs)
            yield place, *about, *(_metric_cell(runs, split, one) for one in columns)


def _metric_cell(runs: Runs, split: str, column: Column) -> Cell:
    def values(metric: str) -> list[float | None]:
        found = [run.metrics.get(split, {}).get(metric) for run in runs]
        return [None if value is None else column.scale * value for value in found]

    cell = over_seeds(runs, values(column.metric), column.digits, interval=True)
    if column.metric not in _CHANCE or cell.is_empty:
        return cell
    chance = over_seeds(runs, values(_CHANCE[column.metric]), column.digits)
    return replace(cell, text=f"{cell.text} ({chance.value:.{column.digits}f})")


def _splits_with_links(record: Record) -> list[str]:
    """Test sets of which is known what attention should find."""
    return [s for s in record.test_splits if not record.metrics[s].keys().isdisjoint(_KNOWN_LINKS)]


def _training_pairs(run: Record) -> str:
    return counted(run.corpus["sizes"]["train"], "training pair")


# ------------------------------------------------------------------ what it cost
def cost_table(tier: str, tables: Tables) -> Table:
    """The share of a training step that passes in the mapping, of every task with runs at a tier."""
    return Table(
        name=f"cost-{tier}",
        title=f"Cost of training, tier {tier}",
        intro="How much of a training step, forward and backward, passes in the mapping.",
        heads=("corpus", "recipe", "device", "mapping", "time in the mapping, %", "runs"),
        rows=tuple(row for recipes in tables.values() for recipe in recipes for row in _cost_rows(recipe)),
        notes=(
            "Measured apart in every run; mean ± standard deviation. What whole steps take beside those with "
            "softmax, measured side by side, stands among the claims. The clocks of whole runs, which shared "
            "their machine with others, are in the records, and compare nothing.",
        ),
    )


def _cost_rows(recipe: Recipe) -> Iterator[Row]:
    on_machines = grouped(recipe.runs, lambda run: (run.mapping, run.device, run.threads))
    for (mapping, device, threads), runs in on_machines.items():
        shares = [100 * run.seconds["mapping_share"] for run in runs]
        yield (
            Cell(corpus_label(runs[0])),
            Cell(recipe.name),
            Cell(f"{device}, {counted(threads, 'thread')}"),
            Cell(mapping),
            over_seeds(runs, shares, digits=1),
            Cell(str(len(runs)), float(len(runs)), ids(runs)),
        )


# ------------------------------------------------------------------ what there is to quote
def overview_table(tier: str, tables: Tables, scores: Sequence[Table], paper: Paper) -> Table:
    """One row for each recipe: its primary score under the paper's mappings, and the best that needs no
    attention, which ``scores`` tells, the table of each task in the same order."""
    rows, corpora = [], []
    for (task, recipes), table in zip(tables.items(), scores, strict=True):
        first = first_run(recipes[0].rows)
        score = _primary_score(paper, task, first)
        place = table.heads.index(f"ours: {score.label}")
        simple = {row[0].text: row[place] for row in table.rows if row[1].text == "baseline"}
        best = max(simple, key=lambda name: simple[name].value or 0.0, default="")
        for recipe in recipes:
            counts = sorted({len(recipe.rows[mapping]) for mapping in MAPPINGS if mapping in recipe.rows})
            if not counts:
                continue
            ours = [our_cell(recipe.rows.get(mapping, ()), score) for mapping in MAPPINGS]
            seeds = Cell("–".join(map(str, dict.fromkeys((counts[0], counts[-1])))))
            without = Cell(f"{simple[best].text} ({best})" if best else UNKNOWN)
            rows.append((Cell(f"{recipe.name}: {score.label}"), *ours, without, seeds))
        corpora.append(f"{first.corpus['name']} ({_training_pairs(first)})")
    return Table(
        name=f"overview-{tier}",
        title=f"Scores, tier {tier}",
        intro="",
        heads=("recipe: score", *MAPPINGS, "best without attention", "seeds"),
        rows=tuple(rows),
        notes=(
            f"Mean ± standard deviation over the seeds, trained on {', '.join(corpora)}"
            + ("." if tier == "paper" else ": not the paper's data; its figures and these do not compare."),
        ),
    )


def _primary_score(paper: Paper, task: str, run: Record) -> SplitMetric:
    """The score that was named before the runs were made; where none was, the first of the paper's table."""
    metrics = metrics_in(paper.tables[task], run)
    claimed = {claim.id: claim.table for claim in paper.claims}
    named = {(one.column, one.split) for one in paper.primary if claimed[one.claim] == task}
    places = {(one.column.key, split): one for one in metrics for split in (one.column.split, one.split)}
    return next((one for place, one in places.items() if place in named), metrics[0])


def findings(claims: ClaimResults, aligned: Sequence[Recipe], tier: str) -> dict[str, str]:
    """What the runs of a tier say, in sentences that hold no more than the tables do: one for each primary
    endpoint, with the same comparisons at chosen strengths where there are any, one on word alignments that
    people made, where ``aligned`` recipes know some, one on time. Each leads to the claim
    (``claims-<tier>-<id>``) or the table (``table-<name>``) that says the same of every mapping.
    """
    said = {}
    for claim, tested in claims.comparisons:
        first = [one for one in tested if one.role in ("primary", "part")]
        if parts := [one for one in first if one.role == "part"] or first:
            verdict = next(one.verdict for one in first if one.role == "primary")
            why = f" ({verdict.why})" if verdict.why else ""
            wanted = {(one.score, one.recipe + TUNED) for one in parts}
            tuned = [one for one in tested if (one.score, one.recipe) in wanted]
            mapping, rival, metric = parts[0].score
            is_single = len(parts) == 1
            whose = f"{mapping} minus {rival}" if is_single else f"Minus {rival}"
            chosen = f"; at strengths chosen on dev {_differences(tuned, is_single)}" if tuned else ""
            text = f"{verdict.text.capitalize()}: {claim.text}{why}."
            text += f" {whose}, {metric}: {_differences(parts, is_single)}{chosen}."
            said[text] = f"{claims.table.name}-{claim.id}"
    for recipe in aligned:
        rates: dict[float, list[tuple[Runs, Cell]]] = defaultdict(list)
        for runs in recipe.rows.values():
            rate = _metric_cell(runs, _BY_HAND, _AER)
            if not rate.is_empty:
                rates[runs[0].mapping_params["gamma"]].append((runs, rate))
        listed = "; ".join(
            f"γ = {gamma:g}: {_range([(runs[0].mapping, rate) for runs, rate in found])}, "
            f"{counted(min(len(runs) for runs, _ in found), 'seed')}"
            for gamma, found in sorted(rates.items())
        )
        if listed:
            text = f"Attention as word alignment, AER in % on Hansards, less is better: {listed}."
            said[text] = f"table-agreement-{tier}"
    for claim, tested in claims.comparisons:
        if times := [one for one in tested if one.role == "time"]:
            ratios = _range([(one.mapping, one["difference"]) for one in times])
            text = f"Time of a training step beside one with {claim.b[0]}, measured side by side: {ratios}."
            said[text] = f"{claims.table.name}-{claim.id}"
    return said


def _differences(tested: Sequence[ClaimTest], is_single: bool) -> str:
    """Differences of scores from one rival, those with as many seeds together: of a single mapping that the
    sentence names with its interval, of several the range."""
    lists = []
    for seeds, alike in grouped(tested, lambda one: one.verdict.seeds or 1).items():
        figures = _range([(one.mapping, one["difference"]) for one in alike])
        if is_single:
            interval = alike[0]["95 % interval"]
            figures = alike[0]["difference"].text
            figures += "" if interval.is_empty else f" (95 % interval {interval.text})"
        lists.append(f"{figures}, {counted(seeds, 'seed')}")
    return "; ".join(lists)


def _range(figures: Sequence[tuple[str, Cell]]) -> str:
    """The least and the largest of several mappings' figures, each with whose it is."""
    ends = (pick(figures, key=lambda one: one[1].value or 0.0) for pick in (min, max))
    return " to ".join(dict.fromkeys(f"{cell.text} ({mapping})" for mapping, cell in ends))
