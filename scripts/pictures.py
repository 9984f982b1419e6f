"""Attention on paper: weights as shaded cells, zeros white, merged groups outlined."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.style import context

from tasks.grid import AttentionGrid

Panels = Mapping[str, tuple[np.ndarray, np.ndarray | None]]

# Left to itself, each format would carry its date or the drawing library's version.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}
_STYLE = {"font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "attention", "pdf.fonttype": 42}
_GROUP_COLOURS = ("#d95f02", "#7b3294", "#1b7837", "#c51b7d", "#8c510a", "#444444")
_PAGE, _GAP = 15.0, 0.4  # inches: width at which a line of panels is broken; room for a title
_NUMBERS = 90  # more non-zero cells than this, and numbers only disturb


def draw_attention(
    path: Path | str,
    weights: np.ndarray,
    source: Sequence[str],
    target: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
    title: str | None = None,
) -> None:
    """Save a picture of attention weights, one row for each target.

    Args:
        path: where to, ending in ``.png``, ``.pdf`` or ``.svg``; a missing directory is made.
        weights: (targets, sources) in [0, 1]; exact zeros stay white, other cells get a border.
        source: words along x.
        target: words along y; none are written by default.
        groups: integers like ``weights``, 0 outside the support: cells of a row with the same number are
            merged. Each stretch of a merged group gets one box, all of them in the group's colour.
        title: stands above the picture.

    Raises:
        ValueError: shapes that do not fit together, weights outside [0, 1], groups that are not integers,
            nothing to draw, or another ending.
    """
    draw_mappings(path, {title or "": (weights, groups)}, source, target)


def draw_grid(path: Path, grid: AttentionGrid, title: str) -> Path:
    """Save the picture of one item's attention, and return where."""
    draw_attention(path, grid.weights.numpy(), grid.source, grid.target, grid.groups.numpy(), title)
    return path


def draw_mappings(
    path: Path | str, panels: Panels, source: Sequence[str], target: Sequence[str] | None = None
) -> None:
    """Save pictures of several mappings over the same words, side by side where the page is wide enough.

    Args:
        panels: for each title its weights and its groups (or None), as for :func:`draw_attention`.
        path, source, target: as for :func:`draw_attention`; all panels have the same shape.

    Raises:
        ValueError: as for :func:`draw_attention`, or no panels.
    """
    path = Path(path)
    if path.suffix not in _METADATA:
        raise ValueError(f"path must end in {', '.join(_METADATA)}, got {path.name!r}")
    if not panels:
        raise ValueError("panels must hold at least one mapping, got none")
    shape = (_rows(panels, target), len(source))
    checked = {title: _checked(*panel, shape) for title, panel in panels.items()}
    with context(["default", _STYLE]):
        figure = _figure(checked, source, target)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Words may be of any length: the page grows round them, the cells keep their size.
        figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.1, metadata=_METADATA[path.suffix])


def _rows(panels: Panels, target: Sequence[str] | None) -> int:
    """How many rows each panel must have: one for each target, else as many as the first."""
    if target is not None:
        return len(target)
    first = np.shape(next(iter(panels.values()))[0])
    return first[0] if len(first) == 2 else 1


