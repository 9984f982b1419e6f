"""How the tables name, order and abbreviate things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import geometric_mean
from typing import Any

Section = Mapping[str, Any]
FAMILIES = ("softmax", "sparsemax", "fusedmax", "oscarmax", "pnormmax", "")  # "": none of ours
NOT_A_NUMBER = 1e9  # stands for NaN and infinite differences, which JSON has no word for
ORIGINS = ("unit", "ours", "peer", "floor")


def ordered(section: Section) -> list[str]:
    """Names of the contestants: family by family, ours before peers, the floor last."""

    def place(name: str) -> tuple[bool, int, int]:
        who = section["contestants"][name]
        return who["origin"] == "floor", FAMILIES.index(who["family"]), ORIGINS.index(who["origin"])

    return sorted(section["contestants"], key=place)


def mean_ratio(cells: Iterable[Section], name: str) -> float | None:
    """Geometric mean of the median ratios, or None where the contestant misses a cell."""
    found = [cell["results"].get(name) for cell in cells]
    return geometric_mean([row["ratio"] for row in found]) if found and all(found) else None


def called(section: Section, name: str) -> str:
    """A name for the first column: ours in bold, and what is not the same answer marked as such."""
    row = section.get("agreement", {}).get(name)
    if row and not row["agrees"]:
        return f"{name} (WRONG, see below)"
    who = section["contestants"][name]
    if who["origin"] == "peer" and not who["family"]:
        return f"{name} (another mapping)"
    return f"**{name}**" if who["origin"] == "ours" else name


def value_of(cell: Section, name: str, show: Callable[[Any], str]) -> str:
    """What a cell says of a contestant, a dash where it says nothing."""
    return show(cell["results"][name]) if name in cell["results"] else "–"


def ratio(cell: Section, name: str) -> str:
    """The median ratio to torch.softmax."""
    return value_of(cell, name, lambda row: short(row["ratio"]))


def per_score(cell: Section, name: str) -> str:
    """Nanoseconds for each score of the batch."""
    return value_of(cell, name, lambda row: short(1e9 * row["seconds"] / cell["rows"] / cell["d"]))


def gigabytes_per_second(cell: Section, name: str) -> str:
    """What must be read and written, over the time."""
    return value_of(cell, name, lambda row: f"{cell['bytes'] / row['seconds'] / 1e9:.3g}")


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


def fault(row: Section) -> str:
    """What is wrong with an answer."""
    weights = "are not numbers" if row["weights"] >= NOT_A_NUMBER else f"differ by up to {row['weights']:.1g}"
    return (
        f"WRONG: against {row['against']} its weights {weights} at {row['where']} (tolerance "
        f"{row['tolerance']:g}), its gradient differs in up to {row['gradient_rows_off']:.0%} of the rows"
    )


def notes(section: Section, told: set[str]) -> list[str]:
    """What the contestants compute, how well they agree with ours, and who is missing; unless told before."""
    lines = [line for line in _remarks(section) if line not in told]
    told.update(lines)
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _remarks(section: Section) -> Iterable[str]:
    agreement = section.get("agreement", {})
    for name in ordered(section):
        says, row = section["contestants"][name].get("says", ""), agreement.get(name)
        if row and not row["agrees"]:
            yield f"{name} is {fault(row)}"
        if says:
            yield f"{name}: {says}"
    agreeing = [(n, row["weights"]) for n, row in agreement.items() if row["agrees"]]
    if agreeing:
        worst = ", ".join(f"{name} {weights:.0e}" for name, weights in agreeing)
        yield f"largest difference of a weight from ours in float64, before the clock started: {worst}"
    for name, reason in section["skipped"].items():
        yield f"without {name}: {reason}"
