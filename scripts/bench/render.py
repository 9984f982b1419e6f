"""The results of a benchmark, cells with a figure for each implementation, in Markdown and as plots."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

import numpy as np

from regattn._registry import MAPPINGS
from scripts.bench.implementations import BASELINE, NOT_A_NUMBER
from scripts.markdown import markdown
from scripts.style import COLOURS, house_style, name_lines, new_figure, save_figure
from tasks.checks import counted
from tasks.data.files import read_stored, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What this project aims at, forward and backward: times torch.softmax on one thread, geometric mean over the
# shapes and scales; and two threads over one, at a shape.
TARGETS = {"sparsemax": 1.2, "fusedmax": 1.4, "pnormmax": 1.8, "oscarmax": 2.2}
SPEEDUP = ("4096×512", 1.7)
DIRECTIONS = {"forward": "Forward alone", "both": "Forward and backward"}
# What cannot be measured here any more, never mixed into the measured.
REPORTED = """### Reported, not measured

torchsparseattn 0.2, the package that the paper's authors released, does not run on torch 1.5 or newer \
(legacy autograd). Patched in its autograd plumbing alone, it was measured once for this project: \
forward, float32, one CPU thread, torch 2.13, November 2026, on another day than the figures above.

| × torch.softmax | 640×50 | 4096×128 | 1024×2048 |
| --- | ---: | ---: | ---: |
| fusedmax (reported) | 1140 | 610 | 156 |
| oscarmax (reported) | 1250 | 880 | 109 |"""
Section = Mapping[str, Any]
Columns = Mapping[str, Mapping[str, str]]  # by heading, then by name
_KINDS = ("baseline", "ours", "other", "memcpy")


def read_results(path: Path) -> dict[str, Any]:
    """The sections that a file holds, by name; none if there is no file."""
    return read_stored(path, lambda found: dict(found["sections"])) if path.exists() else {}


def ordered(section: Section) -> list[str]:
    """Names of the implementations: mapping by mapping, ours before others, memcpy last."""
    mappings = [*MAPPINGS, ""]

    def place(name: str) -> tuple[bool, int, int]:
        found = section["implementations"][name]
        return found["kind"] == "memcpy", mappings.index(found["mapping"]), _KINDS.index(found["kind"])

    return sorted(section["implementations"], key=place)


def usual_cells(shapes: Section) -> list[Section]:
    """The cells of a section of shapes in float32, forward and backward, in one thread."""
    usual = {"dtype": "float32", "threads": 1, "direction": "both"}
    return [cell for cell in shapes.get("cells", ()) if usual.items() <= cell.items()]


def mean_ratio(cells: Iterable[Section], name: str) -> float | None:
    """Geometric mean of the median ratios, or None where the implementation misses a cell."""
    found = [cell["results"].get(name) for cell in cells]
    return geometric_mean([row["ratio"] for row in found]) if found and all(found) else None


def nanoseconds_per_score(cell: Section, name: str) -> float:
    """Of an implementation that is in the cell."""
    return 1e9 * cell["results"][name]["seconds"] / cell["rows"] / cell["d"]


def short(number: float | None) -> str:
    """Two digits that count, and no exponent.

    Example:
        >>> short(0.512), short(3.14159), short(27.3), short(1139.6), short(None)
        ('0.51', '3.1', '27', '1140', '–')
    """
    if number is None:
        return "–"
    return f"{number:.2f}" if number < 0.995 else f"{number:.1f}" if number < 9.95 else f"{number:.0f}"


def history(section: Section) -> str:
    """Where a section's figures come from, in one paragraph."""
    found, machine = section["history"], section["history"]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{machine['name']}, {counted(machine['cores'], 'core')}, load {found['load']} when it began; "
        f"{found['date']}, "
        f"commit {found['commit'][:12]}{'-dirty' if found['commit'].endswith('-dirty') else ''}, "
        f"`{found['command']}`, {found['seconds']:.0f} s; {versions}."
    )


def render(path: Path) -> str:
    """Write the tables and the plots of ``path`` beside it, and return the tables."""
    sections = read_results(path)
    text = tables(sections, path.name, _drawn(sections, path))
    write_atomically(path.with_suffix(".md"), [text.encode()])
    return text


