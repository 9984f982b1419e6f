"""Markdown out of a benchmark's JSON, and out of nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench import plots, quoted
from scripts.bench.words import (
    Section,
    called,
    gigabytes_per_second,
    history,
    mean_ratio,
    notes,
    ordered,
    per_score,
    ratio,
    short,
)
from scripts.markdown import markdown
from tasks.data.files import read_whole
from tasks.training.atomic import write_atomically

# What this project wants of forward and backward: times torch.softmax on one thread, geometric mean over the
# shapes and scales; and two threads over one, at a shape.
TARGETS = {"sparsemax": 2, "fusedmax": 2.5, "pnormmax": 4, "oscarmax": 4}
TWICE = ("4096×512", 1.7)
DIRECTIONS = {"forward": "Forward alone", "both": "Forward and backward"}
_table = partial(markdown, numbers=True)


def render(path: Path) -> str:
    """Write the tables and the plots of ``path`` beside it, and return the tables."""
    content = json.loads(read_whole(path))
    drawn = plots.draw(content, path)
    text = tables(content, path.name, drawn)
    write_atomically(path.with_suffix(".md"), [text.encode()])
    return text


def tables(content: Mapping[str, Any], source: str, drawn: Mapping[str, str] | None = None) -> str:
    """Everything in Markdown; ``drawn`` has the file name of each section's plot."""
    drawn = drawn or {}
    origin = f"Derived from {source} by `python -m scripts.bench render`; not written by hand."
    parts = ["# What it costs", origin]
    told: set[str] = set()  # a remark stands once, under the first table that it is about
    for name, (title, parts_of) in _SECTIONS.items():
        section = content["sections"].get(name)
        if section and section["cells"]:
            parts += [f"## {title}", history(section)]
            parts += [f"![{title}]({drawn[name]})"] if name in drawn else []
            parts += [*parts_of(section), *notes(section, told)]
    return "\n\n".join(parts) + "\n"


def _shapes(section: Section) -> Iterator[str]:
    places = dict.fromkeys((cell["dtype"], cell["threads"]) for cell in section["cells"])
    for dtype, threads in places:
        for direction, title in DIRECTIONS.items():
            cells = [c for c in section["cells"] if (c["dtype"], c["threads"]) == (dtype, threads)]
            cells = [c for c in cells if c["direction"] == direction]
            yield f"### {title}, {dtype}, threads: {threads}"
            yield _ratio_table(section, cells)
    yield _precision(section)
    yield "### Bandwidth"
    yield "GB/s of the bytes that must be read and written by forward and backward, at scale 1."
    yield _bandwidth(section)
    yield "### Quoted, not measured"
    yield quoted.SOURCE
    heads = ["× torch.softmax", *(f"{rows}×{d}" for rows, d in quoted.SHAPES)]
    yield _table(heads, ([f"{n} (quoted)", *map(str, row)] for n, row in quoted.TIMES_SOFTMAX.items()))


def _ratio_table(section: Section, cells: Sequence[Section]) -> str:
    by_shape: dict[tuple[int, int], list[Section]] = {}
    for cell in cells:
        by_shape.setdefault((cell["rows"], cell["d"]), []).append(cell)
    scales = " / ".join(f"{scale:g}" for scale in sorted({cell["scale"] for cell in cells}))
    aimed = {(cell["direction"], cell["threads"]) for cell in cells} == {("both", 1)}
    heads = [f"× torch.softmax, scale {scales}", "mean", "target", *(f"{n}×{d}" for n, d in by_shape)]

    def row(name: str) -> list[str]:
        who, overall = section["contestants"][name], mean_ratio(cells, name)
        target = str(TARGETS.get(who["family"], "")) if aimed and who["origin"] == "ours" else ""
        shown = (" / ".join(ratio(cell, name) for cell in there) for there in by_shape.values())
        return [called(section, name), short(overall), target, *shown]

    unit = next(name for name, who in section["contestants"].items() if who["origin"] == "unit")
    seconds = (
        " / ".join(f"{1e3 * cell['results'][unit]['seconds']:.3g}" for cell in there) + " ms"
        for there in by_shape.values()
    )
    first = [f"{unit} = 1 takes", "", "", *seconds]
    present = [name for name in ordered(section) if any(name in cell["results"] for cell in cells)]
    return _table(heads, [first, *(row(name) for name in present if name != unit)])


