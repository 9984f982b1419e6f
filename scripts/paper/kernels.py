"""What a mapping costs by itself: from the benchmark's JSON, as a table and as its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from scripts.bench.plots import plot_shapes
from scripts.bench.results import Section, history, mean_ratio, ordered, read_results, short
from scripts.paper.table import UNKNOWN, Cell, Row, Table
from scripts.style import house_style


class KernelCosts(NamedTuple):
    """Geometric means of the time over that of torch.softmax, the picture of all shapes, and where and how
    it was measured."""

    table: Table
    figure: Figure
    history: str


def kernel_costs(path: Path) -> KernelCosts | None:
    """The cost by the benchmark at ``path``; None where there is none, or it has no section of shapes."""
    sections = read_results(path)
    shapes = sections.get("shapes", {})
    if not shapes.get("cells"):
        return None
    forward, both = (_cells(shapes, direction) for direction in ("forward", "both"))
    steps = (sections.get("training") or {"cells": []})["cells"]
    step = {name: row["ratio"] for name, row in steps[0]["results"].items()} if steps else {}
    sizes = ", ".join(dict.fromkeys(f"{cell['rows']}×{cell['d']}" for cell in both))
    table = Table(
        name="kernels",
        title="The mapping alone",
        intro=f"Time over that of torch.softmax, float32, threads: {both[0]['threads']}; the geometric mean "
        f"over rows × scores of {sizes} and over scores of two scales. The last column is a whole training "
        "step of the entailment model over one with softmax.",
        heads=("function", "problem", "forward", "with backward", "range", "training step"),
        rows=tuple(_row(shapes, name, forward, both, step.get(name)) for name in _shown(shapes, both)),
    )
    with house_style():
        return KernelCosts(table, plot_shapes(shapes), history(shapes).replace("`", ""))


def _cells(section: Section, direction: str) -> list[Section]:
    """Those of float32 on as few threads as there are."""
    threads = min(cell["threads"] for cell in section["cells"])
    wanted = (direction, "float32", threads)
    return [c for c in section["cells"] if (c["direction"], c["dtype"], c["threads"]) == wanted]


def _shown(section: Section, cells: Sequence[Section]) -> list[str]:
    """Everybody but the copy, which solves nothing, and those found to be wrong or that miss a cell."""
    agreement = section.get("agreement", {})
    return [
        name
        for name in ordered(section)
        if section["implementations"][name]["kind"] != "memcpy"
        and agreement.get(name, {"agrees": True})["agrees"]
        and mean_ratio(cells, name)
    ]


def _row(
    section: Section, name: str, forward: Sequence[Section], both: Sequence[Section], step: float | None
) -> Row:
    ratios = [cell["results"][name]["ratio"] for cell in both]
    means = [mean_ratio(cells, name) for cells in (forward, both)]
    return (
        Cell(name),
        Cell(section["implementations"][name]["mapping"] or "another mapping"),
        *(Cell(short(value), value) for value in means),
        Cell(f"{short(min(ratios))} – {short(max(ratios))}", max(ratios)),
        Cell(UNKNOWN if step is None else f"{step:.2f}", step),
    )
