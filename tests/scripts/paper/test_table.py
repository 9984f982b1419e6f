"""A table says the same in every format."""

import csv
import io

from scripts.paper.table import Cell, Table, to_csv, to_markdown

TABLE = Table(
    name="snli-mini",
    title="Entailment, 100 %",
    intro="On test_2016 & others.",
    heads=("mapping", "paper", "ours, %"),
    rows=(
        (
            Cell("a|b"),
            Cell("82.41ʳ", 82.41, note="recalled"),
            Cell("63.57 ± 0.41", 63.5666, ("run1", "run2"), best=True),
        ),
        (Cell("fused_max"), Cell("?"), Cell("–", runs=("run2", "run3"))),
    ),
    notes=("First.", "p < 0.05"),
)


def test_markdown_holds_heading_table_and_notes() -> None:
    assert to_markdown(TABLE) == (
        "# Entailment, 100 %\n\nOn test_2016 & others.\n\n"
        "| mapping | paper | ours, % |\n| --- | --- | --- |\n"
        "| a\\|b | 82.41ʳ | **63.57±0.41** |\n| fused_max | ? | – |\n\n"
        "First.\n\np < 0.05\n"
    )


def test_csv_comes_back_as_it_was_written() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows == [
        ["mapping", "paper", "ours, %", "run ids", "notes"],
        ["a|b", "82.41", "63.5666", "run1 run2", "paper: recalled"],
        ["fused_max", "", "", "run2 run3", ""],
    ]
    assert [float(rows[1][n]) for n in (1, 2)] == [cell.value for cell in TABLE.rows[0][1:]]
