"""Figures 1 to 3 of the paper, the README's picture, and that of the study of γ: `make figures`.

Figure 1 comes from the library, figures 2 and 3 from the records of finished runs: how trained models with
different mappings attend over the same sentence. The sentence is this project's own; `make predict`,
`translate` and `summarize` draw the attention of a trained model over any other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import regattn
from regattn._heatmap import Panel
from scripts import cli
from scripts.paper import RESULTS
from scripts.paper.plots import mappings_figure
from scripts.paper.selection import (
    MAPPINGS,
    Chosen,
    Runs,
    chosen_strengths,
    corpus_of,
    example_rows,
    file_names,
    grouped,
    strengths_label,
)
from scripts.paper.studies import gamma_study, scale_figure
from scripts.style import draw_panels, house_style, panel_of, save_figure, whole_words
from tasks._registry import TASKS
from tasks.training.records import Record, read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = RESULTS / "figures"
DETAILS = RESULTS / "details"
ENDINGS = (".png", ".pdf")


def draw_mappings(path: Path) -> None:
    """Figure 1."""
    with house_style():
        save_figure(mappings_figure(), path)


def panel_rows(records: Runs, details: Path, chosen: Chosen | None = None) -> list[list[Panel]]:
    """One panel for each of the paper's mappings, of the first run at its strengths; a row for each recipe.

    Titles name the strengths where there are several rows, or of trials. Words that were cut into pieces
    stand whole: a source word has the sum of its pieces' weights, an output word the mean of their rows.
    """
    runs = [run for run in records if run.mapping in MAPPINGS]
    rows = example_rows(runs, details, chosen)

    def title(run: Record) -> str:
        plain = run.experiment and len(rows) == 1
        return run.mapping if plain else f"{run.mapping}, {strengths_label(run)}"

    return [[panel_of(whole_words(example), title(run)) for run, example in row] for row in rows]


def runs_to_show(records: Runs) -> Runs:
    """Runs of a corpus to look at: of entailment those of the model in which attention carries the answer,
    and no trials, which belong to no recipe, where there are others."""
    found = [run for run in records if run.experiment] or records
    return [run for run in found if run.config["task"].get("model") == "decomposable"] or found


def draw_attention(
    records: Runs, details: Path, folder: Path, chosen: Chosen | None = None
) -> Iterator[Path]:
    """Figures 2 and 3 for every corpus and tier with runs that have details, and where they are."""
    corpora = grouped(sorted((run for run in records if run.details), key=corpus_of), corpus_of)
    for kind in sorted({task.figure for task in TASKS.values()}):
        shown = [corpus for corpus in corpora if TASKS[corpus.task].figure == kind]
        for corpus, name in file_names(kind, shown).items():
            lines = panel_rows(runs_to_show(corpora[corpus]), details, chosen)
            for ending in ENDINGS:
                draw_panels(folder / f"{name}{ending}", lines, *TASKS[corpus.task].axes)
                yield folder / f"{name}{ending}"


def picture() -> Figure:
    """The README's: the same scores under four mappings, by the lines that docs/gallery.md shows."""
    words = ["a", "small", "dog", "with", "a", "red", "ball", "runs", "through", "the", "wet", "grass"]
    scores = torch.tensor([0.8, 1.84, 2.0, 1.0, 0.9, 1.8, 1.92, 1.45, 0.7, 0.6, 1.66, 1.82])
    mappings = {
        "softmax": regattn.Softmax(),
        "sparsemax": regattn.Sparsemax(),
        "fusedmax": regattn.Fusedmax(lam=0.1),
        "oscarmax": regattn.Oscarmax(lam=0.04),
    }
    weights = torch.stack([mapping(scores) for mapping in mappings.values()])
    groups = torch.stack([regattn.groups(scores, mapping) for mapping in mappings.values()])
    return regattn.plot(weights, words, list(mappings), groups=groups)


def main(arguments: Sequence[str]) -> None:
    """Write the figures to results/figures, and say where they are."""
    cli.Parser(prog="python -m scripts.figures", description=__doc__).parse_args(arguments)
    for ending in ENDINGS:
        draw_mappings(FIGURES / f"figure1{ending}")
        print(FIGURES / f"figure1{ending}")
    records = read_records(RESULTS / "runs")
    for path in draw_attention(records, DETAILS, FIGURES, chosen_strengths(RESULTS / "studies")):
        print(path)
    save_figure(picture(), FIGURES / "attention.png", dpi=300)  # for screens that show two dots for one
    print(FIGURES / "attention.png")
    if study := gamma_study():
        with house_style():
            save_figure(scale_figure(study), FIGURES / "scale-study.png")
        print(FIGURES / "scale-study.png")


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
