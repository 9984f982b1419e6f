"""The results of a benchmark: sections of cells, each with a figure for each implementation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from regattn._registry import MAPPINGS
from scripts.cli import UsageError
from tasks.data.files import read_whole

Section = Mapping[str, Any]
_KINDS = ("baseline", "ours", "other", "memcpy")


def read_results(path: Path) -> dict[str, Any]:
    """The sections that a file holds, by name; none if there is no file.

    Raises:
        UsageError: it holds something else.
    """
    if not path.exists():
        return {}
    try:
        return dict(json.loads(read_whole(path))["sections"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} must be a benchmark's JSON, got {error!r}; move it away") from error


def ordered(section: Section) -> list[str]:
    """Names of the implementations: mapping by mapping, ours before others, memcpy last."""
    mappings = [*MAPPINGS, ""]

    def place(name: str) -> tuple[bool, int, int]:
        found = section["implementations"][name]
        return found["kind"] == "memcpy", mappings.index(found["mapping"]), _KINDS.index(found["kind"])

    return sorted(section["implementations"], key=place)


def usual_cells(shapes: Section, direction: str, threads: int) -> list[Section]:
    """The cells of a section of shapes in float32, in one direction and on so many threads."""
    usual = {"dtype": "float32", "threads": threads, "direction": direction}
    return [cell for cell in shapes.get("cells", ()) if usual.items() <= cell.items()]


def mean_ratio(cells: Iterable[Section], name: str) -> float | None:
    """Geometric mean of the median ratios, or None where the implementation misses a cell."""
    found = [cell["results"].get(name) for cell in cells]
    return geometric_mean([row["ratio"] for row in found]) if found and all(found) else None


def nanoseconds_per_score(cell: Section, name: str) -> float:
    """Of an implementation that is in the cell."""
    return 1e9 * cell["results"][name]["seconds"] / cell["rows"] / cell["d"]


def short(number: float | None) -> str:
    """Two digits that count, and no exponent.

    Example:
        >>> short(0.512), short(3.14159), short(27.3), short(1139.6), short(None)
        ('0.51', '3.1', '27', '1140', '–')
    """
    if number is None:
        return "–"
    return f"{number:.2f}" if number < 0.995 else f"{number:.1f}" if number < 9.95 else f"{number:.0f}"


def history(section: Section) -> str:
    """Where a section's figures come from, in one paragraph."""
    found, machine = section["history"], section["history"]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{machine['name']}, {machine['cores']} cores, load {found['load']} when it began; {found['date']}, "
        f"commit {found['commit'][:12]}{'-dirty' if found['commit'].endswith('-dirty') else ''}, "
        f"`{found['command']}`, {found['seconds']:.0f} s; {versions}."
    )