def _drawn(sections: Mapping[str, Section], path: Path) -> dict[str, str]:
    """Draw every section that has a plot beside ``path``, and return the file names."""
    drawn = {}
    try:
        for name, plot in _PLOTS.items():
            section = sections.get(name)
            if section and section["cells"]:
                target = path.with_name(f"{path.stem}-{name}.png")
                with house_style():
                    save_figure(plot(section), target, bbox_inches="tight")
                drawn[name] = target.name
    except ModuleNotFoundError as error:  # a machine with nothing but torch and regattn
        print(f"without plots, which need {error.name}", file=sys.stderr)
    return drawn


def tables(sections: Mapping[str, Section], source: str, drawn: Mapping[str, str] | None = None) -> str:
    """Everything in Markdown; ``drawn`` has the file name of each section's plot."""
    origin = f"Derived from {source} by `python -m scripts.bench render`; not written by hand."
    parts = ["# What it costs", origin]
    said: set[str] = set()  # a note stands once, under the first table that it is about
    for name, (title, parts_of) in _SECTIONS.items():
        section = sections.get(name)
        if section and section["cells"]:
            parts += [f"## {title}", history(section)]
            parts += [f"![{title}]({drawn[name]})"] if drawn and name in drawn else []
            new = [note for note in _notes(section) if note not in said]
            parts += [*parts_of(section), *(["\n".join(f"- {note}" for note in new)] if new else [])]
            said.update(new)
    return "\n\n".join(parts) + "\n"


def _table(section: Section, head: str, columns: Columns, *, first: Sequence[str] = ()) -> str:
    """A row for each implementation that is in any of the columns, after ``first``."""
    present = {name for column in columns.values() for name in column}
    rows = [
        [display_name(section, name), *(column.get(name, "–") for column in columns.values())]
        for name in ordered(section)
        if name in present
    ]
    return markdown([head, *columns], [first, *rows] if first else rows, numbers=True)


def _column(cell: Section, show: Callable[[Section], str]) -> dict[str, str]:
    return {name: show(row) for name, row in cell["results"].items()}


def _per_score(cell: Section) -> dict[str, str]:
    return {name: short(nanoseconds_per_score(cell, name)) for name in cell["results"]}


def _shape(cell: Section) -> str:
    return f"{cell['rows']}×{cell['d']}"


def display_name(section: Section, name: str) -> str:
    """A name for the first column: ours in bold, and what is not the same answer marked as such."""
    found, check = section["implementations"][name], section.get("agreement", {}).get(name)
    if check and not check["agrees"]:
        return f"{name} (WRONG, see below)"
    if found["kind"] == "other" and not found["mapping"]:
        return f"{name} (another mapping)"
    return f"**{name}**" if found["kind"] == "ours" else name


def disagreement(check: Section) -> str:
    """What is wrong with an answer."""
    lost = check["weights"] >= NOT_A_NUMBER
    weights = "are not numbers" if lost else f"differ by up to {check['weights']:.1g}"
    return (
        f"WRONG: against {check['against']} its weights {weights} at {check['where']} (tolerance "
        f"{check['tolerance']:g}), its gradient differs in up to {check['gradient_rows_off']:.0%} of the rows"
    )


def _notes(section: Section) -> Iterator[str]:
    """What the implementations compute, how well they agree with ours, and who is missing."""
    agreement = section.get("agreement", {})
    for name in ordered(section):
        check = agreement.get(name)
        if check and not check["agrees"]:
            yield f"{name} is {disagreement(check)}"
        if note := section["implementations"][name].get("note"):
            yield f"{name}: {note}"
    agreeing = [f"{name} {check['weights']:.0e}" for name, check in agreement.items() if check["agrees"]]
    if agreeing:
        largest = "largest difference of a weight from ours in float64, before the clock started"
        yield f"{largest}: {', '.join(agreeing)}"
    for name, reason in section["skipped"].items():
        yield f"without {name}: {reason}"


# ------------------------------------------------------------------ section by section
def _shapes(section: Section) -> Iterator[str]:
    cells = section["cells"]
    for place in dict.fromkeys((c["dtype"], c["threads"], c["direction"]) for c in cells):
        dtype, threads, direction = place
        yield f"### {DIRECTIONS[direction]}, {dtype}, threads: {threads}"
        yield _ratio_table(section, [c for c in cells if (c["dtype"], c["threads"], c["direction"]) == place])
    yield "Everyone takes turns in one process; a figure is the median of the ratios of the same rounds."
    yield REPORTED


