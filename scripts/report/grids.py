"""Attention over one sentence under every mapping, as SVG: zeros white, merged groups outlined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, to_hex

from scripts.pictures import merged_stretches
from scripts.report.order import in_order
from scripts.report.svg import length, picture, tag
from tasks.training.details import Example, read_details
from tasks.training.records import Record

_CELL, _HIGH, _WIDE, _BETWEEN = (
    18,
    20,
    48,
    5,
)  # sides of a cell: usual; with its number in it; between two columns
_DARK = 0.72  # the weight above which a number is written in the other colour
_STEPS = 20  # shades from nothing to 1
_NIGHT = LinearSegmentedColormap.from_list("night", [(0, "#1d2e40"), (0.6, "#2f6da5"), (1, "#cfe6ff")])


@dataclass(frozen=True)
class Grid:
    """The attention of one run."""

    name: str
    run: str
    example: Example


@dataclass(frozen=True)
class Gallery:
    """One sentence under all mappings.

    Attributes:
        title: of which task, corpus and tier.
        setting: of the model and its training.
        pictures: what is drawn, each with the run it is of; one picture may be of all.
        runs: name and id of every run, in the order in which they are drawn.
    """

    title: str
    setting: str
    pictures: Sequence[tuple[str, str, Markup]]
    runs: Sequence[tuple[str, str]]


def galleries(records: Sequence[Record], details: Path) -> list[Gallery]:
    """What there is to look at, in the page's order: of each mapping the run with the first seed."""
    found = in_order([record for record in records if record.details])
    return [
        _gallery(title, setting, [_grid(label, runs[0], details) for label, runs in rows.items()])
        for title, setting, rows in found
    ]


def _grid(label: str, run: Record, details: Path) -> Grid:
    return Grid(label, run.id, read_details(details, run.id, run.details).example)


def _gallery(title: str, setting: str, grids: Sequence[Grid]) -> Gallery:
    sentences = {tuple(grid.example.source) for grid in grids}
    if all(len(grid.example.target) == 1 for grid in grids) and len(sentences) == 1:
        pictures = [("", "", columns(grids))]
    else:
        pictures = [(grid.name, grid.run, rectangle(grid)) for grid in grids]
    return Gallery(title, setting, pictures, [(grid.name, grid.run) for grid in grids])


def columns(grids: Sequence[Grid]) -> Markup:
    """Attention with one target each: the sentence downwards, a column with numbers for each mapping."""
    words = grids[0].example.source
    left, top = max(map(length, words)) + 8, 48
    parts = [_text(word, left - 6, top + _HIGH * row + 14, "end") for row, word in enumerate(words)]
    for column, grid in enumerate(grids):
        weights, labels = np.array(grid.example.weights[0]), np.array(grid.example.groups[0])
        x = left + (_WIDE + _BETWEEN) * column
        name = grid.name.partition(" ")[0]
        parts.append(_slanted(name, x + _WIDE / 2 - 4, top - 5, 35))
        parts += _column_cells(weights, words, x, top)
        for start, stop, colour in merged_stretches(labels):
            box = {"x": x + 1.5, "y": top + _HIGH * start + 1.5, "width": _WIDE - 3}
            height = _HIGH * (stop - start) - 3
            parts.append(tag("rect", **box, height=height, class_="group", stroke=colour))
    height = top + _HIGH * len(words) + 2
    label = f"attention over: {' '.join(words)}"
    return picture(left + (_WIDE + _BETWEEN) * len(grids) + 18, height, label, *parts)


def _column_cells(weights: np.ndarray, words: Sequence[str], x: float, top: float) -> Iterator[Markup]:
    for row, weight in enumerate(weights.tolist()):
        y = top + _HIGH * row
        title = tag("title", f"{words[row]}: {weight:.3g}")
        yield tag("rect", title, x=x, y=y, width=_WIDE, height=_HIGH, class_=_shade(weight))
        if weight:
            style = "middle on-dark" if weight > _DARK else "middle"
            yield tag("text", _number(weight), x=x + _WIDE / 2, y=y + 14, class_=style)


def rectangle(grid: Grid) -> Markup:
    """Attention of several targets: they stand downwards, the sentence along the top."""
    example = grid.example
    left = max(map(length, example.target)) + 8
    top = 0.87 * max(map(length, example.source)) + 12
    right = 0.5 * length(example.source[-1])  # the last word leans over the edge
    width, height = _CELL * len(example.source), _CELL * len(example.target)
    parts = [_text(word, left - 5, top + _CELL * row + 13, "end") for row, word in enumerate(example.target)]
    parts += [
        _slanted(word, left + _CELL * column + 11, top - 5, 60) for column, word in enumerate(example.source)
    ]
    parts.append(tag("rect", x=left, y=top, width=width, height=height, class_="zero"))
    has_zeros = any(weight == 0 for row in example.weights for weight in row)
    parts.append(tag("g", *_cells(example, left, top), class_="bordered" if has_zeros else "full"))
    parts += _boxes(example, left, top)
    label = f"{grid.name}: attention of {' '.join(example.target)} over {' '.join(example.source)}"
    return picture(left + width + max(right, 2.0), top + height + 2, label, *parts)


def _cells(example: Example, left: float, top: float) -> Iterator[Markup]:
    for row, weights in enumerate(example.weights):
        for column, weight in enumerate(weights):
            if weight:
                words = f"{example.target[row]} ← {example.source[column]}: {weight:.3g}"
                place = {"x": left + _CELL * column, "y": top + _CELL * row}
                yield tag(
                    "rect", tag("title", words), **place, width=_CELL, height=_CELL, class_=_shade(weight)
                )


def _boxes(example: Example, left: float, top: float) -> Iterator[Markup]:
    for row, labels in enumerate(example.groups):
        for start, stop, colour in merged_stretches(np.array(labels)):
            box = {"x": left + _CELL * start + 1, "y": top + _CELL * row + 1, "height": _CELL - 2}
            yield tag("rect", **box, width=_CELL * (stop - start) - 2, class_="group", stroke=colour)


def _text(word: str, x: float, y: float, style: str) -> Markup:
    return tag("text", word, x=float(x), y=float(y), class_=style)


def _slanted(word: str, x: float, y: float, degrees: int) -> Markup:
    return tag("text", word, transform=f"translate({x:.1f} {y:.1f}) rotate(-{degrees})")


def _number(weight: float) -> str:
    return "<.001" if weight < 0.0005 else f"{weight:.3f}".lstrip("0") if weight < 0.9995 else "1"


def _shade(weight: float) -> str:
    """The class of a cell; every weight that is not zero has a shade."""
    return f"s{max(1, round(_STEPS * min(weight, 1.0)))}" if weight else "zero"


def shades() -> str:
    """The style of every shade, by light and by dark."""
    light = [to_hex(colormaps["Blues"](0.08 + 0.82 * step / _STEPS)) for step in range(1, _STEPS + 1)]
    dark = [to_hex(_NIGHT(step / _STEPS)) for step in range(1, _STEPS + 1)]
    rules = [f".s{step}{{fill:{colour}}}" for step, colour in enumerate(light, 1)]
    night = [f".s{step}{{fill:{colour}}}" for step, colour in enumerate(dark, 1)]
    return "".join(rules) + "@media screen and (prefers-color-scheme:dark){" + "".join(night) + "}"
