"""Learning curves, and figure 1 of the paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import regattn
from scripts.paper.selection import Runs, by_label
from scripts.style import COLOURS, name_lines
from tasks._registry import Metric

_DASHES = ("-", "--", ":", "-.")  # lines of one mapping with different strengths
_SIGNS = {"lam": "λ", "p": "p"}
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
    for label, found in rows.items():
        values, mapping = dev_curves(found, metric), found[0].mapping
        mean, epochs = values.mean(0), np.arange(1, values.shape[1] + 1)
        name = f"{label if count[mapping] > 1 else mapping} {mean[-1]:.1f}"
        colour, dashes = COLOURS.get(mapping, COLOURS[""]), _DASHES[drawn[mapping] % len(_DASHES)]
        axes.plot(epochs, mean, dashes, color=colour, marker="o", markersize=3, label=name)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.13, linewidth=0)
        drawn[mapping] += 1
    name_lines(axes)
    axes.set(xlabel="epoch", ylabel=f"dev {metric.label}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def curves_figure(panels: Sequence[tuple[str, Runs]], metric: Metric, width: float, height: float) -> Figure:
    """A figure with one panel below the other.

    Args:
        panels: titles, which may repeat or be empty, and runs, all of which have a history.
        metric: that of the curves.
        width, height: of a panel in inches, names of the lines included.
    """
    figure = Figure(figsize=(width, height * len(panels)), layout="constrained")
    places = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, (title, runs) in zip(places, panels, strict=True):
        draw_curves(axes, runs, metric)
        axes.set_title(title, loc="left", fontsize=9, parse_math=False)
    return figure


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
        own = [f"{_SIGNS[key]} = {value:g}" for key, value in mapping.strengths.items() if key != "gamma"]
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
