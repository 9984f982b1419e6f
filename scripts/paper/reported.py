"""What the paper reports: its figures, settings and claims, each with how surely it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
PAPER = Path(__file__).resolve().parents[2] / "results" / "paper.yaml"
MARKS = {"stated": "", "confirmed": "", "recalled": "ʳ", "unknown": "?"}
"""The degrees of confidence, and what a figure of each is marked with."""
LEGEND = (
    "Of the paper's figures, those with ʳ are recalled, not confirmed, and those that are not known are a ?."
)
RELATIONS = ("greater", "noninferior", "same_time", "untested")


class PaperError(ValueError):
    """The file of the paper's numbers cannot be used; the message says where."""


@dataclass(frozen=True)
class ReportedValue:
    """A value of the paper's: how surely it is known, and where it was confirmed."""

    value: float | str | None
    confidence: str
    source: str = ""

    def __post_init__(self) -> None:
        if self.confidence not in MARKS:
            raise PaperError(f"a confidence must be one of {', '.join(MARKS)}, got {self.confidence!r}")
        if (self.value is None) != (self.confidence == "unknown"):
            raise PaperError(
                f"what is unknown must have no value, and all else one, got {self.value} {self.confidence}"
            )


@dataclass(frozen=True)
class ReportedColumn:
    """A column of a table.

    Attributes:
        key: its name.
        split: the test split, None where that is not known.
        metric: as records call it.
        label: stands above it.
        measure: the first word of the signature that its figures must have, where there are several ways.
    """

    key: str
    split: str | None
    metric: str
    label: str
    measure: str = ""


@dataclass(frozen=True)
class ReportedTable:
    """A table of the paper.

    Attributes:
        corpus: what it is measured on.
        columns: in order.
        rows: mapping → key of a column → figure.
    """

    corpus: str
    columns: tuple[ReportedColumn, ...]
    rows: Mapping[str, Mapping[str, ReportedValue]]


@dataclass(frozen=True)
class ReportedSetting:
    """One choice of the paper's: of a table, or of ``opennmt``, whose defaults two tables share."""

    table: str
    name: str
    reported: ReportedValue


@dataclass(frozen=True)
class Claim:
    """What the paper claims, and how it is tested.

    Attributes:
        id: its name.
        text: in words.
        confidence: how surely the paper says so.
        relation: ``greater`` (a scores above b), ``noninferior`` (a at most ``margin`` below b),
            ``same_time`` (a step of training with a takes at most the part ``margin`` more or less than one
            with b), or ``untested``.
        table: of the paper, where it is tested.
        columns: keys of its columns; all where there are none.
        a: mappings, each tested against each of ``b``.
        b: mappings.
        margin: of ``noninferior`` and ``same_time``.
        how: what is said in place of a test.
        source: where it was confirmed.
    """

    id: str
    text: str
    confidence: str
    relation: str
    table: str = ""
    columns: tuple[str, ...] = ()
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    margin: float = 0.0
    how: str = ""
    source: str = ""


@dataclass(frozen=True)
class Primary:
    """The comparisons of a claim that were named before the runs were made, and are tested at 5 % each.

    Attributes:
        claim: its id; one claim has one at most.
        recipe: whose runs, such as ``snli``.
        split: the test set.
        column: key of the column of the claim's table.
        a: mappings: all of them have to pass.
        b: the mapping that they are compared with.
    """

    claim: str
    recipe: str
    split: str
    column: str
    a: tuple[str, ...]
    b: str


@dataclass(frozen=True)
class Paper:
    """Everything that is known of the paper, its tables by task, and what of it is tested first."""

    source: str
    tables: Mapping[str, ReportedTable]
    settings: tuple[ReportedSetting, ...]
    claims: tuple[Claim, ...]
    primary: tuple[Primary, ...] = ()


def read_paper(path: Path = PAPER) -> Paper:
    """What the paper reports.

    Raises:
        PaperError: a confidence is missing or none of the known ones; something unknown has a value, or
            something else has none; a key is missing or too many; a claim names what there is not.
        OSError: there is no such file.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        paper = Paper(
            source=content["source"],
            tables={name: _table(**values) for name, values in content["tables"].items()},
            settings=tuple(_setting(**values) for values in content["settings"]),
            claims=tuple(_made(Claim, values) for values in content["claims"]),
            primary=tuple(_made(Primary, values) for values in content["primary"]),
        )
        for claim in paper.claims:
            _check_claim(claim, paper.tables)
        _check_primary(paper)
    except (yaml.YAMLError, PaperError, KeyError, AttributeError, TypeError) as error:
        raise PaperError(f"{path} must hold what the paper reports, got {error}") from error
    return paper


def _table(corpus: str, columns: list[Any], rows: dict[str, Any]) -> ReportedTable:
    made = tuple(_made(ReportedColumn, column) for column in columns)
    keys = [column.key for column in made]
    for mapping, figures in rows.items():
        if list(figures) != keys:
            raise PaperError(f"{mapping} must have the columns {', '.join(keys)}, got {', '.join(figures)}")
    figures = {
        mapping: {key: _made(ReportedValue, figure) for key, figure in row.items()}
        for mapping, row in rows.items()
    }
    return ReportedTable(corpus, made, figures)


def _setting(table: str, name: str, **values: Any) -> ReportedSetting:
    return ReportedSetting(table, name, _made(ReportedValue, values))


def _made(kind: type[T], values: dict[str, Any]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if strange := sorted(set(values) - known):
        raise PaperError(f"{', '.join(strange)}, which is no part of a {kind.__name__}: {values}")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return kind(**{**values, **lists})


def _check_claim(claim: Claim, tables: Mapping[str, ReportedTable]) -> None:
    _check_known("confidence", [claim.confidence], MARKS)
    _check_known("relation", [claim.relation], RELATIONS)
    if claim.relation == "untested":
        return
    table = tables[claim.table]
    _check_known("column", claim.columns, [column.key for column in table.columns])
    _check_known("mapping", [*claim.a, *claim.b], table.rows)
    if not (claim.a and claim.b):
        raise PaperError(f"the claim {claim.id} without mappings")
    if (claim.margin > 0) != (claim.relation in ("noninferior", "same_time")):
        raise PaperError(f"the claim {claim.id}, {claim.relation}, with the margin {claim.margin}")


def _check_primary(paper: Paper) -> None:
    claims = {claim.id: claim for claim in paper.claims}
    if len({primary.claim for primary in paper.primary}) < len(paper.primary):
        raise PaperError("a claim with several primary comparisons")
    for primary in paper.primary:
        _check_known("claim", [primary.claim], claims)
        claim = claims[primary.claim]
        _check_known("mapping of a", primary.a, claim.a)
        _check_known("mapping of b", [primary.b], claim.b)
        columns = claim.columns or [column.key for column in paper.tables[claim.table].columns]
        _check_known("column", [primary.column], columns)


def _check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    if strange := [name for name in names if name not in known]:
        raise PaperError(f"the {what} {', '.join(strange)}, none of {', '.join(known)}")
