"""The plots of a benchmark, drawn from its results and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from scripts.bench.render import Section, mean_ratio, nanoseconds_per_score, ordered, short
from scripts.style import COLOURS, house_style, name_lines, new_figure, save_figure

PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def draw(sections: Mapping[str, Section], path: Path) -> dict[str, str]:
    """Draw every section that has a plot beside ``path``, and return the file names."""
    drawn = {}
    for name, plot in _PLOTS.items():
        section = sections.get(name)
        if section and section["cells"]:
            target = path.with_name(f"{path.stem}-{name}.png")
            with house_style():
                save_figure(plot(section), target, bbox_inches="tight")
            drawn[name] = target.name
    return drawn


# ------------------------------------------------------------------ a row of points for each implementation
def plot_shapes(section: Section) -> Figure:
    """A point for each shape, darker for longer rows, and the mean."""
    first = min(cell["threads"] for cell in section["cells"])
    wanted = (first, section["cells"][0]["dtype"], "both")
    cells = [c for c in section["cells"] if (c["threads"], c["dtype"], c["direction"]) == wanted]
    names = [n for n in ordered(section) if section["implementations"][n]["kind"] in ("ours", "other")][::-1]
    lengths, scales = (sorted({cell[of] for cell in cells}) for of in ("d", "scale"))
    shades = dict(zip(lengths, np.linspace(0.25, 1, len(lengths)), strict=True))
    figure, axes = new_figure(0.36 * len(names) + 1.1)
    labels = {}
    for height, name in enumerate(names):
        colour = _colour(section, name)
        for cell in cells:
            if name in cell["results"]:
                marker = "o" if cell["scale"] == scales[0] else "D"
                axes.plot(
                    cell["results"][name]["ratio"], height, marker, color=colour, alpha=shades[cell["d"]],
                    markersize=6, markeredgewidth=0,
                )  # fmt: skip
        if mean := mean_ratio(cells, name):
            axes.plot([mean, mean], [height - 0.36, height + 0.36], color=colour, linewidth=2.5)
            labels[name] = short(mean)
    _name_rows(axes, section, names, labels)
    axes.axvline(1, color="black", linewidth=1)
    key = f"d = {', '.join(map(str, lengths))} from pale to dark; ○ scores × {scales[0]:g}"
    key += "".join(f", ◇ × {scale:g}" for scale in scales[1:]) + "; bar and number: geometric mean"
    axes.set(xscale="log", xlabel=f"times torch.softmax, forward and backward, threads: {first}\n{key}")
    axes.xaxis.set_major_formatter(PLAIN)
    return figure


def _name_rows(axes: Axes, section: Section, names: Sequence[str], labels: Mapping[str, str]) -> None:
    """Names on the left of the rows, and on the right what is to be read of them."""
    axes.grid(axis="y", visible=False)
    axes.set_yticks(range(len(names)), names)
    for height, (tick, name) in enumerate(zip(axes.get_yticklabels(), names, strict=True)):
        is_ours = section["implementations"][name]["kind"] == "ours"
        style: dict[str, Any] = {
            "color": _colour(section, name),
            "fontweight": "bold" if is_ours else "normal",
        }
        tick.set(**style)
        place = (1.01, height)
        axes.annotate(labels.get(name, ""), place, xycoords=("axes fraction", "data"), va="center", **style)


# ------------------------------------------------------------------ a line for each implementation
def plot_length(section: Section) -> Figure:
    """Time per score against d."""
    figure, axes = new_figure(5.2)
    _plot_lines(axes, section, lambda cell: cell["d"])
    total = section["cells"][0]["rows"] * section["cells"][0]["d"]
    axes.set_xlabel(f"scores in a row, d ({total:,} scores in all)")
    lengths = [cell["d"] for cell in section["cells"]]
    axes.set_xticks(lengths, [f"{d:,}" if k % 2 == 0 else "" for k, d in enumerate(lengths)])
    return figure


def plot_strength(section: Section) -> Figure:
    """Time per score against λ; λ = 0 has a place of its own on the left."""
    figure, axes = new_figure(4.4)
    positive = [cell["lam"] for cell in section["cells"] if cell["lam"] > 0]
    zero = min(positive) / 10 ** (2 / 3)
    _plot_lines(axes, section, lambda cell: cell["lam"] or zero)
    axes.set_xlabel("λ")
    decades = [lam for lam in positive if abs(np.log10(lam) - round(np.log10(lam))) < 1e-9]
    axes.set_xticks([zero, *decades], ["0", *(f"{lam:g}" for lam in decades)])
    return figure


def _plot_lines(axes: Axes, section: Section, x: Callable[[Section], float]) -> None:
    """Ours strong, others thin and dashed, the baseline dotted; named in the order in which they end."""
    for name in ordered(section):
        kind = section["implementations"][name]["kind"]
        cells = [cell for cell in section["cells"] if name in cell["results"]]
        if kind == "memcpy" or not cells:
            continue
        times = [nanoseconds_per_score(cell, name) for cell in cells]
        axes.plot(
            [x(cell) for cell in cells], times, label=name, color=_colour(section, name), markersize=3.5,
            linewidth=1.1 if kind == "other" else 2.4, marker=None if kind == "other" else "o",
            linestyle={"baseline": ":", "other": "--"}.get(kind, "-"),
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylabel="nanoseconds per score,\nforward and backward, one thread")
    axes.yaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())
    name_lines(axes)


def _colour(section: Section, name: str) -> str:
    return COLOURS[section["implementations"][name]["mapping"]]


_PLOTS: dict[str, Callable[[Section], Figure]] = {
    "shapes": plot_shapes,
    "length": plot_length,
    "strength": plot_strength,
}
