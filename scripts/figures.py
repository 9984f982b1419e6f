"""Figures 1 to 3 of the paper, and the README's picture: `make figures`.

Figure 1 comes from the library, figures 2 and 3 from the records of finished runs: how trained models with
different mappings attend over the same sentence. The sentence is this project's own; `make predict`,
`translate` and `summarize` draw the attention of a trained model over any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import regattn
from regattn._heatmap import Panel
from scripts import cli
from scripts.heatmap import draw_panels, panel_of, whole_words
from scripts.paper import RESULTS
from scripts.paper.plots import mappings_figure
from scripts.paper.scale import scale_figure, study_records
from scripts.paper.selection import MAPPINGS, UNIFORM, Runs, by_setting, file_names, first_examples, grouped
from scripts.style import house_style, save_figure
from tasks._registry import TASKS
from tasks.training.details import read_details
from tasks.training.records import Record, read_records

FIGURES = RESULTS / "figures"
DETAILS = RESULTS / "details"
ENDINGS = (".png", ".pdf")
PICTURED = "translation-fusedmax-multi30k_fr_en-s1-9ad66f65"
"""The run whose attention the README shows."""


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


def draw_picture(records: Runs, details: Path, path: Path) -> None:
    """The README's, as anyone draws attention with the library."""
    for run in records:
        if run.id == PICTURED:
            grid = whole_words(read_details(details, run.id, run.details).example.grid)
            figure = regattn.plot(
                grid.weights, grid.source, grid.target, groups=grid.groups, title=run.mapping
            )
            save_figure(figure, path)
            print(path)


def main() -> None:
    """Write the figures to results/figures, and say where they are."""
    for ending in ENDINGS:
        draw_mappings(FIGURES / f"figure1{ending}")
        print(FIGURES / f"figure1{ending}")
    records = read_records(RESULTS / "runs")
    for path in draw_attention(records, DETAILS, FIGURES):
        print(path)
    draw_picture(records, DETAILS, FIGURES / "attention.png")
    if study := study_records():
        with house_style():
            save_figure(scale_figure(study), FIGURES / "scale-study.png")
        print(FIGURES / "scale-study.png")


if __name__ == "__main__":
    cli.main(main)
