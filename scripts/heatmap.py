"""Pictures of the suite's attention: panels of :func:`regattn.plot`, saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regattn._heatmap import Panel, lay_out
from scripts.style import ENDINGS, house_style, save_figure
from tasks.attention import AttentionGrid


def panel_of(grid: AttentionGrid, title: str) -> Panel:
    """The panel of one item's attention."""
    return Panel(title, grid.weights.numpy(), grid.source, grid.target, grid.groups.numpy())


def draw_grid(path: Path, grid: AttentionGrid, title: str) -> Path:
    """Save the picture of one item's attention, and return where."""
    draw_panels(path, [[panel_of(grid, title)]])
    return path


def draw_panels(path: Path | str, lines: Sequence[Sequence[Panel]]) -> None:
    """Save a picture of several panels, laid out as :func:`regattn._heatmap.lay_out` does.

    Args:
        path: where to, ending in ``.png``, ``.pdf`` or ``.svg``; a missing directory is made.
        lines: what stands side by side, line by line.

    Raises:
        ValueError: another ending, or no panels.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ValueError(f"path must end in {', '.join(ENDINGS)}, got {path.name!r}")
    figure = lay_out(lines)
    with house_style():
        # Words may be of any length: the page grows round them, the cells keep their size.
        save_figure(figure, path, bbox_inches="tight", pad_inches=0.1)
