"""What the paper says: its numbers, settings and claims, each with how surely it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
PAPER = Path(__file__).resolve().parents[2] / "results" / "paper.yaml"
MARKS = {"stated": "", "confirmed": "", "recalled": "ʳ", "unknown": "?"}
"""The standings, and what a figure of each is marked with."""
LEGEND = (
    "Of the paper's figures, those with ʳ are recalled, not confirmed, and those that are not known are a ?."
)
BEST = "best"
RELATIONS = ("greater", "within", "same_time", "untested")


class PaperError(ValueError):
    """The file of the paper's numbers cannot be used; the message says where."""


@dataclass(frozen=True)
class Quoted:
    """A value of the paper's: how surely it is known, and where it was confirmed."""

    value: float | str | None
    standing: str
    source: str = ""

    def __post_init__(self) -> None:
        if self.standing not in MARKS:
            raise PaperError(f"a standing must be one of {', '.join(MARKS)}, got {self.standing!r}")
        if (self.value is None) != (self.standing == "unknown"):
            raise PaperError(
                f"what is unknown has no value, and nothing else has none, got {self.value} {self.standing}"
            )


@dataclass(frozen=True)
class PaperColumn:
    """A column of a table: a metric of a test split, None where that is not known."""

    key: str
    split: str | None
    metric: str
    label: str


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        title: its subject.
        task: as records name it.
        corpus: what it is measured on.
        columns: in order.
        rows: mapping → key of a column → figure.
    """

    title: str
    task: str
    corpus: str
    columns: tuple[PaperColumn, ...]
    rows: Mapping[str, Mapping[str, Quoted]]


@dataclass(frozen=True)
class Setting:
    """One choice of the paper's: of a table, or of ``opennmt``, whose defaults two tables share."""

    table: str
    name: str
    quoted: Quoted


@dataclass(frozen=True)
class Claim:
    """What the paper claims, and how it is tested.

    Attributes:
        id: its name.
        text: in words.
        standing: how surely the paper says so.
        relation: ``greater`` (a scores above b), ``within`` (a at most ``margin`` from b), ``same_time`` (an
            epoch with a takes at most the part ``margin`` more or less than one with b), or ``untested``.
        table: of the paper, where it is tested.
        columns: keys of its columns; all where there are none.
        a: mappings, each tested against each of ``b``.
        b: mappings, or ``best``.
        margin: of ``within`` and ``same_time``.
        how: what is said in place of a test.
        source: where it was confirmed.
    """

    id: str
    text: str
    standing: str
    relation: str
    table: str = ""
    columns: tuple[str, ...] = ()
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    margin: float = 0.0
    how: str = ""
    source: str = ""


@dataclass(frozen=True)
class Yardstick:
    """Somebody else's figures for a task of the paper: key of a column, or ``dev``, → score."""

    table: str
    name: str
    standing: str
    scores: Mapping[str, float]
    source: str = ""


@dataclass(frozen=True)
class Paper:
    """Everything that is known of the paper."""

    source: str
    tables: Mapping[str, PaperTable]
    settings: tuple[Setting, ...]
    claims: tuple[Claim, ...]
    yardsticks: tuple[Yardstick, ...]


def read_paper(path: Path = PAPER) -> Paper:
    """The paper's numbers.

    Raises:
        PaperError: a standing is missing or none of the known ones; something unknown has a value, or
            something else has none; a key is missing or too many; a claim names what there is not.
        OSError: there is no such file.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        tables = {name: _table(values) for name, values in content["tables"].items()}
        paper = Paper(
            source=content["source"],
            tables=tables,
            settings=tuple(_setting(values) for values in content["settings"]),
            claims=tuple(_made(Claim, _tuples(values)) for values in content["claims"]),
            yardsticks=tuple(_made(Yardstick, values) for values in content["yardsticks"]),
        )
        _check(paper)
    except (yaml.YAMLError, PaperError, KeyError, AttributeError, TypeError) as error:
        raise PaperError(f"{path} wants the paper's numbers with their standings, got {error}") from error
    return paper


def _table(values: dict[str, Any]) -> PaperTable:
    columns = tuple(_made(PaperColumn, column) for column in values["columns"])
    keys = [column.key for column in columns]
    rows = {}
    for mapping, figures in values["rows"].items():
        if list(figures) != keys:
            raise PaperError(f"{mapping} wants the columns {', '.join(keys)}, got {', '.join(figures)}")
        rows[mapping] = {key: _made(Quoted, figure) for key, figure in figures.items()}
    return _made(PaperTable, {**values, "columns": columns, "rows": rows})


def _setting(values: dict[str, Any]) -> Setting:
    table, name = values.pop("table"), values.pop("name")
    return Setting(table, name, _made(Quoted, values))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _made(kind: type[T], values: dict[str, Any]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if strange := sorted(set(values) - known):
        raise PaperError(f"{', '.join(strange)}, which is no part of a {kind.__name__}: {values}")
    return kind(**values)


def _check(paper: Paper) -> None:
    for claim in paper.claims:
        _check_known("standing", [claim.standing], list(MARKS))
        _check_known("relation", [claim.relation], RELATIONS)
        if claim.relation != "untested":
            _check_claim(claim, paper.tables)
    for yardstick in paper.yardsticks:
        _check_known("standing", [yardstick.standing], list(MARKS))
        columns = [column.key for column in paper.tables[yardstick.table].columns]
        _check_known("column", yardstick.scores, [*columns, "dev"])


def _check_claim(claim: Claim, tables: Mapping[str, PaperTable]) -> None:
    table = tables[claim.table]
    _check_known("column", claim.columns, [column.key for column in table.columns])
    _check_known("mapping", [*claim.a, *claim.b], [*table.rows, BEST])
    if not (claim.a and claim.b):
        raise PaperError(f"the claim {claim.id} without mappings")
    if (claim.margin > 0) != (claim.relation in ("within", "same_time")):
        raise PaperError(f"the claim {claim.id}, {claim.relation}, with the margin {claim.margin}")


def _check_known(what: str, names: Sequence[str] | Mapping[str, Any], known: Sequence[str]) -> None:
    if strange := [name for name in names if name not in known]:
        raise PaperError(f"the {what} {', '.join(strange)}, none of {', '.join(known)}")