def _ratio_table(section: Section, cells: Sequence[Section]) -> str:
    by_shape: dict[str, list[Section]] = {}
    for cell in cells:
        by_shape.setdefault(_shape(cell), []).append(cell)
    names = {name for cell in cells for name in cell["results"]} - {BASELINE}
    targets = TARGETS if (cells[0]["direction"], cells[0]["threads"]) == ("both", 1) else {}
    means = {name: mean_ratio(cells, name) for name in names}

    def target(name: str) -> str:
        found = section["implementations"][name]
        if found["kind"] != "ours" or found["mapping"] not in targets:
            return ""
        wanted, mean = targets[found["mapping"]], means[name]
        return f"{wanted}, missed" if mean and mean > wanted else str(wanted)

    columns: Columns = {
        # a digit more, by which a target is met or missed
        "mean": {name: f"{mean:.3g}" if mean else short(mean) for name, mean in means.items()},
        "target": {name: target(name) for name in names},
        **{
            shape: {name: _side_by_side(there, name, lambda row: short(row["ratio"])) for name in names}
            for shape, there in by_shape.items()
        },
    }
    times = (
        _side_by_side(there, BASELINE, lambda row: f"{1e3 * row['seconds']:.3g}")
        for there in by_shape.values()
    )
    first = [f"{BASELINE} = 1 takes", "", "", *(f"{time} ms" for time in times)]
    scales = " / ".join(f"{scale:g}" for scale in sorted({cell["scale"] for cell in cells}))
    return _table(section, f"× torch.softmax, scale {scales}", columns, first=first)


def cost_by_shape(sections: Mapping[str, Section]) -> str:
    """The table of all implementations, forward and backward, in one thread, if it was measured."""
    cells = usual_cells(sections.get("shapes", {}))
    return _ratio_table(sections["shapes"], cells) if cells else ""


def cost_by_mapping(sections: Mapping[str, Section]) -> str:
    """A row for each of the paper's mappings: its ratio, the fastest other package's, a training step's.

    Answers that were found to be wrong are left out, and what was not timed at every shape.
    """
    shapes, steps = sections.get("shapes", {}), sections.get("training", {}).get("cells", [])
    cells, agreement, rows = usual_cells(shapes), shapes.get("agreement", {}), []
    right = [name for name in ordered(shapes) if agreement.get(name, {}).get("agrees", True)] if cells else []
    means = {name: mean for name in right if (mean := mean_ratio(cells, name))}
    for name, mean in means.items():
        kind, mapping = (shapes["implementations"][name][key] for key in ("kind", "mapping"))
        if kind == "ours" and MAPPINGS[mapping].in_paper:
            rival = {"kind": "other", "mapping": mapping}
            others = [n for n in means if rival.items() <= shapes["implementations"][n].items()]
            best = min(others, key=means.__getitem__, default=None)
            ratios = [cell["results"][name]["ratio"] for cell in cells]
            step = steps[0]["results"].get(name, {}).get("ratio") if steps else None
            rows.append([
                f"`{mapping}`",
                f"{short(mean)} ({short(min(ratios))} to {short(max(ratios))})",
                f"{short(means[best])} ({best})" if best else "–",
                f"{step:.3f}" if step else "–",
            ])  # fmt: skip
    heads = ["", "× torch.softmax, mean", "fastest other package", "a training step"]
    return markdown(heads, rows, numbers=True) if rows else ""


def _side_by_side(cells: Sequence[Section], name: str, show: Callable[[Section], str]) -> str:
    return " / ".join(show(cell["results"][name]) if name in cell["results"] else "–" for cell in cells)


def _scaling(section: Section) -> Iterator[str]:
    first, *others = next(iter(section["cells"][0]["results"].values()))
    yield (
        "How many times as fast as with fewer threads, forward and backward, float32. The numbers of threads "
        f"have their turns in one process; target: {SPEEDUP[1]} with 2 threads at {SPEEDUP[0]}."
    )
    for count in others:
        columns = {
            _shape(cell): {
                name: f"{row[first]['seconds'] / row[count]['seconds']:.2f}"
                for name, row in cell["results"].items()
            }
            for cell in section["cells"]
        }
        yield _table(section, f"threads: {count}, × {first}", columns)


