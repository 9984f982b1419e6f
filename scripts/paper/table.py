"""A table of results, and what it is in Markdown, LaTeX and CSV; and every run of a task in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from scripts.markdown import markdown
from scripts.paper.selection import Corpus, Runs, by_label, by_setting, mapping_label, sizes_of
from scripts.paper.significance import mean_std
from tasks._registry import (
    BEST_EPOCH,
    EPOCH_SECONDS,
    EPOCHS,
    MAPPING_SHARE,
    TOKENS_PER_SECOND,
    Column,
    Group,
    TaskSpec,
    measure,
)
from tasks.training.records import Record, RecordError

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]

UNKNOWN = "–"
NOT_REPORTED = "?"
"""What stands in place of a figure of ours, and of the paper's, that there is not."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says, in plain characters.
        value: what it is sorted by, where that is a number; digits behind the eighth may differ from one
            processor to another, and are not written.
        runs: ids of the runs that the figure is made of; none for a label or somebody else's figure.
        note: what has to be known to read it, such as how surely a figure of the paper's is known.
        best: whether it is the best of its column, which is shown in bold.
    """

    text: str
    value: float | None = None
    runs: tuple[str, ...] = ()
    note: str = ""
    best: bool = False

    @property
    def is_empty(self) -> bool:
        return self.text in (UNKNOWN, NOT_REPORTED)


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        name: of its files, such as ``"snli-small"``.
        title: its heading.
        intro: a paragraph above it: which data, which tier, what differs from the paper.
        heads: one for each column.
        rows: of as many cells.
        notes: paragraphs below it.
    """

    name: str
    title: str
    intro: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def column(self, number: int) -> list[Cell]:
        return [row[number] for row in self.rows]

    def frame(self, content: Callable[[Cell], Any]) -> DataFrame:
        """What ``content`` makes of all cells, under the heads."""
        from pandas import DataFrame  # half a second, which commands that only name a cell do without

        return DataFrame([list(map(content, row)) for row in self.rows], columns=self.heads, dtype=object)


def to_markdown(table: Table) -> str:
    r"""A heading, the table, its notes; the best of a column in bold.

    Example:
        >>> print(to_markdown(Table("t", "T", "About.", ("a", "b"), ((Cell("x|y"), Cell("1", best=True)),))))
        # T
        <BLANKLINE>
        About.
        <BLANKLINE>
        | a | b |
        | --- | --- |
        | x\|y | **1** |
        <BLANKLINE>
    """
    return "\n\n".join([f"# {table.title}", table.intro, to_grid(table), *table.notes]) + "\n"


def to_grid(table: Table) -> str:
    """The table alone in Markdown."""
    rows = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in table.rows]
    return markdown(table.heads, rows)


def to_csv(table: Table) -> str:
    """Plain numbers, where cells have one, else their text; what is not there is empty. The last columns name
    the runs behind a row, and hold what has to be known to read it, such as intervals."""
    frame = table.frame(_plain)
    frame["run ids"] = [
        " ".join(dict.fromkeys(run for cell in row for run in cell.runs)) for row in table.rows
    ]
    frame["notes"] = [
        "; ".join(f"{head}: {cell.note}" for head, cell in zip(table.heads, row, strict=True) if cell.note)
        for row in table.rows
    ]
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _plain(cell: Cell) -> Any:
    if cell.value is None:
        return "" if cell.is_empty else cell.text
    return float(f"{cell.value:.8g}")


_LETTERS = str.maketrans({
    "±": r"$\pm$", "–": "--", "−": "$-$", "×": r"$\times$", "ʳ": r"$^\mathrm{r}$", "…": r"\dots{}",
    "<": "$<$", ">": "$>$", "γ": r"$\gamma$", "λ": r"$\lambda$", "ℓ": r"$\ell$", "²": "$^2$",
})  # fmt: skip
_ESCAPES = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
})  # fmt: skip

_SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def latex_text(text: str) -> str:
    r"""Text for LaTeX, which knows special letters and, in old classes, no other alphabet.

    Example:
        >>> print(latex_text("100 % of test_2016 ± 1"))
        100 \% of test\_2016 $\pm$ 1
    """
    return text.translate(_ESCAPES | _LETTERS)


def to_latex(table: Table) -> str:
    """A ``table`` environment for the package booktabs, shrunk to the line; numbers stand at the right."""
    is_number = [any(cell.value is not None for cell in table.column(n)) for n in range(len(table.heads))]
    best = table.frame(lambda cell: "textbf:--rwrap;" if cell.best else "")
    styled = (
        table.frame(lambda cell: cell.text)
        .style.format(latex_text)
        .format_index(latex_text, axis=1)
        .hide(axis="index")
    )
    text = styled.apply(lambda _: best, axis=None).to_latex(
        caption=f"{latex_text(table.title)}. {latex_text(' '.join([table.intro, *table.notes]))}",
        label=f"tab:{table.name}", column_format="".join("r" if right else "l" for right in is_number),
        position_float="centering", hrules=True,
    )  # fmt: skip
    text = text.replace(r"\begin{tabular}", f"{_SHRUNK}\n\\begin{{tabular}}")
    text = text.replace(r"\end{tabular}", r"\end{tabular}}")
    return "% needs \\usepackage{booktabs,graphicx}\n" + text


