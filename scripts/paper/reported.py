"""What ours stands beside: the paper's figures, settings and claims, and what simple systems reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.data.files import read_stored

PAPER = Path(__file__).resolve().parents[2] / "results" / "paper.yaml"
MARKS = {"stated": "", "confirmed": "", "recalled": "ʳ", "unknown": "?"}
"""The degrees of confidence, and what a figure of each is marked with."""
LEGEND = (
    "Of the paper's figures, those with ʳ are recalled, not confirmed, and those that are not known are a ?."
)


@dataclass(frozen=True)
class ReportedValue:
    """A value of the paper's: how surely it is known, and where it was confirmed."""

    value: float | str | None
    confidence: str
    source: str = ""


@dataclass(frozen=True)
class ReportedColumn:
    """A column of a table."""

    key: str
    split: str | None  # None where that is not known
    metric: str  # as records call it
    label: str
    measure: str = ""  # how the signature of its figures must begin, where there are several ways


@dataclass(frozen=True)
class ReportedTable:
    """A table of the paper."""

    corpus: str  # what it is measured on
    columns: Sequence[ReportedColumn]
    rows: Mapping[str, Mapping[str, ReportedValue]]  # mapping → key of a column → figure


@dataclass(frozen=True)
class ReportedSetting:
    """One choice of the paper's: of a table, or of ``opennmt``, whose defaults two tables share."""

    table: str
    name: str
    reported: ReportedValue


@dataclass(frozen=True)
class Claim:
    """What the paper claims, and how it is tested.

    ``greater`` is a above b, ``noninferior`` a at most ``margin`` below it, ``same_time`` a training step
    of a within the part ``margin`` of b's; or it is ``untested``.
    """

    id: str
    text: str
    confidence: str  # how surely the paper says so
    relation: str  # greater, noninferior, same_time or untested
    table: str = ""  # of the paper, where it is tested
    columns: Sequence[str] = ()  # all where there are none
    a: Sequence[str] = ()  # each tested against each of b
    b: Sequence[str] = ()
    margin: float = 0.0  # b - a of noninferior; part of b's time that a may take more or less, of same_time
    how: str = ""  # what is said in place of a test
    source: str = ""


@dataclass(frozen=True)
class Primary:
    """The comparisons of a claim that were named before the runs were made, and are tested at 5 % each."""

    claim: str  # one claim has one at most
    recipe: str  # whose runs, such as snli
    split: str
    column: str  # key of the column of the claim's table
    a: Sequence[str]  # all of them have to pass
    b: str


@dataclass(frozen=True)
class Paper:
    """Everything that is known of the paper, its tables by task, and what of it is tested first."""

    source: str
    tables: Mapping[str, ReportedTable]
    settings: Sequence[ReportedSetting]
    claims: Sequence[Claim]
    primary: Sequence[Primary] = ()


def read_paper(path: Path = PAPER) -> Paper:
    """What the paper reports; a test holds results/paper.yaml to what all of it must be."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Paper(
            source=content["source"],
            tables={name: _table(**values) for name, values in content["tables"].items()},
            settings=[_setting(**values) for values in content["settings"]],
            claims=[Claim(**values) for values in content["claims"]],
            primary=[Primary(**values) for values in content["primary"]],
        )
    except (yaml.YAMLError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} must hold what the paper reports, got {error}") from error


def _table(corpus: str, columns: list[Any], rows: dict[str, Any]) -> ReportedTable:
    figures = {
        mapping: {key: ReportedValue(**figure) for key, figure in row.items()}
        for mapping, row in rows.items()
    }
    return ReportedTable(corpus, [ReportedColumn(**column) for column in columns], figures)


def _setting(table: str, name: str, **value: Any) -> ReportedSetting:
    return ReportedSetting(table, name, ReportedValue(**value))


# ------------------------------------------------------------------ what is reached without attention
Scores = Mapping[str, Mapping[str, float]]
"""Test split → metric → figure, as records have them."""


@dataclass(frozen=True)
class Baselines:
    """What simple systems reach on a corpus, with the history of these figures."""

    task: str
    tier: str
    corpus: Mapping[str, Any]  # name, sha256 and sizes per split
    scores: Mapping[str, Scores]  # baseline → its scores
    signatures: Mapping[str, Mapping[str, str]]  # as in records
    commit: str
    command: str
    versions: Mapping[str, str]


def read_baselines(folder: Path, task: str, tier: str, sha256: str) -> Baselines | None:
    """The baselines of a task at a tier on the corpus with that checksum; None where there are none."""
    every = (read_stored(path, lambda found: Baselines(**found)) for path in sorted(folder.glob("*.json")))
    wanted = task, tier, sha256
    return next((one for one in every if (one.task, one.tier, one.corpus.get("sha256")) == wanted), None)
