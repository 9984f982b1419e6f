"""A table in Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from scripts.cells import Cell, Table
from scripts.columns import UNKNOWN
from scripts.markdown import markdown

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": "$-$",
    "×": r"$\times$", "ʳ": r"$^\mathrm{r}$", "…": r"\dots{}", "<": "$<$", ">": "$>$",
    "γ": r"$\gamma$", "λ": r"$\lambda$", "ℓ": r"$\ell$", "²": "$^2$",
}  # fmt: skip


def to_markdown(table: Table) -> str:
    """A heading, the table, its notes; the best of a column in bold.

    Example:
        >>> cells = Table("t", "T", "About.", ("a", "b"), ((Cell("x|y"), Cell("1", 1.0, best=True)),))
        >>> print(to_markdown(cells))
        # T
        <BLANKLINE>
        About.
        <BLANKLINE>
        | a | b |
        | --- | --- |
        | x\\|y | **1** |
        <BLANKLINE>
    """
    return "\n\n".join([f"# {table.title}", table.intro, to_grid(table), *table.notes]) + "\n"


def to_grid(table: Table) -> str:
    """The table alone in Markdown."""
    rows = [[_bold(cell, str, "**{}**") for cell in row] for row in table.rows]
    return markdown(table.heads, rows)


def to_tex(table: Table) -> str:
    """A ``table`` environment for the package booktabs; numbers stand at the right."""
    sides = "".join("r" if _is_of_numbers(column) else "l" for column in zip(*table.rows, strict=True))
    heads = " & ".join(tex(head) for head in table.heads)
    rows = [" & ".join(_bold(cell, tex, r"\textbf{{{}}}") for cell in row) + r" \\" for row in table.rows]
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{tex(table.title)}. {tex(' '.join([table.intro, *table.notes]))}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        rf"{heads} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Plain numbers, where cells have one, else their text; unknown ones are empty. The last columns name
    the runs behind a row, and hold what has to be known to read it, such as standings and intervals."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*table.heads, "run ids", "notes"])
    for row in table.rows:
        runs = dict.fromkeys(run for cell in row for run in cell.runs)
        notes = [f"{head}: {cell.note}" for head, cell in zip(table.heads, row, strict=True) if cell.note]
        writer.writerow([*map(_csv_value, row), " ".join(runs), "; ".join(notes)])
    return file.getvalue()


FORMATS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "tex": to_tex, "csv": to_csv}


def tex(text: str) -> str:
    r"""Text for LaTeX.

    Example:
        >>> print(tex("100 % of test_2016 ± 1"))
        100 \% of test\_2016 $\pm$ 1
    """
    return "".join(_TEX.get(letter, letter) for letter in text)


def _bold(cell: Cell, escape: Callable[[str], str], form: str) -> str:
    return form.format(escape(cell.text)) if cell.best else escape(cell.text)


def _is_of_numbers(column: tuple[Cell, ...]) -> bool:
    return any(cell.value is not None for cell in column)


def _csv_value(cell: Cell) -> str:
    if cell.value is not None:
        return repr(cell.value)
    return "" if cell.text in (UNKNOWN, "?") else cell.text
