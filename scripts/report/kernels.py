"""What a mapping costs by itself: from the benchmark's JSON, as a table and as dots on a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from scripts.bench.results import Section, history, mean_ratio, ordered, read_results, short
from scripts.cells import Cell, Table
from scripts.columns import UNKNOWN
from scripts.report.svg import colour_class, picture, tag

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 348.0, 158.0, 34.0, 20.0, 21.0


@dataclass(frozen=True)
class Kernels:
    """The cost of the mappings alone.

    Attributes:
        table: geometric means of the time over that of torch.softmax.
        svg: the same as dots, with the range over all shapes.
        history: where and how it was measured.
    """

    table: Table
    svg: Markup
    history: str


def kernels(path: Path) -> Kernels | None:
    """The cost by the benchmark at ``path``; None where there is none, or it has no section of shapes."""
    sections = read_results(path)
    if not sections.get("shapes", {}).get("cells"):
        return None
    shapes, steps = sections["shapes"], _steps(sections.get("training"))
    cells = {way: _cells(shapes, way) for way in ("forward", "both")}
    names = [name for name in ordered(shapes) if mean_ratio(cells["both"], name) and name in _shown(shapes)]
    rows = tuple(_row(name, shapes, cells, steps) for name in names)
    return Kernels(
        _table(rows, cells["both"]), _dots(names, shapes, cells["both"]), history(shapes).replace("`", "")
    )


def _shown(section: Section) -> list[str]:
    """Everybody but the copy, which solves nothing, and those found to be wrong."""
    agreement = section.get("agreement", {})
    return [
        name
        for name, who in section["implementations"].items()
        if who["kind"] != "memcpy" and agreement.get(name, {"agrees": True})["agrees"]
    ]


def _cells(section: Section, direction: str) -> list[Section]:
    """Those of float32 on as few threads as there are."""
    threads = min(cell["threads"] for cell in section["cells"])
    wanted = (direction, "float32", threads)
    return [c for c in section["cells"] if (c["direction"], c["dtype"], c["threads"]) == wanted]


def _steps(section: Section | None) -> dict[str, float]:
    """Times of a whole training step, over one with softmax."""
    if not section or not section["cells"]:
        return {}
    return {name: row["ratio"] for name, row in section["cells"][0]["results"].items()}


def _range(cells: Sequence[Section], name: str) -> tuple[float, float]:
    ratios = [cell["results"][name]["ratio"] for cell in cells]
    return min(ratios), max(ratios)


def _row(
    name: str, section: Section, cells: dict[str, list[Section]], steps: dict[str, float]
) -> tuple[Cell, ...]:
    low, high = _range(cells["both"], name)
    forward, both, step = mean_ratio(cells["forward"], name), mean_ratio(cells["both"], name), steps.get(name)
    solves = section["implementations"][name]["mapping"] or "another mapping"
    return (
        Cell(name),
        Cell(solves),
        Cell(short(forward), forward),
        Cell(short(both), both),
        Cell(f"{short(low)} – {short(high)}", high),
        Cell(UNKNOWN if step is None else f"{step:.2f}", step),
    )


def _table(rows: tuple[tuple[Cell, ...], ...], cells: Sequence[Section]) -> Table:
    shapes = ", ".join(dict.fromkeys(f"{cell['rows']}×{cell['d']}" for cell in cells))
    return Table(
        name="kernels",
        title="The mapping alone",
        intro=(
            f"Time over that of torch.softmax, float32, threads: {cells[0]['threads']}; the geometric mean "
            f"over rows × scores of {shapes} and over scores of two scales. The last column is a whole "
            "training step of the entailment model over one with softmax."
        ),
        heads=("function", "problem", "forward", "with backward", "range", "training step"),
        rows=rows,
    )


def _dots(names: Sequence[str], section: Section, cells: Sequence[Section]) -> Markup:
    """A line from the lowest to the highest ratio, a dot at the mean, on a logarithmic scale."""
    top = max(_range(cells, name)[1] for name in names)
    bottom = _TOP + _ROW * len(names)

    def x(ratio: float) -> float:
        along = (math.log(ratio) - math.log(0.5)) / (math.log(top) - math.log(0.5))
        return _LEFT + along * (_WIDTH - _LEFT - _RIGHT)

    parts = []
    for tick in [1, *(10**k for k in range(1, math.ceil(math.log10(top))))]:
        parts.append(tag("line", x1=x(tick), x2=x(tick), y1=_TOP - 4, y2=bottom, class_="rule"))
        parts.append(tag("text", f"{tick}×", x=x(tick), y=_TOP - 8, class_="middle"))
    for number, name in enumerate(names):
        low, high = _range(cells, name)
        who, y, mean = (
            section["implementations"][name],
            _TOP + _ROW * (number + 0.5),
            mean_ratio(cells, name) or 0,
        )
        colour = colour_class(who["mapping"]) + ("" if who["kind"] == "ours" else " peer")
        style = "end ours" if who["kind"] == "ours" else "end"
        parts.append(tag("text", name, x=_LEFT - 8, y=y + 4, class_=style))
        parts.append(tag("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"range {colour}"))
        parts.append(tag("circle", cx=x(mean), cy=y, r=4, class_=f"dot {colour}"))
        parts.append(tag("text", short(mean), x=x(high) + 7, y=y + 4))
    return picture(_WIDTH, bottom + 4, "time over that of torch.softmax, forward and backward", *parts)
