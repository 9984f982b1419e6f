"""`make report`: one page of everything that results/ holds, to results/report/index.html."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import cli
from scripts.paper import RESULTS
from scripts.paper.page import page
from scripts.paper.reported import read_paper
from tasks.data.files import write_atomically
from tasks.training.records import read_records


def main(arguments: Sequence[str]) -> None:
    """Write the page, and say where it is."""
    parser = cli.Parser(prog="python -m scripts.report", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "report" / "index.html", help="the page")
    output = parser.parse_args(arguments).output
    records = read_records(RESULTS / "runs")
    text = page(records, RESULTS, read_paper()).encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, [text])
    print(f"{output}: {len(records)} runs, {len(text) / 2**20:.1f} MiB")


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
