"""Learning curves, figure 1 of the paper, and the pictures of the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import regattn
from regattn._heatmap import merged_stretches
from scripts.paper.selection import SIGNS, Corpus, Runs, by_label, example_rows, strengths_label, task_of
from scripts.style import COLOURS, drawn, house_style, name_lines, whole_words
from tasks._registry import Metric
from tasks.attention import AttentionGrid
from tasks.training.records import Record

_DASHES = ("-", "--", ":", "-.")  # lines of one mapping with different strengths
_ALSO = {"fusedmax": "fusedmax and oscarmax"}  # which are one in two dimensions
_SPAN, _POINTS = 3.0, 601


def dev_curves(runs: Runs, metric: Metric) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The dev metric of every epoch, 0 to 100, as long as all runs go on; (runs, epochs)."""
    rows = [[metric.scale * entry["dev"][metric.name] for entry in run.history] for run in runs]
    return np.array(list(zip(*rows, strict=False))).T


def draw_curves(axes: Axes, runs: Runs, metric: Metric) -> None:
    """A line for each mapping, the mean over its seeds, before a band from the lowest to the highest.

    The names stand beside it in the order in which the lines end, with what they end at; strengths are named
    where one mapping has several.
    """
    rows = by_label(runs)
    count = Counter(found[0].mapping for found in rows.values())
    drawn: Counter[str] = Counter()
    for found in rows.values():
        values, mapping = dev_curves(found, metric), found[0].mapping
        mean, epochs = values.mean(0), np.arange(1, values.shape[1] + 1)
        strengths = f", {strengths_label(found[0])}:" if count[mapping] > 1 else ""
        name = f"{mapping}{strengths} {mean[-1]:.1f}"
        colour, dashes = COLOURS.get(mapping, COLOURS[""]), _DASHES[drawn[mapping] % len(_DASHES)]
        axes.plot(epochs, mean, dashes, color=colour, marker="o", markersize=3, label=name)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.13, linewidth=0)
        drawn[mapping] += 1
    name_lines(axes)
    axes.set(xlabel="epoch", ylabel=f"dev {metric.label}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def mappings_figure() -> Figure:
    """Figure 1: the regularized maximum of (t, 0), left, and the weight of its first score, right."""
    t = torch.linspace(-_SPAN, _SPAN, _POINTS, dtype=torch.float64)
    scores = torch.stack([t, torch.zeros_like(t)], -1)
    figure = Figure(figsize=(8.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    # Of the strengths the paper states p alone.
    for mapping in (
        regattn.Softmax(),
        regattn.Sparsemax(),
        regattn.Fusedmax(lam=0.5),
        regattn.PNormmax(p=1.5),
    ):
        name = mapping.function.__name__
        own = [
            f"{SIGNS.get(key, key)} = {value:g}" for key, value in mapping.strengths.items() if key != "gamma"
        ]
        style: dict[str, Any] = {"color": COLOURS[name], "label": ", ".join([_ALSO.get(name, name), *own])}
        left.plot(t, regattn.max_omega(scores, mapping), **style)
        right.plot(t, mapping(scores)[:, 0], **style)
    for axes, title, of in (
        (left, "max$_Ω$(t, 0)", "value"),
        (right, "Π$_Ω$(t, 0)", "weight of the first score"),
    ):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set(xlabel="t, the first score (the second is 0)", ylabel=of, xlim=(-_SPAN, _SPAN))
    left.legend(frameon=False, loc="upper left")
    return figure


# ------------------------------------------------------------------ of the page
Group = tuple[Corpus, str, Mapping[str, Runs]]
"""Runs with one corpus, tier and setting, under mapping and strengths."""
HeatCell = tuple[float, str, str]
"""A weight, and how its group is outlined: classes and colour."""


class Heatmap(NamedTuple):
    """Attention over one sentence, which stands downwards; of each run a column for each target."""

    corpus: Corpus
    setting: str
    blocks: Sequence[tuple[Record, Sequence[str]]]  # the runs, each with its targets
    rows: Sequence[tuple[str, Sequence[Sequence[HeatCell]]]]  # the words, each with its cells, block by block

    @property
    def columns(self) -> int:
        return sum(len(targets) for _, targets in self.blocks)

    @property
    def is_single(self) -> bool:
        """Whether each run has one target, so that there is room for numbers."""
        return all(len(targets) == 1 for _, targets in self.blocks)


def heatmaps(groups: Iterable[Group], details: Path) -> Iterator[Heatmap]:
    """What there is to look at, in the page's order: of each mapping the run with the first seed."""
    for corpus, setting, rows in groups:
        for row in example_rows([run for runs in rows.values() for run in runs], details):
            found: dict[tuple[str, ...], list[tuple[Record, AttentionGrid]]] = {}
            for run, example in row:
                whole = whole_words(example).rounded(3)
                found.setdefault(tuple(whole.source), []).append((run, whole))
            for examples in found.values():
                yield heatmap(corpus, setting, examples)


def heatmap(corpus: Corpus, setting: str, examples: Sequence[tuple[Record, AttentionGrid]]) -> Heatmap:
    """The picture of several attentions over one sentence."""
    blocks = [
        zip(*map(_cells, example.weights, example.groups), strict=True)  # a row for each word of the source
        for _, example in examples
    ]
    words = examples[0][1].source
    rows = list(zip(words, zip(*blocks, strict=True), strict=True))
    return Heatmap(corpus, setting, [(run, example.target) for run, example in examples], rows)


def _cells(weights: Sequence[float], groups: Sequence[int]) -> list[HeatCell]:
    outlines = dict.fromkeys(range(len(weights)), ("", ""))
    for start, stop, colour in merged_stretches(np.array(groups)):
        for place in range(start, stop):
            ends = ["starts"] * (place == start) + ["stops"] * (place == stop - 1)
            outlines[place] = " ".join(["in", *ends]), colour
    return [(weight, *outlines[place]) for place, weight in enumerate(weights)]


def chart(corpus: Corpus, setting: str, rows: Mapping[str, Runs]) -> tuple[Corpus, str, Markup]:
    """Learning curves: of which corpus, caption and picture."""
    runs = [run for found in rows.values() for run in found]
    metric, seeds = task_of(runs[0]).primary_metric, sorted({run.seed for run in runs})
    of = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    caption = f"dev {metric.label} after each epoch; {of}; {setting}"
    with house_style():
        figure = Figure(figsize=(3.9, 2.4), layout="constrained")
        draw_curves(figure.subplots(), runs, metric)
    return corpus, caption, svg(figure, f"{corpus.title}: {caption}")


def svg(figure: Figure, label: str) -> Markup:
    """A figure as a part of the page: in its ink and fonts, by light and by dark."""
    with house_style(), rc_context({"svg.hashsalt": label}):  # ids that no other figure has
        text = drawn(figure, ".svg", transparent=True, bbox_inches="tight").decode()
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"|<style.*?</style>', "", text[text.index("<svg ") :], flags=re.S)
    for fixed, ours in (
        ("#000000", "currentColor"),
        ("#e6e6e6", "var(--rule)"),
        ("'DejaVu Sans'", "var(--sans)"),
    ):
        text = text.replace(fixed, ours)
    return Markup(text.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(label), 1))
