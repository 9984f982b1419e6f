"""Attention as a heat map: weights as shaded cells, zeros white, merged groups outlined.

:func:`regattn.plot` is the public function; a picture of several panels is laid out by :func:`lay_out`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.style import context

_FONT = "DejaVu Sans"
GROUP_COLOURS = ("#d95f02", "#7b3294", "#1b7837", "#c51b7d", "#8c510a", "#444444")
_PAGE, _GAP = 17.0, 0.4  # inches, as all lengths here: most width of a line of panels; room for a title
_CELL, _LEGIBLE, _LEAST = 0.38, 0.12, 0.2  # sides of a cell: usual, least side by side, least alone
_WORDS, _TITLE, _SLOPE = 9.0, 10.0, 50  # points; degrees of the words below
_EDGE = 0.1  # round everything
_NUMBERS, _NUMBERED = 90, 0.3  # with more non-zero cells or smaller ones, numbers only disturb


@dataclass(frozen=True, eq=False)
class Panel:
    """One grid of a picture.

    Args:
        title: stands above it.
        weights: (targets, sources) in [0, 1]; exact zeros stay white.
        source: words along x.
        target: words along y; none are written by default.
        groups: integers like ``weights``, 0 outside the support: cells of a row with the same number are
            merged. Each stretch of a merged group gets one box, all of them in the group's colour.

    Raises:
        ValueError: shapes that do not fit together, weights outside [0, 1], groups that are not integers, or
            nothing to draw.
    """

    title: str
    weights: np.ndarray
    source: Sequence[str]
    target: Sequence[str] | None = None
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights)
        rows = weights.shape[0] if weights.ndim == 2 else 1
        shape = (rows if self.target is None else len(self.target), len(self.source))
        if weights.shape != shape:
            raise ValueError(f"weights must have shape {shape} (targets, sources), got {weights.shape}")
        if weights.size == 0:
            raise ValueError(f"weights must have at least one row and one column, got shape {weights.shape}")
        if not ((weights >= 0) & (weights <= 1 + 1e-5)).all():
            raise ValueError(f"weights must lie in [0, 1], got {weights.min()} ... {weights.max()}")
        groups = weights if self.groups is None else np.asarray(self.groups)
        if groups.shape != shape or not (self.groups is None or np.issubdtype(groups.dtype, np.integer)):
            raise ValueError(f"groups must be integers of shape {shape}, got {groups.dtype} {groups.shape}")


class _Picture(Figure):
    """A figure that notebooks show without ``%matplotlib inline``, which alone makes them show others."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100, bbox_inches="tight")
        return file.getvalue()


def lay_out(lines: Sequence[Sequence[Panel]]) -> Figure:
    """A figure of several panels, as large as they need, whatever the user's settings are.

    Panels of one line stand side by side, with cells as small as that needs; a line is broken where they
    would be too small to read. Flat panels, of three rows at most, stand one above the other instead. Words
    that a panel shares with its neighbour are written once.

    Raises:
        ValueError: no panels.
    """
    if not any(lines):
        raise ValueError("a picture must have at least one panel, got none")
    with context(["default", {"font.family": _FONT}]):
        return _figure([list(line) for line in lines if line])


def _figure(given: list[list[Panel]]) -> Figure:
    cells, broken = zip(*map(_layout, given), strict=True)
    cell, lines = min(cells), [line for parts in broken for line in parts]
    below = [_below(line, after) for line, after in zip(lines, [*lines[1:], []], strict=True)]
    gaps = [_GAP if any(panel.title for panel in line) else _EDGE for line in lines]
    heights = [gap + cell * max(len(p.weights) for p in line) for gap, line in zip(gaps, lines, strict=True)]
    margin = max(_beside(line[0], cell) for line in lines)
    page = (margin + max(_width(line, cell) for line in lines) + _EDGE, sum(heights) + sum(below) + _EDGE)
    figure = _Picture(figsize=page)
    top = page[1]
    for line, gap, height, room in zip(lines, gaps, heights, below, strict=True):
        left = margin
        for panel, before in zip(line, [None, *line], strict=False):
            left += _between(before, panel) if before else 0.0
            rows, columns = np.shape(panel.weights)
            width, bottom = cell * columns, top - gap - cell * rows
            axes = figure.add_axes((left / page[0], bottom / page[1], width / page[0], cell * rows / page[1]))
            title = _length(panel.title, _TITLE)
            side: Literal["center", "left"] = "center" if title <= width else "left"
            axes.set_title(panel.title, loc=side, parse_math=False, fontsize=_TITLE)
            _label(axes, panel, cell, below=room > 0, beside=before is None or panel.target != before.target)
            _draw(axes, panel, cell)
            left += max(width, title)
        top -= height + room
    return figure


def _beside(panel: Panel, cell: float) -> float:
    """Room on the left of the first panel of a line, for its words and the slanted ones below it."""
    slanted = (
        _length(word, _WORDS) * math.cos(math.radians(_SLOPE)) - (place + 0.5) * cell
        for place, word in enumerate(panel.source)
    )
    return max(0.0, *(_length(word, _WORDS) for word in panel.target or ("",)), *slanted) + _EDGE


def _width(line: list[Panel], cell: float) -> float:
    """Of the panels of a line."""
    panels = sum(max(cell * np.shape(panel.weights)[1], _length(panel.title, _TITLE)) for panel in line)
    return panels + sum(_between(*pair) for pair in pairwise(line))


