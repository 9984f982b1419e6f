"""How figures look, and how they reach the disk: one style for benchmarks, curves and attention."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regattn._registry import MAPPINGS
from tasks.data.files import write_atomically
from tasks.errors import check_installed

if TYPE_CHECKING:  # whoever draws nothing does without matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    """Refuse to begin what ends with a picture where none can be drawn.

    Raises:
        PackageError: so it is.
    """
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
    """Write ``figure`` whole or not at all, making its directory where it is missing.

    Args:
        figure: the picture.
        path: ending in one of ``ENDINGS``.
        options: of ``Figure.savefig``.

    Raises:
        OSError: the file system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [drawn(figure, path.suffix, **options)])


def drawn(figure: Figure, ending: str, **options: Any) -> bytes:
    """``figure`` as a file with one of ``ENDINGS`` holds it."""
    file = io.BytesIO()
    figure.savefig(file, format=ending[1:], metadata=_METADATA[ending], **{"dpi": 150, **options})
    return file.getvalue()
