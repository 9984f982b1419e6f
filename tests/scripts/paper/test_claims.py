"""A verdict never says more than the runs do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.paper.claims import claims_of_tier, verdict_on_scores, verdict_on_time
from scripts.paper.reported import Claim, Paper, read_paper
from scripts.paper.significance import ItemScores
from scripts.paper.table import Cell, Table
from tasks.bootstrap import Comparison
from tasks.training.details import Details, Example, write_details
from tasks.training.records import Record
from tests.example_record import RECORD

GREATER = Claim("c", "a beats b", "stated", "greater")
WITHIN = Claim("c", "a is near b", "recalled", "within", margin=1.0)
SAME = Claim("c", "as fast", "confirmed", "same_time", margin=0.1)
EXAMPLE = Example(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])
PAPER = read_paper()


@pytest.mark.parametrize(
    ("claim", "found", "p", "verdict"),
    [
        (GREATER, (2.0, 1.0, 3.0), 0.01, "reproduced"),
        (GREATER, (-2.0, -3.0, -1.0), 0.01, "not reproduced"),
        (GREATER, (2.0, 0.1, 3.9), 0.06, "undecided at n = 3 seeds"),
        (GREATER, (-2.0, -3.9, -0.1), 0.06, "undecided at n = 3 seeds"),
        (WITHIN, (0.3, -0.2, 0.8), 0.01, "reproduced"),
        (WITHIN, (-0.3, -0.8, 0.2), 0.01, "reproduced"),
        (WITHIN, (0.3, -0.2, 0.8), 0.06, "undecided at n = 3 seeds"),
        (WITHIN, (0.7, 0.2, 1.2), 0.01, "undecided at n = 3 seeds"),
        (WITHIN, (2.0, 1.2, 2.8), 0.01, "not reproduced"),
        (WITHIN, (-2.0, -2.8, -1.2), 0.01, "not reproduced"),
        (WITHIN, (1.5, 0.8, 2.2), 0.01, "undecided at n = 3 seeds"),
    ],
)
def test_verdicts_on_scores(claim: Claim, found: tuple[float, ...], p: float, verdict: str) -> None:
    assert verdict_on_scores(claim, Comparison(*found, p_value=0.001), p, seeds=3).text == verdict


def test_one_seed_decides_nothing() -> None:
    found = Comparison(2.0, 1.0, 3.0, 0.001)
    alone = verdict_on_scores(GREATER, found, 0.01, seeds=1)
    assert alone.text == "undecided at n = 1 seed"
    assert alone.why == "seeds were not varied; the test items alone would say reproduced"
    undecided = verdict_on_scores(GREATER, found, 0.1, seeds=1)
    assert undecided.why.endswith("the test items alone do not decide it either")
    assert verdict_on_scores(GREATER, None, None, seeds=3).why.startswith("these runs kept no")
    assert verdict_on_time(SAME, [1.0], seeds=1).text == "undecided at n = 1 seed"


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([0.95, 1.0, 1.09], "reproduced"),
        ([1.2, 1.3], "not reproduced"),
        ([0.7, 0.8], "not reproduced"),
        ([1.0, 1.2], "undecided at n = 2 seeds"),
        ([0.8, 1.2], "undecided at n = 2 seeds"),
    ],
)
def test_verdicts_on_time(ratios: list[float], verdict: str) -> None:
    assert verdict_on_time(SAME, ratios, seeds=2).text == verdict


# ------------------------------------------------------------------ from runs to rows
def runs(folder: Path, mapping: str, shares: list[float], **changes: object) -> list[Record]:
    """Runs of seeds 1, 2, …, right on such a share of 400 test items, the first ones."""
    found = []
    for seed, share in enumerate(shares, start=1):
        name = f"{mapping}{seed}"
        items = (np.arange(400) < 400 * share).astype(int).tolist()
        digest = write_details(folder, Details(id=name, items={"test": {"accuracy": items}}, example=EXAMPLE))
        metrics = {"dev": {"accuracy": 0.5}, "test": {"accuracy": share}}
        record = replace(RECORD, id=name, mapping=mapping, seed=seed, details=digest, metrics=metrics)
        found.append(replace(record, **changes))
    return found


def entailment(folder: Path, shares: dict[str, list[float]], **changes: object) -> Table:
    row = {mapping: runs(folder, mapping, of, **changes) for mapping, of in shares.items()}
    return claims_of_tier(PAPER, "small", {"snli": row}, ItemScores(folder, samples=200)).table


def line(table: Table, compared: str) -> tuple[Cell, ...]:
    (only,) = (row for row in table.rows if row[1].text == compared)
    return only


SHARES = {
    "softmax": [0.60, 0.605, 0.595, 0.60],
    "sparsemax": [0.61, 0.60, 0.605, 0.6],
    "fusedmax": [0.70, 0.705, 0.695, 0.70],
    "oscarmax": [0.50, 0.5, 0.505, 0.495],
}


def test_a_line_holds_the_papers_figures_ours_and_the_verdict(tmp_path: Path) -> None:
    found = line(entailment(tmp_path, SHARES), "fusedmax > softmax")
    texts = [cell.text for cell in found]
    assert texts[2:6] == ["test accuracy", "82.41ʳ / 81.66ʳ", "70.00 ± 0.41 / 60.00 ± 0.41", "+10.00"]
    low, high = map(float, texts[6].split(" to "))
    assert 0 < low < 10 < high < 20
    assert texts[8] == "reproduced; on snli, not the paper's data"
    assert found[4].runs == (*(f"fusedmax{n}" for n in range(1, 5)), *(f"softmax{n}" for n in range(1, 5)))


def test_every_pair_of_a_claim_has_a_line_and_its_own_verdict(tmp_path: Path) -> None:
    table = entailment(tmp_path, SHARES)
    verdicts = {row[1].text: row[8].text.split(";")[0] for row in table.rows if " > " in row[1].text}
    assert verdicts == {
        "fusedmax > softmax": "reproduced",
        "fusedmax > sparsemax": "reproduced",
        "oscarmax > softmax": "not reproduced",
        "oscarmax > sparsemax": "not reproduced",
    }
    assert "Holm's method for the 4 comparisons" in " ".join(table.notes)


def test_p_values_are_corrected_for_all_comparisons_of_the_tier(tmp_path: Path) -> None:
    alone = line(entailment(tmp_path, {m: SHARES[m] for m in ("softmax", "fusedmax")}), "fusedmax > softmax")
    among = line(entailment(tmp_path, SHARES), "fusedmax > softmax")
    assert alone[7].value == pytest.approx(1 / 201)
    assert among[7].value == pytest.approx(4 / 201)


def test_runs_without_item_scores_are_undecided_and_do_not_count(tmp_path: Path) -> None:
    table = entailment(tmp_path, SHARES, details="")
    assert [cell.text for cell in line(table, "fusedmax > softmax")[5:8]] == ["–", "–", "–"]
    assert "no scores of single items" in line(table, "fusedmax > softmax")[8].text
    assert "for the 0 comparisons" in " ".join(table.notes)


def test_a_claim_that_nothing_tests_says_so(tmp_path: Path) -> None:
    table = entailment(tmp_path, {"softmax": [0.6]})
    texts = {row[0].text.split()[0]: row[8].text for row in table.rows}
    assert texts["one"].startswith("not tested: ")
    assert texts["in"] == "no runs"
    assert len(table.rows) == len(PAPER.claims)


def test_times_are_of_one_device_with_as_many_threads(tmp_path: Path) -> None:
    def spent(mapping: str, shares: list[float], **changes: object) -> list[Record]:
        found = runs(tmp_path, mapping, [0.5] * len(shares), **changes)
        pairs = zip(found, shares, strict=True)
        # The clock alone would call the slower run of each mapping three times as slow.
        return [
            replace(run, seconds={"per_epoch": 10.0 * run.seed**1.5, "mapping_share": share})
            for run, share in pairs
        ]

    row = {
        "softmax": [*spent("softmax", [0.0, 0.0]), *spent("softmax", [0.5], device="cuda")],
        "fusedmax": [*spent("fusedmax", [0.04, 0.05]), *spent("fusedmax", [0.9], threads=8)],
        "oscarmax": spent("oscarmax", [1 / 5, 1 / 3]),
        "pnormmax": spent("pnormmax", [0.0, 1 / 3]),
        "sparsemax": spent("sparsemax", [0.0, 0.0], threads=8),
    }
    table = claims_of_tier(PAPER, "paper", {"snli": row}, ItemScores(tmp_path, samples=20)).table
    verdicts = {r[1].text.split()[0]: r[8].text for r in table.rows if "within 10%" in r[1].text}
    assert verdicts == {
        "fusedmax": "reproduced; on snli",
        "oscarmax": "not reproduced; on snli",
        "pnormmax": "undecided at n = 2 seeds; on snli",
    }
    assert line(table, "oscarmax within 10% of softmax")[5].text == "× 1.375"


def test_the_best_of_ours_is_what_a_mapping_must_be_near(tmp_path: Path) -> None:
    claim = Claim("c", "near", "recalled", "within", table="snli", a=("softmax", "fusedmax", "oscarmax"),
                  b=("best",), margin=1.0)  # fmt: skip
    paper = Paper(PAPER.source, PAPER.tables, (), (claim,))
    shares = {"softmax": [0.6] * 9, "fusedmax": [0.601] * 9, "oscarmax": [0.5] * 9}
    row = {mapping: runs(tmp_path, mapping, of) for mapping, of in shares.items()}
    table = claims_of_tier(paper, "small", {"snli": row}, ItemScores(tmp_path, samples=200)).table
    verdicts = {r[1].text: r[8].text.split(";")[0] for r in table.rows}
    assert verdicts == {
        "softmax within 1 of fusedmax": "reproduced",
        "oscarmax within 1 of fusedmax": "not reproduced",
    }


def test_a_tally_counts_comparisons_by_their_verdicts(tmp_path: Path) -> None:
    row = {mapping: runs(tmp_path, mapping, of) for mapping, of in SHARES.items()}
    claims = claims_of_tier(PAPER, "small", {"snli": row}, ItemScores(tmp_path, samples=200))
    assert claims.tally() == "7 comparisons: 5 reproduced, 2 not reproduced, none undecided"