def _along(head: str, value: Callable[[Section], str]) -> Callable[[Section], Iterator[str]]:
    """Nanoseconds per score, with one column for each cell."""

    def parts(section: Section) -> Iterator[str]:
        yield "Nanoseconds per score, forward and backward, float32, one thread."
        yield _table(section, head, {value(cell): _per_score(cell) for cell in section["cells"]})

    return parts


def _adversarial(section: Section) -> Iterator[str]:
    cells = section["cells"]
    yield (
        f"Time of rows of {cells[0]['d']} scores over that of random rows, forward, one thread. In brackets "
        "for ours the violation of the optimality conditions that `regattn.certify` finds, for the others "
        "the largest difference from our weights in float64."
    )
    columns: dict[str, dict[str, str]] = {}
    for cell in cells:
        for kind, row in cell["results"].items():
            error = row.get("violation", row.get("difference"))
            columns.setdefault(kind, {})[cell["implementation"]] = f"{short(row['ratio'])} ({error:.0e})"
    yield _table(section, "× random rows", columns)


def _memory(section: Section) -> Iterator[str]:
    (cell,) = section["cells"]
    yield f"Forward and backward, {_shape(cell)}, {cell['dtype']}: {section['method']}."
    yield _table(section, "", {"bytes per score": _column(cell, lambda row: f"{row['bytes_per_score']:.1f}")})


def _training(section: Section) -> Iterator[str]:
    (cell,) = section["cells"]
    yield (
        f"Whole steps (forward, backward, Adam) of the SNLI model on the synthetic corpus, batch "
        f"{section['batch']}, one thread, in turns on the same batches."
    )
    columns = {
        "ms per step": _column(cell, lambda row: f"{1e3 * row['seconds']:.1f}"),
        f"× {section['baseline']}": _column(cell, lambda row: f"{row['ratio']:.3f}"),
        "quartiles": _column(cell, lambda row: " to ".join(f"{q:.3f}" for q in row["ratio_quartiles"])),
        "rounds": _column(cell, lambda row: str(row["rounds"])),
    }
    yield _table(section, "", columns)


def _host(section: Section) -> Iterator[str]:
    (cell,) = section["cells"]
    yield (
        f"Until forward and backward of {_shape(cell)} scores, {cell['dtype']}, are with an idle device: "
        "Python, PyTorch and the driver, not the kernels."
    )
    columns = {
        "µs": _column(cell, lambda row: f"{1e6 * row['seconds']:.0f}"),
        f"× {BASELINE}": _column(cell, lambda row: short(row["ratio"])),
    }
    yield _table(section, "", columns)


_SECTIONS: dict[str, tuple[str, Callable[[Section], Iterable[str]]]] = {
    "shapes": ("Time by shape", _shapes),
    "scaling": ("Several threads", _scaling),
    "length": ("Time against the length of a row", _along("d", lambda cell: str(cell["d"]))),
    "strength": ("Time against λ", _along("λ", lambda cell: f"{cell['lam']:.2g}")),
    "adversarial": ("Rows made to be hard", _adversarial),
    "memory": ("Peak memory", _memory),
    "training": ("A training step", _training),
    "host": ("The host's time", _host),
}


