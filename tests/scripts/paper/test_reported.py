"""Every number of the paper is there with its confidence, and nothing that is not known has one."""

from pathlib import Path

import pytest
import yaml

from regattn import fusedmax, oscarmax, pnormmax, softmax, sparsemax
from scripts.paper.reported import PAPER, PaperError, read_paper
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


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("tables.snli.rows.softmax.accuracy.confidence", "rumoured", "must be one of stated, confirmed"),
        (
            "tables.snli.rows.softmax.accuracy.confidence",
            "unknown",
            "what is unknown must have no value.* 81.66",
        ),
        ("tables.snli.rows.softmax.accuracy", {"value": 81.66}, "missing .* 'confidence'"),
        ("tables.snli.rows.softmax.accuracy", 81.66, "float. object"),
        ("tables.snli.rows.softmax.accuracy.value", None, "all else one, got None recalled"),
        ("tables.snli.rows.softmax.accuracy.guess", 1.0, "guess, which is no part of a ReportedValue"),
        ("tables.snli.rows.softmax", {}, "softmax must have the columns accuracy"),
        ("tables.translation.rows.softmax.bleu.value", 30.0, "got 30.0 unknown"),
        ("claims.2.relation", "better", "the relation better, none of greater"),
        ("claims.2.confidence", "?", r"the confidence \?, none of"),
        ("claims.2.a", ["entmax"], "the mapping entmax, none of softmax"),
        ("primary.0.claim", "none", "the claim none, none of framework"),
        ("primary.0.a", ["oscarmax"], "the mapping of a oscarmax, none of fusedmax"),
        ("primary.1.claim", "snli-fusedmax", "a claim with several primary comparisons"),
        ("claims.2.a", [], "without mappings"),
        ("claims.2.columns", ["bleu"], "the column bleu, none of accuracy"),
        ("claims.2.margin", 1.0, "greater, with the margin 1.0"),
        ("claims.4.margin", 0.0, "noninferior, with the margin 0.0"),
        ("settings.0.confidence", "sure", "must be one of stated"),
        ("tables", "none", "paper.yaml must hold what the paper reports"),
    ],
)
def test_refusals(tmp_path: Path, place: str, value: object, message: str) -> None:
    content = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    *sections, last = (int(key) if key.isdigit() else key for key in place.split("."))
    holder = content
    for section in sections:
        holder = holder[section]
    holder[last] = value
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(PaperError, match=message):
        read_paper(tmp_path / "paper.yaml")


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "paper.yaml").write_text("tables: [", encoding="utf-8")
    with pytest.raises(PaperError, match=r"paper\.yaml must hold what the paper reports"):
        read_paper(tmp_path / "paper.yaml")
