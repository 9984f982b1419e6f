"""Figures 1 to 3 of the paper, and the README's picture: `make figures`.

Figure 1 comes from the library, figures 2 and 3 from the records of finished runs: how trained models with
different mappings attend over the same sentence. The sentence is this project's own; `make predict`,
`translate` and `summarize` draw the attention of a trained model over any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import regattn
from regattn._heatmap import Panel
from scripts import cli
from scripts.heatmap import draw_panels, panel_of, whole_words
from scripts.paper import RESULTS
from scripts.paper.plots import mappings_figure
from scripts.paper.scale import gamma_study, scale_figure
from scripts.paper.selection import MAPPINGS, UNIFORM, Runs, by_setting, file_names, first_examples, grouped
from scripts.style import house_style, save_figure
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


def panels(records: Runs, details: Path) -> list[Panel]:
    """One panel for each of the paper's mappings, of runs that differ in mapping and seed alone: the first's.

    Words that were cut into pieces stand whole: a source word has the sum of its pieces' weights, an output
    word the mean of its pieces' rows.
    """
    runs = [run for run in records if run.mapping in MAPPINGS]
    found = first_examples(runs, details).values()
    return [panel_of(whole_words(example.grid), _title(run)) for run, example in found]


def _title(run: Record) -> str:
    """The mapping, and the recipe where it is not the task's own."""
    recipe = run.experiment.partition("/")[2]
    return (
        run.mapping if recipe in ("", run.task) else f"{run.mapping}, {recipe.removeprefix(run.task + '_')}"
    )


def shown_lines(settings: Sequence[Runs]) -> list[Runs]:
    """Runs to look at, recipe by recipe: of entailment those of the model in which attention carries the
    answer, where there are any.

    Runs without attention, and trials that belong to no recipe where others do, are left out.
    """
    found: list[Runs] = [runs for of in settings for runs in grouped(of, lambda run: run.experiment).values()]
    found = [runs for runs in found if not runs[0].experiment.endswith(UNIFORM)]
    found = [runs for runs in found if runs[0].experiment] or found
    attentive = [runs for runs in found if runs[0].config["task"].get("model") == "decomposable"]
    return attentive or found


def draw_attention(records: Runs, details: Path, folder: Path) -> Iterator[Path]:
    """Figures 2 and 3 for every corpus and tier with runs that have details, and where they are."""
    settings = by_setting([record for record in records if record.details])
    by_corpus = groupby(settings, key=lambda setting: setting[0])
    corpora = {corpus: [runs for _, _, runs in found] for corpus, found in by_corpus}
    for kind in sorted({task.figure for task in TASKS.values()}):
        shown = [corpus for corpus in corpora if TASKS[corpus.task].figure == kind]
        for corpus, name in file_names(kind, shown).items():
            lines = [panels(runs, details) for runs in shown_lines(corpora[corpus])]
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


def main() -> None:
    """Write the figures to results/figures, and say where they are."""
    for ending in ENDINGS:
        draw_mappings(FIGURES / f"figure1{ending}")
        print(FIGURES / f"figure1{ending}")
    records = read_records(RESULTS / "runs")
    for path in draw_attention(records, DETAILS, FIGURES):
        print(path)
    save_figure(picture(), FIGURES / "attention.png", dpi=300)  # for screens that show two dots for one
    print(FIGURES / "attention.png")
    if study := gamma_study():
        with house_style():
            save_figure(scale_figure(study), FIGURES / "scale-study.png")
        print(FIGURES / "scale-study.png")


if __name__ == "__main__":
    cli.main(main)
