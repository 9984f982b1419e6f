"""How figures look, and how they reach the disk: one style for benchmarks, curves and attention.

matplotlib is imported where something is drawn: most commands end without a picture, or begin long before it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from regattn._registry import MAPPINGS
from tasks.attention import AttentionGrid
from tasks.checks import check_installed
from tasks.data.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from regattn._heatmap import Panel

# A colour is a problem, whoever solves it.
COLOURS = {"": "#8a8a8a", **{name: spec.colour for name, spec in MAPPINGS.items()}}
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "regattn",
}
# Left to itself, each format would carry its date or the drawing library's version.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}
ENDINGS = tuple(_METADATA)
"""Those of the files that a picture can be saved in."""


def check_drawing() -> None:
    """Refuse to begin what ends with a picture where none can be drawn."""
    check_installed("matplotlib", "a picture")


def house_style() -> AbstractContextManager[None]:
    """The context in which figures are made and saved, whatever the user's own settings are."""
    from matplotlib.style import context

    return context(["default", _STYLE])


def new_figure(height: float) -> tuple[Figure, Axes]:
    """A figure so many inches high, which with names beside it is as wide as the column of a README."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, height))
    return figure, figure.add_subplot()


def name_lines(axes: Axes) -> None:
    """Name the lines beside the axes, in the order in which they end."""
    handles = sorted(axes.lines, key=lambda line: float(np.asarray(line.get_ydata())[-1]), reverse=True)
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write ``figure`` whole or not at all, to a path with one of ``ENDINGS``, by options of ``savefig``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [drawn(figure, path.suffix, **options)])


def drawn(figure: Figure, ending: str, **options: Any) -> bytes:
    """``figure`` as a file with one of ``ENDINGS`` holds it."""
    file = io.BytesIO()
    figure.savefig(file, format=ending[1:], metadata=_METADATA[ending], **{"dpi": 150, **options})
    return file.getvalue()


# ------------------------------------------------------------------ attention
def panel_of(grid: AttentionGrid, title: str) -> Panel:
    """The panel of one item's attention."""
    from regattn._heatmap import Panel

    weights = np.array(grid.weights, dtype=np.float32)
    return Panel(title, weights, grid.source, grid.target, np.array(grid.groups))


def draw_grid(path: Path, grid: AttentionGrid, title: str) -> Path:
    """Save the picture of one item's attention, and return where."""
    draw_panels(path, [[panel_of(grid, title)]])
    return path


_PIECE = "▁"  # begins the first piece of a word


def whole_words(grid: AttentionGrid) -> AttentionGrid:
    """The attention over words where it is over pieces of them, which punctuation is none of.

    A source word has the sum of the weights of its pieces, a target word the mean of their rows. A word
    belongs to a group if all of its pieces do; rows that are a mean have no groups.

    Example:
        >>> weights, groups = torch.tensor([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0]]), torch.zeros(2, 3).long()
        >>> grid = whole_words(AttentionGrid.of(("▁n", "asse", "."), ("▁wet", "."), weights, groups))
        >>> grid.source, grid.weights
        (['nasse', '.'], [[0.5, 0.5], [0.0, 1.0]])
    """
    if not any(piece.startswith(_PIECE) for piece in (*grid.source, *grid.target)):
        return grid
    sources, targets, table = _places(grid.source), _places(grid.target), torch.tensor(grid.weights)
    weights = torch.stack([
        torch.stack([table[rows][:, columns].sum(1).mean() for columns in sources]) for rows in targets
    ])  # fmt: skip
    groups = torch.zeros(weights.shape, dtype=torch.long)
    for row, rows in enumerate(targets):
        for column, columns in enumerate(sources) if len(rows) == 1 else ():
            labels = {grid.groups[rows[0]][place] for place in columns}
            groups[row, column] = labels.pop() if len(labels) == 1 else 0
    return AttentionGrid.of(_joined(grid.source, sources), _joined(grid.target, targets), weights, groups)


def _joined(pieces: Sequence[str], words: Sequence[Sequence[int]]) -> tuple[str, ...]:
    return tuple("".join(pieces[place] for place in word).replace(_PIECE, "") for word in words)


def _places(pieces: Sequence[str]) -> list[list[int]]:
    """For each word the places of its pieces."""
    words: list[list[int]] = []
    for place, piece in enumerate(pieces):
        goes_on = not piece.startswith(_PIECE) and any(map(str.isalnum, piece))
        if goes_on and words and any(map(str.isalnum, pieces[words[-1][-1]].removeprefix(_PIECE))):
            words[-1].append(place)
        else:
            words.append([place])
    return words


def draw_panels(path: Path, lines: Sequence[Sequence[Panel]], source: str = "", target: str = "") -> None:
    """Save a picture of panels, those of a line side by side.

    Where ``source`` and ``target`` say what the words below and beside the panels are, the scale of shades
    stands on the right.
    """
    from regattn._heatmap import lay_out

    figure = lay_out(lines)
    with house_style():
        if source:
            _explain(figure, source, target)
        # Words may be of any length: the page grows round them, the cells keep their size.
        save_figure(figure, path, bbox_inches="tight", pad_inches=0.1)


def _explain(figure: Figure, source: str, target: str) -> None:
    """Name both axes and show the scale, outside of the page, which grows round them when it is saved."""
    from matplotlib import colormaps

    width, height = figure.get_size_inches()
    figure.text(0.5, -0.05 / height, source, ha="center", va="top", fontsize=10)
    figure.text(-0.05 / width, 0.5, target, ha="right", va="center", rotation=90, fontsize=10)
    long = min(2.4, 0.7 * height)
    axes = figure.add_axes((1 + 0.15 / width, (height - 0.4 - long) / height, 0.14 / width, long / height))
    weights = np.linspace(0, 1, 256)
    shades = colormaps["Blues"](0.08 + 0.82 * weights)[:, np.newaxis]
    shades[0] = 1.0  # an exact zero
    axes.imshow(shades, aspect="auto", origin="lower", extent=(0, 1, 0, 1))
    axes.set(xticks=[], ylim=(-0.06, 1))
    axes.yaxis.tick_right()
    axes.set_yticks([-0.03, 0.01, 0.5, 1.0], ["exactly 0", "", "0.5", "1"])
    axes.set_title("weight", fontsize=9)
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.6)