def _precision(section: Section) -> str:
    """How many rounds, and how far they spread: in words, since a table of it would be read by nobody."""
    found: dict[str, list[Section]] = {}
    for cell in section["cells"]:
        for name, row in cell["results"].items():
            found.setdefault(section["contestants"][name]["origin"], []).append(row)
    words = []
    for origin in sorted(found.keys() & {"ours", "peer"}):
        rows = found[origin]
        counts = [row["rounds"] for row in rows]
        width = median(
            (row["ratio_quartiles"][1] - row["ratio_quartiles"][0]) / row["ratio"] / 2 for row in rows
        )
        words.append(f"{origin} {min(counts)} to {max(counts)} rounds, quartiles ± {width:.0%}")
    return (
        "Everyone takes turns in one process; a figure is the median of the ratios of the same rounds. "
        f"Rounds of a cell, and half the quartiles' distance in the middlemost cell: {'; '.join(words)}."
    )


def _bandwidth(section: Section) -> str:
    wanted = ("both", min(cell["threads"] for cell in section["cells"]), 1.0)
    cells = [c for c in section["cells"] if (c["direction"], c["threads"], c["scale"]) == wanted]
    heads = ["GB/s", *(f"{c['rows']}×{c['d']} {c['dtype']}" for c in cells)]
    names = [n for n in ordered(section) if section["contestants"][n]["origin"] != "peer"]
    return _table(heads, ([name, *(gigabytes_per_second(c, name) for c in cells)] for name in names))


def _scaling(section: Section) -> Iterator[str]:
    cells = section["cells"]
    first, *others = next(iter(cells[0]["results"].values()))
    yield (
        "How many times as fast as with fewer threads, forward and backward, float32. The numbers of threads "
        f"have their turns in one process; target: {TWICE[1]} with 2 threads at {TWICE[0]}."
    )

    def speedup(row: Section, count: str) -> str:
        return f"{row[first]['seconds'] / row[count]['seconds']:.2f}"

    for count in others:
        heads = [f"threads: {count}, × {first}", *(f"{c['rows']}×{c['d']}" for c in cells)]
        yield _table(
            heads,
            (
                [called(section, name), *(speedup(c["results"][name], count) for c in cells)]
                for name in ordered(section)
            ),
        )


def _along(head: str, value: Callable[[Section], str]) -> Callable[[Section], Iterator[str]]:
    """A table with one column for each cell: nanoseconds per score."""

    def parts(section: Section) -> Iterator[str]:
        cells = section["cells"]

        rows = (
            [called(section, n), *(per_score(cell, n) for cell in cells)]
            for n in ordered(section)
            if any(n in cell["results"] for cell in cells)
        )
        yield "Nanoseconds per score, forward and backward, float32, one thread."
        yield _table([head, *map(value, cells)], rows)

    return parts


def _adversarial(section: Section) -> Iterator[str]:
    cells = section["cells"]
    yield (
        f"Time of rows of {cells[0]['d']} scores over that of random rows, forward, one thread. In brackets "
        "for ours the violation of the optimality conditions that `regattn.certify` finds, for the others "
        "the largest difference from our weights in float64."
    )
    heads = ["× random rows", *cells[0]["results"]]

    def shown(row: Section) -> str:
        return f"{short(row['ratio'])} ({row.get('violation', row.get('difference')):.0e})"

    yield _table(
        heads,
        ([called(section, cell["contestant"]), *map(shown, cell["results"].values())] for cell in cells),
    )


def _memory(section: Section) -> Iterator[str]:
    (cell,) = section["cells"]
    yield f"Forward and backward, {cell['rows']}×{cell['d']}, {cell['dtype']}: {section['method']}."
    rows = ([called(section, n), f"{cell['results'][n]['bytes_per_score']:.1f}"] for n in ordered(section))
    yield _table(["", "bytes per score"], rows)


def _training(section: Section) -> Iterator[str]:
    (cell,) = section["cells"]
    yield (
        f"Whole steps (forward, backward, Adam) of the SNLI model on the embedded corpus, batch "
        f"{section['batch']}, one thread, in turns on the same batches."
    )

    def row(name: str) -> list[str]:
        found = cell["results"][name]
        low, high = found["ratio_quartiles"]
        return [
            called(section, name),
            f"{1e3 * found['seconds']:.1f}",
            f"{found['ratio']:.3f}",
            f"{low:.3f} to {high:.3f}",
            str(found["rounds"]),
        ]

    heads = ["", "ms per step", f"× {section['unit']}", "quartiles", "rounds"]
    yield _table(heads, map(row, ordered(section)))


_SECTIONS: dict[str, tuple[str, Callable[[Section], Iterator[str]]]] = {
    "shapes": ("Time by shape", _shapes),
    "scaling": ("Several threads", _scaling),
    "length": ("Time against the length of a row", _along("d", lambda cell: str(cell["d"]))),
    "strength": ("Time against λ", _along("λ", lambda cell: f"{cell['lam']:.2g}")),
    "adversarial": ("Rows made to be hard", _adversarial),
    "memory": ("Peak memory", _memory),
    "training": ("A training step", _training),
}
