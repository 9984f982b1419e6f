"""Tables from the records of finished runs: `make tables`.

A table is of one corpus, told apart by its checksum, and of one tier: figures of different data never
share a table, whatever the corpora are called. Detailed ones hold every run, in Markdown; the paper's have
ours beside its figures, in Markdown, LaTeX and CSV.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts import cli
from scripts.cells import Table
from scripts.columns import MAPPING, SEEDS, UNKNOWN, Column, mapping_label
from scripts.comparing.paper import LEGEND, read_paper
from scripts.comparing.paper_tables import paper_tables
from scripts.comparing.verdicts import tally
from scripts.formats import FORMATS, to_grid
from scripts.markdown import fill_readme, markdown
from scripts.reports import Kind, Report, report_of
from scripts.runs.recipes import TIERS
from tasks.training.atomic import write_atomically
from tasks.training.records import Record, read_records

Corpus = tuple[str, str, str, str]
Runs = Sequence[Record]
RESULTS = Path("results")
PLACE = "results"
"""The name of the part of the README that `make tables` writes."""
_ROOM = 10  # columns of a table that GitHub shows without scrolling


def corpus_key(record: Record) -> Corpus:
    """What a table is about."""
    return record.task, record.corpus["name"], record.corpus["sha256"], record.tier


def by_setting(records: Runs) -> dict[Corpus, dict[tuple[str, tuple[str, ...]], list[Record]]]:
    """Runs that may share a table: by corpus and tier, then by setting and the notes on it, both sorted."""
    found: dict[Corpus, dict[tuple[str, tuple[str, ...]], list[Record]]]
    found = defaultdict(lambda: defaultdict(list))
    for record in records:
        report = report_of(record)
        found[corpus_key(record)][report.setting(record), tuple(report.notes(record))].append(record)
    return {corpus: dict(sorted(settings.items())) for corpus, settings in sorted(found.items())}


def by_mapping(records: Runs) -> dict[str, list[Record]]:
    """Runs that may share a row, by the row's name; those of a row by seed."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.seed):
        found[mapping_label(record)].append(record)
    return dict(sorted(found.items()))


def part_tables(records: Runs, kinds: Sequence[Kind]) -> list[str]:
    """One row for each mapping, mean ± standard deviation over the seeds; as many tables as it takes."""
    rows = list(by_mapping(records).values())
    known = [
        [column for column in kind if any(column.text(row) is not None for row in rows)] for kind in kinds
    ]
    return [_table(rows, [MAPPING, SEEDS, *columns]) for columns in _fitting(known, _ROOM - 2)]


def _table(rows: Sequence[Runs], columns: Sequence[Column]) -> str:
    heads = [column.head for column in columns]
    return markdown(heads, ([column.text(row) or UNKNOWN for column in columns] for row in rows))


def _fitting(kinds: Sequence[Kind], room: int) -> list[list[Column]]:
    """The columns in tables with ``room`` for so many, kinds broken only where one alone does not fit."""
    tables: list[list[Column]] = []
    for kind in kinds:
        for number, column in enumerate(kind):
            wanted = len(kind) if number == 0 else 1
            if not tables or len(tables[-1]) + min(wanted, room) > room:
                tables.append([])
            tables[-1].append(column)
    return tables


def tables(report: Report, records: Runs) -> str:
    """All tables of a task, each under the corpus and tier that it is of."""
    parts = [
        f"# {report.title}",
        f"{report.units} Derived from results/runs by `make tables`; not written by hand.",
    ]
    for (task, corpus, sha256, tier), settings in by_setting(records).items():
        sizes = next(iter(settings.values()))[0].corpus["sizes"].items()
        pairs = ", ".join(f"{count:,} {split}" for split, count in sizes)
        parts += [f"## {task} on {corpus}, tier {tier}", f"{pairs} pairs, SHA-256 {sha256[:16]}…"]
        for (setting, notes), found in settings.items():
            parts += [f"### {setting}", *_setting_parts(report, found), *notes]
    return "\n\n".join(parts) + "\n"


def _setting_parts(report: Report, records: Runs) -> list[str]:
    parts = []
    for part in report.parts(records[0]):
        if found := part_tables(records, part.kinds):
            parts += [*([f"#### {part.title}"] if part.title else []), *found]
    return parts


def files(records: Runs, of_paper: Sequence[Table]) -> dict[str, str]:
    """The content of every file of tables, by its name; tasks without records have none.

    Args:
        records: of all runs.
        of_paper: the paper's tables with ours beside them.

    Raises:
        RecordError: records cannot be shown.
    """
    reports = {record.task: report_of(record) for record in records}
    detailed = {
        report.file: tables(report, [record for record in records if record.task == task])
        for task, report in reports.items()
    }
    return {
        **detailed,
        **{f"{table.name}.{kind}": write(table) for table in of_paper for kind, write in FORMATS.items()},
    }


def readme_part(of_paper: Sequence[Table]) -> str:
    """What the README shows of them: the scores at the largest tier with runs, and what became of claims."""
    named = {table.name: table for table in of_paper}
    parts = []
    for name in read_paper().tables:
        if tiers := [tier for tier in TIERS if f"{name}-{tier}" in named]:
            table = named[f"{name}-{tiers[-1]}"]
            parts += [f"**{table.title}.** {table.intro}", to_grid(table)]
    parts += [LEGEND] if parts else []
    return "\n\n".join([*parts, *(_tally(named, tier) for tier in TIERS[1:] if f"claims-{tier}" in named)])


def _tally(named: Mapping[str, Table], tier: str) -> str:
    table = f"[claim by claim](results/tables/claims-{tier}.md)"
    return f"The paper's claims at tier {tier}, {table}: {tally(named[f'claims-{tier}'])}."


def main() -> None:
    """Write all tables to results/tables and the README, and print those in Markdown."""
    records = read_records(RESULTS / "runs")
    of_paper = paper_tables(records, RESULTS / "details", read_paper())
    written = files(records, of_paper)
    fill_readme({PLACE: readme_part(of_paper)})
    folder = RESULTS / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        write_atomically(folder / name, [text.encode()])
        if name.endswith(".md"):
            print(text)


if __name__ == "__main__":
    cli.main(main)