FORMATS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "tex": to_latex, "csv": to_csv}


# ------------------------------------------------------------------ every run of a task
_ROOM = 10  # columns of a table that GitHub shows without scrolling
_FIXED = ("mapping", "seeds")


def _listed(name: str) -> Callable[[Runs], str]:
    return lambda runs: ", ".join(str(getattr(run, name)) for run in runs)


# Of time the least disturbed run: a shared machine only ever adds to it.
_COLUMNS: dict[str, tuple[str, Callable[[Runs], str]]] = {
    "mapping": ("mapping", lambda runs: mapping_label(runs[0])),
    "seeds": ("seeds", _listed("seed")),
    BEST_EPOCH: ("best epoch", _listed("best_epoch")),
    EPOCHS: ("epochs", _listed("epochs")),
    EPOCH_SECONDS: ("s / epoch, fastest", lambda runs: f"{min(r.seconds['per_epoch'] for r in runs):.1f}"),
    TOKENS_PER_SECOND: ("tokens / s, fastest", lambda runs: f"{max(r.tokens_per_second for r in runs):,.0f}"),
    MAPPING_SHARE: (
        "time in the mapping",
        lambda runs: mean_std([100 * r.seconds["mapping_share"] for r in runs]).text(1),
    ),
}


def run_tables(task: TaskSpec, records: Runs) -> str:
    """All tables of a task, each under the corpus and tier that it is of.

    Raises:
        RecordError: records cannot be shown.
    """
    parts = [
        f"# {task.title}",
        f"{task.units} Derived from results/runs by `make tables`; not written by hand.",
    ]
    for corpus, settings in groupby(by_setting(records), key=lambda found: found[0]):
        for number, (_, setting, runs) in enumerate(settings):
            parts += [] if number else _corpus(corpus, runs[0])
            parts += [f"### {setting.line}", *_tables(task, runs), *setting.notes]
    return "\n\n".join(parts) + "\n"


def _corpus(corpus: Corpus, record: Record) -> list[str]:
    return [f"## {corpus.title}", f"{sizes_of(record)}, SHA-256 {corpus.sha256[:16]}…"]


def _tables(task: TaskSpec, runs: Runs) -> Iterator[str]:
    """One row for each mapping, mean ± standard deviation over the seeds; as many tables as it takes."""
    first, rows = runs[0], list(by_label(runs).values())
    _check_measured(task, first)
    for part in task.parts:
        groups = [
            [column for column in group if any(_text(column, row) for row in rows)]
            for group in part.columns(first.test_splits, first.signatures)
        ]
        tables = _fitting([group for group in groups if group], _ROOM - len(_FIXED))
        if tables and part.title:
            yield f"#### {part.title.format(split=first.test_splits[0])}"
        for columns in tables:
            shown = (*_FIXED, *columns)
            yield markdown(map(_head, shown), ([_text(c, row) or UNKNOWN for c in shown] for row in rows))


def _head(column: Column | str) -> str:
    return _COLUMNS[column][0] if isinstance(column, str) else column.label


def _text(column: Column | str, runs: Runs) -> str:
    """What a column says of the runs of one mapping; nothing where not all of them know it."""
    if isinstance(column, str):
        return _COLUMNS[column][1](runs)
    values = [run.metrics.get(column.split, {}).get(column.metric) for run in runs]
    known = [column.scale * value for value in values if value is not None]
    return mean_std(known).text(column.digits) if len(known) == len(runs) else ""


def _fitting(groups: Sequence[Group | list[Column | str]], room: int) -> list[list[Column | str]]:
    """The columns in tables with ``room`` for so many, groups broken only where one alone does not fit."""
    tables: list[list[Column | str]] = []
    for group in groups:
        for number, column in enumerate(group):
            needed = min(len(group) if number == 0 else 1, room)
            if not tables or len(tables[-1]) + needed > room:
                tables.append([])
            tables[-1].append(column)
    return tables


def _check_measured(task: TaskSpec, record: Record) -> None:
    """Refuse a record whose signatures do not say which part of the tables its scores belong to."""
    known = [part.signature for part in task.parts if part.signature]
    for kind in dict.fromkeys(kind for kind, _ in known):
        ways = [way for other, way in known if other == kind]
        for split in record.metrics:
            if measure(record.signatures, split, kind) not in ways:
                raise RecordError(
                    f"{record.id} must say how {kind.upper()} of {split} was measured, {' or '.join(ways)}, "
                    f"got {record.signatures.get(split, {}).get(kind, '')!r}"
                )
