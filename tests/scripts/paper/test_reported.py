"""Every number of the paper is there with its confidence, and nothing that is not known has one."""

from pathlib import Path

import pytest
import yaml

from regattn import fusedmax, oscarmax, pnormmax, softmax, sparsemax
from scripts.paper.reported import MARKS, PAPER, ReportedValue, read_paper
from tasks._registry import TASKS

MAPPINGS = [mapping.__name__ for mapping in (softmax, sparsemax, fusedmax, oscarmax, pnormmax)]
PAPER_NUMBERS = read_paper()
TABLES = PAPER_NUMBERS.tables

# DUC 2004, R-L, Gigaword, R-L
SUMMARIZATION = {
    "softmax": [27.16, 9.48, 24.47, 35.13, 17.15, 32.92],
    "sparsemax": [27.69, 9.55, 24.96, 36.04, 17.78, 33.64],
    "fusedmax": [28.42, 9.96, 25.55, 36.09, 17.62, 33.69],
    "oscarmax": [27.84, 9.46, 25.14, 35.36, 17.23, 33.03],
    "pnormmax": [27.94, 9.28, 25.08, 35.94, 17.75, 33.66],
}
STATED = {
    ("softmax", "gigaword_rougeL"),
    ("sparsemax", "gigaword_rougeL"),
    ("fusedmax", "gigaword_rougeL"),
    ("fusedmax", "duc_rougeL"),
}


def values(table: str) -> dict[str, list[object]]:
    rows = TABLES[table].rows
    return {mapping: [figure.value for figure in row.values()] for mapping, row in rows.items()}


def test_every_table_has_all_mappings_in_the_papers_order() -> None:
    assert all(list(table.rows) == MAPPINGS for table in TABLES.values())
    assert list(TABLES) == list(TASKS)


def test_the_numbers_of_entailment() -> None:
    accuracies = [81.66, 82.39, 82.41, 81.76, None]
    assert values("snli") == {m: [a] for m, a in zip(MAPPINGS, accuracies, strict=True)}
    known = [row["accuracy"].confidence for row in TABLES["snli"].rows.values()]
    assert known == ["recalled"] * 4 + ["unknown"]


def test_the_numbers_of_summarization() -> None:
    assert values("gigaword") == SUMMARIZATION
    columns = [(column.split, column.metric) for column in TABLES["gigaword"].columns]
    assert columns == [(s, f"rouge{n}") for s in ("duc2004", "gigaword") for n in "12L"]
    rows = TABLES["gigaword"].rows
    figures = {
        (mapping, key): figure.confidence for mapping, row in rows.items() for key, figure in row.items()
    }
    assert {place for place, confidence in figures.items() if confidence == "stated"} == STATED
    assert set(figures.values()) == {"stated", "recalled"}


def test_of_translation_no_number_is_known() -> None:
    figures = [figure for row in TABLES["translation"].rows.values() for figure in row.values()]
    assert all((figure.value, figure.confidence) == (None, "unknown") for figure in figures)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("snli", "learning rate", 3e-4),
        ("snli", "D", None),
        ("snli", "batch size", None),
        ("snli", "epochs", None),
        ("snli", "λ", None),
        ("translation", "corpora", None),
        ("opennmt", "epochs", 13),
        ("opennmt", "vocabularies", 50_000),
        ("opennmt", "beam", "5, no length penalty"),
        ("snli", "γ", 1),
    ],
)
def test_settings(table: str, name: str, value: object) -> None:
    (setting,) = (s for s in PAPER_NUMBERS.settings if (s.table, s.name) == (table, name))
    assert setting.reported.value == value
    assert (setting.reported.confidence == "unknown") == (value is None)


def test_no_claim_is_refuted_by_the_papers_own_figures() -> None:
    for claim in (claim for claim in PAPER_NUMBERS.claims if claim.relation in ("greater", "noninferior")):
        table = TABLES[claim.table]
        for key in claim.columns or [column.key for column in table.columns]:
            for a in claim.a:
                for b in claim.b:
                    first, second = (table.rows[mapping][key].value for mapping in (a, b))
                    if isinstance(first, float) and isinstance(second, float):
                        assert first > second - claim.margin, (claim.id, key, a, b)


def test_every_task_has_one_primary_endpoint() -> None:
    claims = {claim.id: claim for claim in PAPER_NUMBERS.claims}
    assert [claims[primary.claim].table for primary in PAPER_NUMBERS.primary] == list(TASKS)


def test_a_claim_that_is_not_tested_says_why() -> None:
    assert all(bool(claim.how) == (claim.relation == "untested") for claim in PAPER_NUMBERS.claims)


def every_value() -> list[ReportedValue]:
    figures = (figure for table in TABLES.values() for row in table.rows.values() for figure in row.values())
    return [*figures, *(setting.reported for setting in PAPER_NUMBERS.settings)]


def test_what_is_unknown_has_no_value_and_all_else_one() -> None:
    for reported in every_value():
        assert reported.confidence in MARKS
        assert (reported.value is None) == (reported.confidence == "unknown"), reported


def test_every_row_has_the_columns_of_its_table() -> None:
    for table in TABLES.values():
        keys = [column.key for column in table.columns]
        assert all(list(row) == keys for row in table.rows.values())


def test_claims_name_what_there_is() -> None:
    for claim in PAPER_NUMBERS.claims:
        assert claim.confidence in MARKS
        assert (claim.margin > 0) == (claim.relation in ("noninferior", "same_time")), claim.id
        if claim.relation != "untested":
            assert claim.relation in ("greater", "noninferior", "same_time")
            assert claim.a and claim.b and {*claim.a, *claim.b} <= {*TABLES[claim.table].rows}, claim.id
            assert {*claim.columns} <= {column.key for column in TABLES[claim.table].columns}, claim.id


def test_primary_comparisons_are_of_their_claims() -> None:
    claims = {claim.id: claim for claim in PAPER_NUMBERS.claims}
    for primary in PAPER_NUMBERS.primary:
        claim = claims[primary.claim]
        assert {*primary.a} <= {*claim.a} and primary.b in claim.b
        assert primary.column in (claim.columns or [column.key for column in TABLES[claim.table].columns])


@pytest.mark.parametrize("text", ["tables: [", "tables: none", "source: x"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "paper.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"paper\.yaml must hold what the paper reports"):
        read_paper(tmp_path / "paper.yaml")


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    content["tables"]["snli"]["rows"]["softmax"]["accuracy"]["guess"] = 1.0
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ValueError, match="guess"):
        read_paper(tmp_path / "paper.yaml")
