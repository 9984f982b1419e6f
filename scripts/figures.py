"""Figures 1 to 3 of the paper: `make figures`.

Figure 1 comes from the library, figures 2 and 3 from the records of finished runs: how trained models with
different mappings attend over the same sentence. The sentence is this project's own; `make predict`,
`translate` and `summarize` draw the attention of a trained model over any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from scripts import cli
from scripts.heatmap import Panel, draw_panels
from scripts.paper import RESULTS
from scripts.paper.plots import mappings_figure
from scripts.paper.selection import Runs, by_setting, file_names, first_examples
from scripts.style import house_style, save_figure
from tasks._registry import TASKS
from tasks.training.records import read_records

FIGURES = RESULTS / "figures"
DETAILS = RESULTS / "details"
ENDINGS = (".png", ".pdf")


def draw_mappings(path: Path) -> None:
    """Figure 1."""
    with house_style():
        save_figure(mappings_figure(), path)


def panels(records: Runs, details: Path) -> list[Panel]:
    """One panel for each mapping of runs that differ in mapping and seed alone: the first seed's."""
    return [Panel.of(example.grid, run.mapping) for run, example in first_examples(records, details).values()]


def draw_attention(records: Runs, details: Path, folder: Path) -> Iterator[Path]:
    """Figures 2 and 3 for every corpus and tier with runs that have details, and where they are."""
    settings = by_setting([record for record in records if record.details])
    by_corpus = groupby(settings, key=lambda setting: setting[0])
    corpora = {corpus: [runs for _, _, runs in found] for corpus, found in by_corpus}
    for kind in sorted({task.figure for task in TASKS.values()}):
        shown = [corpus for corpus in corpora if TASKS[corpus.task].figure == kind]
        for corpus, name in file_names(kind, shown).items():
            lines = [panels(runs, details) for runs in corpora[corpus]]
            for ending in ENDINGS:
                draw_panels(folder / f"{name}{ending}", lines)
                yield folder / f"{name}{ending}"


def main() -> None:
    """Write the figures to results/figures, and say where they are."""
    for ending in ENDINGS:
        draw_mappings(FIGURES / f"figure1{ending}")
        print(FIGURES / f"figure1{ending}")
    for path in draw_attention(read_records(RESULTS / "runs"), DETAILS, FIGURES):
        print(path)


if __name__ == "__main__":
    cli.main(main)
