"""Words and tables in Markdown, and the parts of pages that are made of results, not written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.data.files import locked_directory, write_atomically

README, DOCS = Path("README.md"), Path("docs")


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: bool = False) -> str:
    r"""A table; the columns behind the first stand at the right where they hold ``numbers``.

    Example:
        >>> print(markdown(["a", "b"], [["x|y", "1"], ["a < b", "<b>\n2"]]))
        | a | b |
        | --- | --- |
        | x\|y | 1 |
        | a < b | &lt;b> 2 |
        >>> markdown(["a"], [["γ 1: 2 ± 3"]]).splitlines()[-1]
        '| γ\xa01: 2±3 |'
    """
    heads = list(heads)
    rules = ["---", *["---:" if numbers else "---"] * (len(heads) - 1)]
    lines = ([_escaped(cell) for cell in line] for line in (heads, rules, *rows))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(cell: str) -> str:
    """Text that stays in its cell, and numbers that no line divides."""
    cell = paragraph(cell).replace("|", r"\|")
    return re.sub(r"(?<=\b[γλp]) (?=\d)", "\N{NO-BREAK SPACE}", cell.replace(" ± ", "±"))


def paragraph(text: str) -> str:
    """Text that is one paragraph and no tag, wherever it comes from.

    Example:
        >>> paragraph("on <b>\\n# mine, 1 < 2")
        'on &lt;b> # mine, 1 < 2'
    """
    return re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", " ".join(text.splitlines()))


def filled(text: str, parts: Mapping[str, str]) -> str:
    """The text with each part in its place, between ``<!-- name -->`` and ``<!-- end of name -->``.

    Example:
        >>> filled("a <!-- x -->old<!-- end of x --> z", {"x": "new"}).split()
        ['a', '<!--', 'x', '-->', 'new', '<!--', 'end', 'of', 'x', '-->', 'z']
    """
    for name, content in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        made = f"{begin}\n\n{content.strip()}\n\n{end}"
        text, count = place.subn(lambda _, made=made: made, text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"a page must have one place for {name}, {begin} … {end}, got {count}")
    return text


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Put the parts into a page."""
    with locked_directory(page.absolute().parent):  # two commands write one part each
        text = page.read_text(encoding="utf-8")
        made = filled(text, parts)
        if made != text:
            write_atomically(page, [made.encode()])
