"""Studies of strengths as tables and a plot: what γ and λ do to what is learnt, and to attention.

A mapping compares differences of scores with γ, and training gives scores the scale that they have: a study
of γ trains one recipe for a few epochs at several γ, the same ones for every mapping, with γλ held where
there is a λ; the study lambda does so at one γ and several λ, the study variants at one γ with another
scorer, or a γ that changes. Their records lie in results/studies/<study>/runs, no cells of a table of scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.paper import RESULTS
from scripts.paper.selection import Runs, task_of
from scripts.paper.table import UNKNOWN, Cell, Table
from scripts.runs.config import leaves
from scripts.style import COLOURS
from tasks._registry import Metric
from tasks.checks import counted
from tasks.training.provenance import NOT_HASHED_AT
from tasks.training.records import Record, read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHARES = {"one_word_share": "one word, %", "peaked_share": "over .99, %", "fused_share": "fused whole, %"}
_OF = {"scale": "translation", "gigaword": "headlines", "snli_decomposable": "entailment without recurrence"}
_FUSED = {"segment_length": "segment length", "group_size": "group size"}
_VARIED = ("attention.learn", "task.model.scorer", "task.model.scorer_init_range", "trainer.anneal_gamma")


def gamma_study(results: Path = RESULTS, study: str = "scale") -> Runs:
    """The runs of a study of γ: by learning rate, the larger one first, then mapping, γ and λ."""
    return _by_strengths(read_records(results / "studies" / study / "runs"))


def lambda_study(results: Path = RESULTS) -> Runs:
    """The runs of the study of λ, with those of the study of γ that share its γ: sparsemax's λ is 0."""
    found = read_records(results / "studies" / "lambda" / "runs")
    settings = {(_lr(record), record.mapping_params["gamma"]) for record in found}
    mappings = {"sparsemax", *(record.mapping for record in found)}
    found += [
        record
        for record in gamma_study(results)
        if record.mapping in mappings and (_lr(record), record.mapping_params["gamma"]) in settings
    ]
    return _by_strengths(found)


def variants_study(results: Path = RESULTS) -> tuple[Runs, Sequence[str]]:
    """The runs of the study of variants after those of the recipe itself at the same γ, with the variant that
    each is, as the command line names it."""
    found = _by_strengths(read_records(results / "studies" / "variants" / "runs"))
    settings = {(_lr(record), record.mapping_params["gamma"]) for record in found}
    recipe = [run for run in gamma_study(results) if (_lr(run), run.mapping_params["gamma"]) in settings]
    variants = {run.id: _variant(run, {**NOT_HASHED_AT, **dict(leaves(recipe[0].config))}) for run in found}
    runs = [*recipe, *sorted(found, key=lambda run: variants[run.id])]
    return runs, [variants.get(run.id, "the recipe") for run in runs]


def _variant(run: Record, recipe: Mapping[str, Any]) -> str:
    given = {**recipe, **dict(leaves(run.config))}
    differs = [key for key in _VARIED if given.get(key) != recipe.get(key)]
    return ", ".join(f"{key}={given[key]}".replace("'", "") for key in differs)


def _by_strengths(records: Iterable[Record]) -> Runs:
    names = list(COLOURS)

    def place(record: Record) -> tuple[float, ...]:
        strengths = record.mapping_params
        return -_lr(record), names.index(record.mapping), strengths["gamma"], strengths.get("lam", 0)

    return sorted(records, key=place)


def _lr(record: Record) -> float:
    return float(record.config["optim"]["lr"])


def _attention(record: Record) -> Mapping[str, Any]:
    """What it does on dev after the last epoch."""
    dev: Mapping[str, Any] = record.history[-1]["dev"]
    return dev


def study_tables(results: Path = RESULTS) -> list[Table]:
    """A table of each study that has runs, with a row for each."""
    tables = []
    for study, model in _OF.items():
        if records := gamma_study(results, study):
            about = "λ is divided by γ, which holds γλ."
            title = f"Scores, γ and what is learnt in {model}"
            tables.append(_table(f"{study}-study", title, about, records))
    if records := lambda_study(results):
        about = "γ is held; sparsemax is λ = 0."
        tables.append(_table("lambda-study", "What fusing costs, and what is fused", about, records))
    records, variants = variants_study(results)
    if records:
        about = "γ where it is learnt: at first → in the last epoch."
        title = "Other ways to let scores be learnt in translation"
        tables.append(_table("variants-study", title, about, records, variants))
    return tables


