"""Learning curves from the records of finished runs: `make curves`.

A picture is of one corpus and one tier, as a table is, with a panel for each setting and in it a line for
each mapping: the mean over its seeds, up to the end of the shortest run.
"""

from __future__ import annotations

import textwrap
from itertools import groupby
from pathlib import Path

from scripts import cli
from scripts.paper import RESULTS
from scripts.paper.plots import curves_figure
from scripts.paper.selection import Runs, by_setting, file_names, task_of
from scripts.style import house_style, save_figure
from tasks.training.records import read_records


def draw_all(records: Runs, folder: Path) -> list[Path]:
    """Draw the curves of every corpus with a run whose record has them, and return where they are."""
    settings = by_setting([record for record in records if record.history])
    names = file_names("curves", {corpus: None for corpus, _, _ in settings})
    drawn = []
    for corpus, found in groupby(settings, key=lambda setting: setting[0]):
        panels = [(textwrap.fill(setting, 95), runs) for _, setting, runs in found]
        path = folder / f"{names[corpus]}.png"
        with house_style():
            figure = curves_figure(panels, task_of(panels[0][1][0]).primary_metric, width=7.5, height=3.0)
            save_figure(figure, path, bbox_inches="tight")
        drawn.append(path)
    return drawn


def main() -> None:
    """Write the pictures to results/figures, and say where they are."""
    drawn = draw_all(read_records(RESULTS / "runs"), RESULTS / "figures")
    print("\n".join(map(str, drawn)) or f"no record in {RESULTS / 'runs'} holds the history of its run")


if __name__ == "__main__":
    cli.main(main)
