"""Pictures with a line for each contestant: ours strong, peers thin and dashed, names at the ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from scripts.bench.words import Section, ordered
from scripts.style import COLOURS, new_figure


def draw_length(section: Section) -> Figure:
    """Lines of the time per score against d."""
    figure, axes = new_figure(5.2)
    _lines(axes, section, lambda cell: cell["d"])
    total = section["cells"][0]["rows"] * section["cells"][0]["d"]
    axes.set(xscale="log", xlabel=f"scores in a row, d ({total:,} scores in all)")
    places = [cell["d"] for cell in section["cells"]]
    axes.set_xticks(places, [f"{d:,}" if k % 2 == 0 else "" for k, d in enumerate(places)])
    axes.xaxis.set_minor_locator(NullLocator())
    return figure


def draw_strength(section: Section) -> Figure:
    """Lines of the time per score against λ; λ = 0 has a place of its own on the left."""
    figure, axes = new_figure(4.4)
    positive = [cell["lam"] for cell in section["cells"] if cell["lam"] > 0]
    zero = min(positive) / 10 ** (2 / 3)
    _lines(axes, section, lambda cell: cell["lam"] or zero)
    axes.set(xscale="log", xlabel="λ")
    decades = [lam for lam in positive if abs(np.log10(lam) - round(np.log10(lam))) < 1e-9]
    axes.set_xticks([zero, *decades], ["0", *(f"{lam:g}" for lam in decades)])
    axes.xaxis.set_minor_locator(NullLocator())
    return figure


def _lines(axes: Axes, section: Section, x: Callable[[Section], float]) -> None:
    """Time per score of everyone, each line with its name at its end."""
    ends = []
    for name in ordered(section):
        who = section["contestants"][name]
        cells = [cell for cell in section["cells"] if name in cell["results"]]
        if who["origin"] == "floor" or not cells:
            continue
        heights = [1e9 * c["results"][name]["seconds"] / c["rows"] / c["d"] for c in cells]
        axes.plot([x(c) for c in cells], heights, **_pen(who))
        ends.append((heights[-1], name, who, x(cells[-1])))
    axes.set(yscale="log", ylabel="nanoseconds per score,\nforward and backward, one thread")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _name_lines(axes, ends)


def _name_lines(axes: Axes, ends: Sequence[tuple[float, str, Section, float]]) -> None:
    """Write names beside the ends of lines, moved apart where they would cover each other."""
    low, high = np.log(axes.get_ylim())
    step = (high - low) * 10.5 / (_height(axes) * 72 * 0.85)  # a line of print
    ends = sorted(ends, key=lambda end: end[0])
    places = _apart([float(np.log(end[0])) for end in ends], step)
    for (height, name, who, right), place in zip(ends, places, strict=True):
        ours = who["origin"] != "peer"
        axes.annotate(
            name,
            xy=(right, height),
            xytext=(1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=COLOURS[who["family"]],
            fontweight="bold" if ours else "normal",
            fontsize=8.5,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2},
        )


def _height(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure.get_figheight()


def _apart(wanted: Sequence[float], step: float) -> list[float]:
    """Ascending places at least ``step`` apart, as near to the wanted ones as pairs can be pushed."""
    places = list(wanted)
    for _ in range(200):
        for k in range(len(places) - 1):
            lack = step - (places[k + 1] - places[k])
            if lack > 1e-9:
                places[k] -= lack / 2
                places[k + 1] += lack / 2
    return places


def _pen(who: Section) -> dict[str, Any]:
    ours = who["origin"] != "peer"
    return {
        "color": COLOURS[who["family"]],
        "linewidth": 2.4 if ours else 1.1,
        "linestyle": ":" if who["origin"] == "unit" else "-" if ours else "--",
        "marker": "o" if ours else None,
        "markersize": 3.5,
        "alpha": 1.0 if ours else 0.85,
    }