def _layout(line: list[Panel]) -> tuple[float, list[list[Panel]]]:
    """The side of a cell, and the line broken into even lines, as few as leave the cells legible."""
    flat = all(len(panel.weights) <= 3 for panel in line)
    for columns in () if flat else dict.fromkeys(-(-len(line) // n) for n in range(1, len(line))):
        lines = [line[start : start + columns] for start in range(0, len(line), columns)]
        cell = min(map(_fitting, lines))
        if cell >= _LEGIBLE:
            return cell, lines
    alone = [[panel] for panel in line]
    return max(_LEAST, min(map(_fitting, alone))), alone


def _fitting(line: list[Panel]) -> float:
    """The largest side of a cell with which a line fits the page."""
    rows, columns = zip(*(np.shape(panel.weights) for panel in line), strict=True)
    rest = _PAGE - sum(_between(*pair) for pair in pairwise(line))
    return min(_CELL, rest / sum(columns), _PAGE / max(rows))


def _between(before: Panel, panel: Panel) -> float:
    """Room between two panels, for the words of the second unless it shares the first one's."""
    words = () if panel.target == before.target else panel.target or ()
    return _GAP + max((_length(word, _WORDS) for word in words), default=0.0)


def _below(line: list[Panel], after: list[Panel]) -> float:
    """Room for the source words below a line; none in a column of panels that share them with the next."""
    if len(line) == len(after) == 1 and line[0].source == after[0].source:
        return 0.0
    longest = max(_length(word, _WORDS) for panel in line for word in panel.source)
    return longest * math.sin(math.radians(_SLOPE)) + _WORDS / 72


def _length(text: str, points: float) -> float:
    """How long a text is at most: whole pixels make letters of a screen up to a twentieth wider."""
    font = get_font(findfont(_FONT))
    font.set_size(points, 720)
    font.set_text(text)
    return 1.05 * float(font.get_width_height()[0]) / 64 / 720


def _label(axes: Axes, panel: Panel, cell: float, *, below: bool, beside: bool) -> None:
    """Write the words and rule the grid."""
    rows, columns = np.shape(panel.weights)
    source, target = panel.source if below else None, panel.target if beside else None
    size = min(_WORDS, 50 * cell)  # slanted lines of words lie 0.77 cells apart
    for axis, words, count in ((axes.xaxis, source, columns), (axes.yaxis, target, rows)):
        axis.set_ticks(np.arange(count) + 0.5, words or [""] * count, parse_math=False, fontsize=size)
    for text in axes.get_xticklabels():
        text.set(rotation=_SLOPE, ha="right", va="center", rotation_mode="anchor")
    # Not the axes' own grid, whose ticks take longer than all the rest.
    ruled: dict[str, Any] = {"color": "#ebebeb", "linewidth": 0.6, "zorder": 0.5}
    axes.hlines(range(1, rows), 0, columns, **ruled)
    axes.vlines(range(1, columns), 0, rows, **ruled)
    axes.tick_params(length=0)
    axes.tick_params("x", pad=5)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.6)


def _draw(axes: Axes, panel: Panel, cell: float) -> None:
    """Shade the cells, write the numbers, outline the groups."""
    weights = np.asarray(panel.weights)
    # A border tells a small weight from an exact zero; without zeros, as under softmax, it tells nothing.
    border = "#7f9db9" if (weights == 0).any() else "none"
    numbers = np.count_nonzero(weights) <= _NUMBERS and cell >= _NUMBERED
    cells = []
    for row, column in np.argwhere(weights > 0).tolist():
        weight = float(weights[row, column])
        shade = colormaps["Blues"](0.08 + 0.82 * weight)
        cells.append(Rectangle((column, row), 1, 1, facecolor=shade, edgecolor=border, linewidth=0.7))
        if numbers:
            colour = "white" if weight > 0.6 else "black"
            place = (column + 0.5, row + 0.52)
            axes.text(*place, _short(weight), color=colour, fontsize=18 * cell, ha="center", va="center")
    axes.add_collection(PatchCollection(cells, match_original=True), autolim=False)
    for row, labels in enumerate(() if panel.groups is None else np.asarray(panel.groups)):
        for start, stop, colour in merged_stretches(labels):
            box = Rectangle((start + 0.05, row + 0.05), stop - start - 0.1, 0.9, fill=False, zorder=3)
            box.set(edgecolor=colour, linewidth=min(2.0, 8 * cell))
            axes.add_patch(box)


def merged_stretches(labels: np.ndarray) -> list[tuple[int, int, str]]:
    """Find the stretches of the groups with two or more members in one row.

    Returns:
        Start, stop and colour of each, from left to right; stretches of one group have one colour.

    Example:
        >>> [stretch[:2] for stretch in merged_stretches(np.array([1, 1, 0, 2, 1, 3]))]
        [(0, 2), (4, 5)]
    """
    numbers, firsts, counts = np.unique(labels, return_index=True, return_counts=True)
    merged = [int(numbers[k]) for k in np.argsort(firsts) if numbers[k] and counts[k] > 1]
    colours = {label: GROUP_COLOURS[k % len(GROUP_COLOURS)] for k, label in enumerate(merged)}
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [(a, b, colours[int(labels[a])]) for a, b in pairwise(edges) if int(labels[a]) in colours]


def _short(weight: float) -> str:
    """Two digits without the leading zero, to fit the cell."""
    if weight < 0.005:
        return "<.01"
    return f"{weight:.2f}".lstrip("0") if weight < 0.995 else "1"
