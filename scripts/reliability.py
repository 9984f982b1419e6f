"""The tables of results/reliability.json, which `make soak` writes: what was to hold, and what was found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from scripts import cli
from scripts.markdown import DOCS, fill, markdown
from tasks.checks import counted
from tasks.data.files import read_stored

RESULT = Path("results", "reliability.json")
PAGE, PLACE = DOCS / "reliability.md", "reliability"
_HEADS = ("figure", "target", "measured", "worst")


def markdown_tables(found: dict[str, Any]) -> str:
    """Every table of a result under its heading, and below them what it was measured on."""
    parts = []
    for heading in dict.fromkeys(row["table"] for row in found["rows"]):
        rows = [_cells(row) for row in found["rows"] if row["table"] == heading]
        parts += [f"**{heading}**", markdown(_HEADS, rows)]
    share = "" if found["share"] == 1 else f" N={found['share']:g}"
    packages = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    earlier = [row["commit"] for row in found["rows"] if "commit" in row]  # of rows that it left out
    parts.append(
        f"`make soak{share}`, {counted(round(found['seconds'] / 60), 'minute')} on "
        f"{counted(found['cores'], 'core')}; {packages}; "
        f"{counted(found['threads'], 'thread')}, {counted(found['processes'], 'process')}; "
        f"commit {found['commit'][:12]}"
        + "".join(f", {counted(n, 'row')} of {c[:12]}" for c, n in Counter(earlier).items())
        + "."
    )
    return "\n\n".join(parts)


def _cells(row: dict[str, Any]) -> list[str]:
    worst = "–" if row["worst"] is None else f"{row['worst']:.2g} of it"
    return [row["what"], row["target"], measured(row), worst]


def measured(row: dict[str, Any]) -> str:
    """What was found of a row, in words; a rate of no failure in N is under 3/N with 95 % confidence.

    Example:
        >>> row = {"state": "passed", "n": 1000, "failures": 0, "wanted": 1000, "whole": False, "skipped": []}
        >>> measured(row)
        '0 failures in 1,000 (rate under 0.003)'
        >>> measured({**row, "state": "short", "n": 10})
        'short: 0 failures in 10 of 1,000 (rate under 0.3)'
    """
    state = row["state"]
    because = f" ({'; '.join(row['skipped'])})" if row["skipped"] else ""
    if not row["n"]:
        return f"{'**failed**' if state == 'failed' else 'not run'}{because}"
    of = f" of {row['wanted']:,}" if row["n"] < row["wanted"] else ""
    text = f"{counted(row['failures'], 'failure')} in {row['n']:,}{of}"
    rate = "" if row["whole"] or state == "failed" else f" (rate under {3 / row['n']:.1g})"
    before = {"failed": "**failed**: ", "short": "short: "}.get(state, "")
    return f"{before}{text}{rate}{because}"


def main() -> None:
    """Print the tables; those of the full numbers go into docs/reliability.md."""
    found = read_stored(RESULT, dict)
    tables = markdown_tables(found)
    print(tables)
    if found["share"] >= 1:
        fill(PAGE, {PLACE: tables})


if __name__ == "__main__":
    cli.main(main)
