"""Tables in Markdown, for whatever the suite derives from its results."""

from __future__ import annotations

from collections.abc import Iterable


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: bool = False) -> str:
    """A table; the columns behind the first stand at the right where they hold ``numbers``."""
    heads = list(heads)
    rules = ["---", *["---:" if numbers else "---"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rules, *rows))
