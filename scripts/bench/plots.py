"""The pictures of a benchmark, drawn from its JSON and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scripts.bench.dots import draw_shapes, draw_training
from scripts.bench.lines import draw_length, draw_strength
from scripts.bench.words import Section
from scripts.style import house_style, save_figure

_PICTURES: dict[str, Callable[[Section], Figure]] = {
    "shapes": draw_shapes,
    "length": draw_length,
    "strength": draw_strength,
    "training": draw_training,
}


def draw(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Draw every section that has a picture beside ``path``, and return the file names."""
    drawn = {}
    for name, picture in _PICTURES.items():
        section = content["sections"].get(name)
        if section and section["cells"]:
            target = path.with_name(f"{path.stem}-{name}.png")
            with house_style():
                save_figure(picture(section), target, bbox_inches="tight")
            drawn[name] = target.name
    return drawn