def _table(name: str, title: str, about: str, records: Runs, variants: Sequence[str] = ()) -> Table:
    metric, first = task_of(records[0]).primary_metric, records[0]
    best = max(metric.scale * _attention(record)[metric.name] for record in records)
    rows = [_row(record, metric, best) for record in records]
    if variants:
        rows = [{"variant": Cell(name), **row} for name, row in zip(variants, rows, strict=True)]
    gradient = "; the scorer's gradient is its norm before it is clipped, the mean over an epoch"
    return Table(
        name, title,
        f"{first.corpus['name']}, recipe of tier {first.tier}, {counted(len(first.history), 'epoch')}, "
        f"seed {first.seed}, one run a row. {about} Shares, segments and groups are of the rows of attention "
        f"on dev after the last epoch{gradient if any('gradient' in head for head in rows[0]) else ''}.",
        tuple(rows[0]), tuple(tuple(row.values()) for row in rows),
    )  # fmt: skip


def _row(record: Record, metric: Metric, best: float) -> dict[str, Cell]:
    """The cells of a run under their heads."""

    def cell(value: float, form: str) -> Cell:
        return Cell(format(value, form), float(value), (record.id,), best=value == best)

    strengths, attention = record.mapping_params, _attention(record)
    row = {"lr": Cell(f"{_lr(record):g}"), "mapping": Cell(record.mapping)}
    for sign, name in (("γ", "gamma"), ("λ", "lam")):
        row[sign] = Cell(f"{strengths[name]:g}", strengths[name]) if name in strengths else Cell(UNKNOWN)
    if "gamma" in record.history[-1]["attention"]:
        row["γ"] = replace(row["γ"], text=f"{row['γ'].text} → {record.history[-1]['attention']['gamma']:.2f}")
    first_and_last = {1: record.history[0], len(record.history): record.history[-1]}
    for number, epoch in first_and_last.items():
        row[f"dev {metric.label}, epoch {number}"] = cell(metric.scale * epoch["dev"][metric.name], ".1f")
    row |= {head: cell(100 * attention[key], ".0f") for key, head in _SHARES.items()}
    row |= {head: cell(attention[key], ".2f") for key, head in _FUSED.items()}
    for number, epoch in first_and_last.items():
        if "scorer_gradient" in epoch["attention"]:  # one without weights has none
            row[f"scorer's gradient, epoch {number}"] = cell(epoch["attention"]["scorer_gradient"], ".3f")
    return row


def scale_figure(records: Runs) -> Figure:
    """The dev metric, the share of rows with one dominant word, and the scorer's gradient, against γ, in a
    row of panels for each learning rate."""
    metric = task_of(records[0]).primary_metric
    panels = {
        f"dev {metric.label}": lambda record: metric.scale * _attention(record)[metric.name],
        "rows over .99, %": lambda record: 100 * _attention(record)["peaked_share"],
        "scorer's gradient": lambda record: record.history[-1]["attention"]["scorer_gradient"],
    }
    rates = {lr: list(runs) for lr, runs in groupby(records, key=_lr)}
    gammas = sorted({run.mapping_params["gamma"] for run in records})
    from matplotlib.figure import Figure  # which tables need not wait for

    figure = Figure(figsize=(9.0, 0.6 + 2.5 * len(rates)), layout="constrained")
    grid = figure.subplots(len(rates), len(panels), squeeze=False)
    for row, (lr, trained) in zip(grid, rates.items(), strict=True):
        for axes, (title, value) in zip(row, panels.items(), strict=True):
            for mapping, found in groupby(trained, key=lambda record: record.mapping):
                points = [(run.mapping_params["gamma"], value(run)) for run in found]
                axes.plot(
                    *zip(*points, strict=True),
                    color=COLOURS[mapping],
                    marker="o",
                    markersize=3,
                    label=mapping,
                )
            axes.set_title(f"{title}, lr {lr:g}", loc="left", fontsize=9)
            axes.set_xscale("log", base=2)
            axes.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas])
    for axes in grid[-1]:
        axes.set(xlabel="γ")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    return figure
