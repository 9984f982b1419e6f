"""What ours stands beside: the paper's figures, settings and claims, and what simple systems reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.training.run_directory import read_stored

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
    columns: Sequence[ReportedColumn]
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
    columns: Sequence[str] = ()
    a: Sequence[str] = ()
    b: Sequence[str] = ()
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
    a: Sequence[str]
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
    """What the paper reports; a test holds results/paper.yaml to what all of it must be.

    Raises:
        ValueError: a key is missing or too many.
        OSError: there is no such file.
    """
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
    """What simple systems reach on a corpus, with the history of these figures.

    Attributes:
        task, tier: which table they belong to.
        corpus: ``name``, ``sha256`` and ``sizes`` per split.
        scores: baseline → its scores.
        signatures: how they were computed, as in records.
        commit, command, versions: of what computed them.
    """

    task: str
    tier: str
    corpus: Mapping[str, Any]
    scores: Mapping[str, Scores]
    signatures: Mapping[str, Mapping[str, str]]
    commit: str
    command: str
    versions: Mapping[str, str]


def read_baselines(folder: Path, task: str, tier: str, sha256: str) -> Baselines | None:
    """The baselines of a task at a tier on the corpus with that checksum; None where there are none.

    Raises:
        ValueError: a file there does not hold baselines.
    """
    every = (read_stored(path, lambda found: Baselines(**found)) for path in sorted(folder.glob("*.json")))
    wanted = task, tier, sha256
    return next((one for one in every if (one.task, one.tier, one.corpus.get("sha256")) == wanted), None)
