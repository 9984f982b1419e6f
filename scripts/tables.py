"""Tables from the records of finished runs: `make tables`.

A table is of one corpus, told apart by its checksum, and of one tier: figures of different data never
share a table, whatever the corpora are called. The paper's have ours beside its figures, in Markdown and
CSV; every run with all of its figures stands in a CSV for each task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts import cli
from scripts.bench.render import Section, cost_by_mapping, cost_by_shape, read_results
from scripts.markdown import DOCS, README, fill, paragraph
from scripts.paper import RESULTS
from scripts.paper.reported import LEGEND, read_paper
from scripts.paper.selection import Runs, grouped, mapping_label, task_of
from scripts.paper.studies import study_tables
from scripts.paper.table import FORMATS, Table, to_grid
from scripts.paper.tables import TierResults, results_of_tiers
from tasks._registry import TASKS
from tasks.data.files import write_atomically
from tasks.training.records import read_records


def files(records: Runs, results: Sequence[TierResults], studies: Sequence[Table] = ()) -> dict[str, str]:
    """The content of every file of tables, by its name; tasks without records have none."""
    of_tasks = grouped(records, lambda record: task_of(record).name)
    of_paper = [*(table for result in results for table in result.tables), *studies]
    return {
        **{f"{task}.csv": all_runs(runs) for task, runs in of_tasks.items()},
        **{f"{table.name}.{ending}": write(table) for table in of_paper for ending, write in FORMATS.items()},
    }


def all_runs(records: Runs) -> str:
    """A row for each run with every figure of its splits, as CSV."""
    from pandas import json_normalize  # type: ignore[import-untyped]  # half a second to import

    rows = [
        {
            "run": run.id, "corpus": run.corpus["name"], "tier": run.tier, "experiment": run.experiment,
            "mapping": mapping_label(run), "seed": run.seed, "epochs": run.epochs,
            "best epoch": run.best_epoch, "seconds": run.seconds["total"],
            "time in the mapping": run.seconds["mapping_share"], **run.metrics,
        }
        for run in records
    ]  # fmt: skip
    return str(json_normalize(rows, sep=" ").to_csv(index=False, lineterminator="\n"))


def page_parts(results: Sequence[TierResults], bench: Mapping[str, Section]) -> dict[Path, dict[str, str]]:
    """What pages show of results: page, place in it, content."""
    large = [result for result in results if result.tier != "mini"]
    return {
        README: {"results": short_part(large), "cost": cost_by_mapping(bench)},
        DOCS / "results.md": {"results": whole_part(results)},
        DOCS / "benchmarks.md": {"cost": cost_by_shape(bench)},
    }


def short_part(results: Sequence[TierResults]) -> str:
    """What the largest tier says, and one table of it."""
    overview = results[-1].overview if results else None
    if not overview:
        return ""
    return "\n\n".join([_said(results[-1]), to_grid(overview), *map(paragraph, overview.notes)])


def _said(result: TierResults) -> str:
    return "\n".join(f"- {paragraph(text)}" for text in result.findings)


def whole_part(results: Sequence[TierResults]) -> str:
    """The scores of each task at the largest tier with runs, and what became of the claims."""
    largest = {table.name.partition("-")[0]: table for result in results for table in result.scores}
    scores = [largest[task] for task in TASKS if task in largest]
    parts = [
        part
        for table in scores
        for part in (f"## {paragraph(table.title)}", paragraph(table.intro), to_grid(table))
    ]
    claims = [
        f"The paper's claims at tier {result.tier}, "
        f"[claim by claim](../{RESULTS}/tables/{result.claims.table.name}.md): {result.claims.tally()}."
        for result in results
        if result.tier != "mini"
    ]
    said = [_said(result) for result in results if result.tier != "mini"]
    return "\n\n".join([*said, *parts, *([LEGEND] if parts else []), *claims])


def main() -> None:
    """Write all tables to results/tables and into the pages that show them, and print those in Markdown."""
    records = read_records(RESULTS / "runs")
    results = results_of_tiers(records, RESULTS, read_paper())
    written = files(records, results, study_tables())
    for page, parts in page_parts(results, read_results(RESULTS / "bench" / "cpu.json")).items():
        fill(page, parts)
    folder = RESULTS / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        write_atomically(folder / name, [text.encode()])
    print("\n".join(text for name, text in written.items() if name.endswith(".md")))


if __name__ == "__main__":
    cli.main(main)