# ------------------------------------------------------------------ a row of points for each implementation
def plot_shapes(section: Section) -> Figure:
    """A point for each shape, darker for longer rows, and the mean."""
    first = min(cell["threads"] for cell in section["cells"])
    wanted = (first, section["cells"][0]["dtype"], "both")
    cells = [c for c in section["cells"] if (c["threads"], c["dtype"], c["direction"]) == wanted]
    names = [n for n in ordered(section) if section["implementations"][n]["kind"] in ("ours", "other")][::-1]
    lengths, scales = (sorted({cell[of] for cell in cells}) for of in ("d", "scale"))
    shades = dict(zip(lengths, np.linspace(0.25, 1, len(lengths)), strict=True))
    figure, axes = new_figure(0.36 * len(names) + 1.1)
    labels = {}
    for height, name in enumerate(names):
        colour = _colour(section, name)
        for cell in cells:
            if name in cell["results"]:
                marker = "o" if cell["scale"] == scales[0] else "D"
                axes.plot(
                    cell["results"][name]["ratio"], height, marker, color=colour, alpha=shades[cell["d"]],
                    markersize=6, markeredgewidth=0,
                )  # fmt: skip
        if mean := mean_ratio(cells, name):
            axes.plot([mean, mean], [height - 0.36, height + 0.36], color=colour, linewidth=2.5)
            labels[name] = short(mean)
    _name_rows(axes, section, names, labels)
    axes.axvline(1, color="black", linewidth=1)
    key = f"d = {', '.join(map(str, lengths))} from pale to dark; ○ scores × {scales[0]:g}"
    key += "".join(f", ◇ × {scale:g}" for scale in scales[1:]) + "; bar and number: geometric mean"
    axes.set(xscale="log", xlabel=f"times torch.softmax, forward and backward, threads: {first}\n{key}")
    axes.xaxis.set_major_formatter("{x:g}")
    return figure


def _name_rows(axes: Axes, section: Section, names: Sequence[str], labels: Mapping[str, str]) -> None:
    """Names on the left of the rows, and on the right what is to be read of them."""
    axes.grid(axis="y", visible=False)
    axes.set_yticks(range(len(names)), names)
    for height, (tick, name) in enumerate(zip(axes.get_yticklabels(), names, strict=True)):
        is_ours = section["implementations"][name]["kind"] == "ours"
        style: dict[str, Any] = {
            "color": _colour(section, name),
            "fontweight": "bold" if is_ours else "normal",
        }
        tick.set(**style)
        place = (1.01, height)
        axes.annotate(labels.get(name, ""), place, xycoords=("axes fraction", "data"), va="center", **style)


# ------------------------------------------------------------------ a line for each implementation
def plot_length(section: Section) -> Figure:
    """Time per score against d."""
    figure, axes = new_figure(5.2)
    _plot_lines(axes, section, lambda cell: cell["d"])
    total = section["cells"][0]["rows"] * section["cells"][0]["d"]
    axes.set_xlabel(f"scores in a row, d ({total:,} scores in all)")
    lengths = [cell["d"] for cell in section["cells"]]
    axes.set_xticks(lengths, [f"{d:,}" if k % 2 == 0 else "" for k, d in enumerate(lengths)])
    return figure


def plot_strength(section: Section) -> Figure:
    """Time per score against λ; λ = 0 has a place of its own on the left."""
    figure, axes = new_figure(4.4)
    positive = [cell["lam"] for cell in section["cells"] if cell["lam"] > 0]
    zero = min(positive) / 10 ** (2 / 3)
    _plot_lines(axes, section, lambda cell: cell["lam"] or zero)
    axes.set_xlabel("λ")
    decades = [lam for lam in positive if abs(np.log10(lam) - round(np.log10(lam))) < 1e-9]
    axes.set_xticks([zero, *decades], ["0", *(f"{lam:g}" for lam in decades)])
    return figure


def _plot_lines(axes: Axes, section: Section, x: Callable[[Section], float]) -> None:
    """Ours strong, others thin and dashed, the baseline dotted; named in the order in which they end."""
    from matplotlib.ticker import NullLocator

    for name in ordered(section):
        kind = section["implementations"][name]["kind"]
        cells = [cell for cell in section["cells"] if name in cell["results"]]
        if kind == "memcpy" or not cells:
            continue
        times = [nanoseconds_per_score(cell, name) for cell in cells]
        axes.plot(
            [x(cell) for cell in cells], times, label=name, color=_colour(section, name), markersize=3.5,
            linewidth=1.1 if kind == "other" else 2.4, marker=None if kind == "other" else "o",
            linestyle={"baseline": ":", "other": "--"}.get(kind, "-"),
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylabel="nanoseconds per score,\nforward and backward, one thread")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    name_lines(axes)


def _colour(section: Section, name: str) -> str:
    return COLOURS[section["implementations"][name]["mapping"]]


_PLOTS: dict[str, Callable[[Section], Figure]] = {
    "shapes": plot_shapes,
    "length": plot_length,
    "strength": plot_strength,
}
