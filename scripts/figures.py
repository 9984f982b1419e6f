"""Figures 1 to 3 of the paper: `make figures`.

Figure 1 comes from the library, figures 2 and 3 from the records of finished runs: how trained models with
different mappings attend over the same sentence. The sentence is this project's own; `make predict`,
`translate` and `summarize` draw the attention of a trained model over any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import regattn
from scripts import cli
from scripts.columns import mapping_rank
from scripts.curves import file_names
from scripts.pictures import Panel, draw_panels
from scripts.style import COLOURS, house_style, save_figure
from scripts.tables import RESULTS, by_mapping, by_setting
from tasks.training.details import read_details
from tasks.training.records import Record, read_records

FIGURES = RESULTS / "figures"
DETAILS = RESULTS / "details"
ENDINGS = (".png", ".pdf")
SHOWN = {"snli": "figure2", "translation": "figure3", "gigaword": "figure3"}
"""The figure of the paper that shows attention in each task."""

# Of the strengths the paper states p alone. In two dimensions oscarmax is fusedmax.
MAPPINGS = (
    regattn.Softmax(),
    regattn.Sparsemax(),
    regattn.Fusedmax(lam=0.5),
    regattn.PNormmax(p=1.5),
)
_SIGNS = {"lam": "λ", "p": "p"}
_SPAN, _POINTS = 3.0, 601


def draw_mappings(path: Path) -> None:
    """Figure 1: the regularized maximum of (t, 0), left, and the weight of its first score, right."""
    t = torch.linspace(-_SPAN, _SPAN, _POINTS, dtype=torch.float64)
    scores = torch.stack([t, torch.zeros_like(t)], -1)
    with house_style():
        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for mapping in MAPPINGS:
            style: dict[str, Any] = {"color": COLOURS[mapping.function.__name__], "label": _label(mapping)}
            left.plot(t, regattn.max_omega(scores, mapping), **style)
            right.plot(t, mapping(scores)[:, 0], **style)
        _frame(left, "max$_Ω$(t, 0)")
        _frame(right, "Π$_Ω$(t, 0), first coordinate")
        left.legend(frameon=False, loc="upper left")
        save_figure(figure, path)


def _label(mapping: regattn.Mapping) -> str:
    """The mapping with the strengths that it alone has."""
    own = {name: value for name, value in mapping.strengths.items() if name != "gamma"}
    return ", ".join(
        [mapping.function.__name__, *(f"{_SIGNS[name]} = {value:g}" for name, value in own.items())]
    )


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set(xlabel="t", xlim=(-_SPAN, _SPAN))


def panels(records: Sequence[Record], details: Path) -> list[Panel]:
    """One panel for each mapping of runs that differ in mapping and seed alone: the first seed's."""
    firsts = (runs[0] for runs in by_mapping([record for record in records if record.details]).values())
    found = []
    for record in sorted(firsts, key=lambda record: mapping_rank(record.mapping)):
        grid = read_details(details, record.id, record.details).example.grid
        found.append(Panel.of(grid, record.mapping))
    return found


def draw_attention(records: Sequence[Record], details: Path, folder: Path) -> list[Path]:
    """Figures 2 and 3 for every corpus and tier with runs that have details, and where they are."""
    corpora = by_setting([record for record in records if record.details])
    drawn = []
    for kind in sorted(set(SHOWN.values())):
        names = file_names(kind, [corpus for corpus in corpora if SHOWN[corpus[0]] == kind])
        for corpus, name in names.items():
            lines = [panels(runs, details) for runs in corpora[corpus].values()]
            for ending in ENDINGS:
                draw_panels(folder / f"{name}{ending}", lines)
                drawn.append(folder / f"{name}{ending}")
    return drawn


def main() -> None:
    """Write the figures to results/figures, and say where they are."""
    for ending in ENDINGS:
        draw_mappings(FIGURES / f"figure1{ending}")
        print(FIGURES / f"figure1{ending}")
    for path in draw_attention(read_records(RESULTS / "runs"), DETAILS, FIGURES):
        print(path)


if __name__ == "__main__":
    cli.main(main)