def _checked(
    weights: np.ndarray, groups: np.ndarray | None, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, all groups 0 where none were given."""
    weights = np.asarray(weights)
    if weights.shape != shape:
        raise ValueError(f"weights must have shape {shape} (targets, sources), got {weights.shape}")
    if weights.size == 0:
        raise ValueError(f"weights must have at least one row and one column, got shape {weights.shape}")
    if not ((weights >= 0) & (weights <= 1 + 1e-5)).all():
        raise ValueError(f"weights must lie in [0, 1], got {weights.min()} ... {weights.max()}")
    groups = np.zeros(weights.shape, dtype=int) if groups is None else np.asarray(groups)
    if groups.shape != weights.shape or not np.issubdtype(groups.dtype, np.integer):
        raise ValueError(
            f"groups must be integers of shape {weights.shape}, got {groups.dtype} {groups.shape}"
        )
    return weights, groups


def _figure(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]], source: Sequence[str], target: Sequence[str] | None
) -> Figure:
    """Lay the panels out in lines, with the source words below each line, or only below a single column."""
    rows = len(next(iter(panels.values()))[0])
    cell = min(0.38, max(0.2, _PAGE / max(len(source), rows)))  # inches, as all lengths here
    width, height = cell * len(source), cell * rows
    lines, columns = _grid(len(panels), width + _GAP, flat=rows <= 3)
    words = 0.07 * max(map(len, source)) if columns > 1 else 0.0
    step = (width + _GAP, height + words + _GAP)
    page = (columns * step[0], lines * step[1])
    figure = Figure(figsize=page)
    for number, (title, (weights, groups)) in enumerate(panels.items()):
        line, column = divmod(number, columns)
        left, bottom = column * step[0], page[1] - line * step[1] - height - _GAP
        axes = figure.add_axes((left / page[0], bottom / page[1], width / page[0], height / page[1]))
        axes.set_title(title, parse_math=False, fontsize=10)
        lowest = columns > 1 or number == len(panels) - 1
        _label(axes, source if lowest else None, target if column == 0 else None, weights.shape)
        _draw(axes, weights, groups, cell)
    return figure


def _grid(panels: int, width: float, flat: bool) -> tuple[int, int]:
    """Lines and columns: flat panels one above the other, others in even lines that fit the page."""
    fitting = 1 if flat else max(1, int(_PAGE / width))
    lines = -(-panels // fitting)
    return lines, -(-panels // lines)


def _label(
    axes: Axes, source: Sequence[str] | None, target: Sequence[str] | None, shape: tuple[int, ...]
) -> None:
    """Write the words and rule the grid."""
    rows, columns = shape
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_xticks(np.arange(columns) + 0.5, source or [""] * columns, parse_math=False)
    axes.set_yticks(np.arange(rows) + 0.5, target or [""] * rows, parse_math=False)
    for text in axes.get_xticklabels():
        text.set(rotation=50, ha="right", va="top", rotation_mode="anchor")
    axes.set_xticks(range(columns + 1), minor=True)
    axes.set_yticks(range(rows + 1), minor=True)
    axes.grid(which="minor", color="#ebebeb", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set_axisbelow(True)
    axes.spines[:].set(color="#bbbbbb", linewidth=0.6)


def _draw(axes: Axes, weights: np.ndarray, groups: np.ndarray, cell: float) -> None:
    """Shade the cells, write the numbers, outline the groups."""
    numbers = np.count_nonzero(weights) <= _NUMBERS
    for row, column in np.argwhere(weights > 0).tolist():
        weight = float(weights[row, column])
        shade = colormaps["Blues"](0.08 + 0.82 * weight)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=shade, edgecolor="#7f9db9", linewidth=0.7))
        if numbers:
            colour = "white" if weight > 0.6 else "black"
            place = (column + 0.5, row + 0.52)
            axes.text(*place, _short(weight), color=colour, fontsize=18 * cell, ha="center", va="center")
    for row, labels in enumerate(groups):
        for start, stop, colour in merged_stretches(labels):
            box = Rectangle((start + 0.05, row + 0.05), stop - start - 0.1, 0.9, fill=False, zorder=3)
            box.set(edgecolor=colour, linewidth=2)
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
    colours = {label: _GROUP_COLOURS[k % len(_GROUP_COLOURS)] for k, label in enumerate(merged)}
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [(a, b, colours[int(labels[a])]) for a, b in pairwise(edges) if int(labels[a]) in colours]


def _short(weight: float) -> str:
    """Two digits without the leading zero, to fit the cell."""
    if weight < 0.005:
        return "<.01"
    return f"{weight:.2f}".lstrip("0") if weight < 0.995 else "1"
