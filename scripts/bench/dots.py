"""Pictures with a line of dots for each contestant."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from scripts.bench.words import Section, mean_ratio, ordered
from scripts.style import COLOURS, new_figure


def draw_shapes(section: Section) -> Figure:
    """One line for each contestant: a dot for each shape, darker for longer rows, and the mean."""
    first = min(cell["threads"] for cell in section["cells"])
    dtype = section["cells"][0]["dtype"]
    cells = [c for c in section["cells"] if (c["threads"], c["dtype"]) == (first, dtype)]
    cells = [c for c in cells if c["direction"] == "both"]
    names = [n for n in ordered(section) if section["contestants"][n]["origin"] in ("ours", "peer")][::-1]
    figure, axes = new_figure(0.36 * len(names) + 1.1)
    shades = np.linspace(0.25, 1, len({cell["d"] for cell in cells}))
    lengths, scales = (sorted({cell[of] for cell in cells}) for of in ("d", "scale"))
    for height, name in enumerate(names):
        who = section["contestants"][name]
        colour, ours = COLOURS[who["family"]], who["origin"] == "ours"
        for cell in cells:
            if name in cell["results"]:
                place = cell["results"][name]["ratio"]
                shade = shades[lengths.index(cell["d"])]
                marker = "o" if cell["scale"] == scales[0] else "D"
                axes.plot(place, height, marker, color=colour, alpha=shade, markersize=6, markeredgewidth=0)
        if mean := mean_ratio(cells, name):
            axes.plot([mean, mean], [height - 0.36, height + 0.36], color=colour, linewidth=2.5)
            label = f"{mean:.1f}" if mean < 10 else f"{mean:.0f}"
            axes.annotate(label, (1.01, height), xycoords=("axes fraction", "data"), va="center",
                          color=colour, fontweight="bold" if ours else "normal")  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    for text, name in zip(axes.get_yticklabels(), names, strict=True):
        who = section["contestants"][name]
        text.set(color=COLOURS[who["family"]], fontweight="bold" if who["origin"] == "ours" else "normal")
    key = f"d = {', '.join(map(str, lengths))} from pale to dark; ○ scores × {scales[0]:g}"
    key += "".join(f", ◇ × {scale:g}" for scale in scales[1:]) + "; bar and number: geometric mean"
    axes.set(xscale="log", xlabel=f"times torch.softmax, forward and backward, threads: {first}\n{key}")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y", visible=False)
    return figure


def draw_training(section: Section) -> Figure:
    """Time of a step over that with softmax, with quartiles."""
    (cell,) = section["cells"]
    names = ordered(section)[::-1]
    figure, axes = new_figure(2.4)
    for height, name in enumerate(names):
        row, colour = cell["results"][name], COLOURS[section["contestants"][name]["family"]]
        low, high = (100 * (value - 1) for value in row["ratio_quartiles"])
        middle = 100 * (row["ratio"] - 1)
        axes.plot([low, high], [height, height], color=colour, linewidth=2, alpha=0.5)
        axes.plot(middle, height, "o", color=colour, markersize=7)
        label = f"{1e3 * row['seconds']:.1f} ms, {middle:+.1f} %"
        axes.annotate(label, (1.01, height), xycoords=("axes fraction", "data"), va="center", color=colour)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set(
        ylim=(-0.6, len(names) - 0.4),
        xlabel="longer than a training step with softmax, %\n"
        f"(SNLI model, batch {section['batch']}, one thread)",
    )
    axes.grid(axis="y", visible=False)
    return figure
