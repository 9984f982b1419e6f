"""A verdict never says more than the runs do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.paper.claims import ClaimResults, claims_of_tier, verdict_on_scores
from scripts.paper.reported import Claim, Paper, Primary, read_paper
from scripts.paper.selection import Recipe
from scripts.paper.significance import Comparison, Design, ItemScores
from scripts.paper.table import Cell, Table
from tasks.attention import AttentionGrid
from tasks.training.records import Details, Record, write_details
from tests.example_record import RECORD

GREATER = Claim("c", "a beats b", "stated", "greater")
WITHIN = Claim("c", "a is near b", "recalled", "noninferior", margin=1.0)
EXAMPLE = AttentionGrid(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])
PAPER = read_paper()


def found(difference: float, seeds: int = 5) -> Comparison:
    return Comparison(difference, Design(5, seeds, 0.075, 0.0025), 0.5)


@pytest.mark.parametrize(
    ("claim", "difference", "p", "verdict", "why"),
    [
        (GREATER, 2.0, 0.05, "reproduced", ""),
        (GREATER, -2.0, 0.05, "not reproduced", ""),
        (GREATER, 0.4, 0.06, "undecided at n = 5 seeds", "9 seeds would decide it"),
        (GREATER, -0.4, 0.06, "points against the paper at n = 5 seeds", "9 seeds would decide it"),
        (GREATER, 0.01, 0.9, "undecided at n = 5 seeds", "not even 200 seeds would decide it"),
        (WITHIN, -0.3, 0.05, "reproduced", ""),
        (WITHIN, 3.0, 0.05, "reproduced", ""),
        (WITHIN, -2.0, 0.05, "not reproduced", ""),
        (WITHIN, -0.7, 0.06, "undecided at n = 5 seeds", "13 seeds would decide it"),
        (WITHIN, -1.3, 0.06, "points against the paper at n = 5 seeds", "13 seeds would decide it"),
    ],
)
def test_verdicts_on_scores(claim: Claim, difference: float, p: float, verdict: str, why: str) -> None:
    said = verdict_on_scores(found(difference), claim, p)
    assert (said.text, said.why) == (verdict, why)


def test_one_seed_decides_nothing_and_a_primary_needs_five() -> None:
    alone = verdict_on_scores(found(2.0, 1), GREATER, None)
    assert (alone.text, alone.why) == ("undecided at n = 1 seed", "one seed gives an estimate alone")
    few = verdict_on_scores(found(2.0, 4), GREATER, 0.001, is_primary=True)
    assert (few.text, few.why) == ("undecided at n = 4 seeds", "no verdict before 5 seeds")
    assert verdict_on_scores(found(2.0, 4), GREATER, 0.001).text == "reproduced"
    assert verdict_on_scores(found(2.0, 5), GREATER, 0.001, is_primary=True).text == "reproduced"


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


def claims(
    folder: Path, shares: dict[str, list[float]], paper: Paper = PAPER, **changes: object
) -> ClaimResults:
    rows = {mapping: runs(folder, mapping, of, **changes) for mapping, of in shares.items()}
    return claims_of_tier(paper, "small", {"snli": [Recipe("snli", rows)]}, ItemScores(folder))


def entailment(folder: Path, shares: dict[str, list[float]], **changes: object) -> Table:
    return claims(folder, shares, **changes).table


def line(table: Table, compared: str) -> tuple[Cell, ...]:
    (only,) = (row for row in table.rows if row[1].text == compared)
    return only


def verdicts(table: Table, sign: str) -> dict[str, str]:
    return {row[1].text: row[-1].text.split(";")[0] for row in table.rows if sign in row[1].text}


SHARES = {
    "softmax": [0.60, 0.605, 0.595, 0.60, 0.60],
    "sparsemax": [0.61, 0.60, 0.605, 0.6, 0.60],
    "fusedmax": [0.70, 0.705, 0.695, 0.70, 0.705],
    "oscarmax": [0.50, 0.5, 0.505, 0.495, 0.50],
}


def test_a_mapping_beside_the_papers_decides_nothing(tmp_path: Path) -> None:
    wild = {"entmax15": [0.2, 0.9, 0.4, 0.8, 0.1]}
    alone, beside = (entailment(tmp_path, shares) for shares in (SHARES, SHARES | wild))
    assert beside.rows == alone.rows


def test_a_line_holds_the_papers_figures_ours_and_the_verdict(tmp_path: Path) -> None:
    found = line(entailment(tmp_path, SHARES), "fusedmax > softmax")
    texts = [cell.text for cell in found]
    assert texts[2:6] == [
        "test accuracy, snli, primary",
        "82.41ʳ / 81.66ʳ",
        "70.10 ± 0.42 / 60.00 ± 0.35",
        "+10.10",
    ]
    low, high = map(float, texts[6].split(" to "))
    assert 0 < low < 10.1 < high < 20
    assert texts[9] == "5" and 0 < float(texts[10]) < 10
    assert texts[11] == "reproduced; on snli, not the paper's data"
    assert found[4].runs == (*(f"fusedmax{n}" for n in range(1, 6)), *(f"softmax{n}" for n in range(1, 6)))


def test_every_pair_of_a_claim_has_a_line_and_its_own_verdict(tmp_path: Path) -> None:
    table = entailment(tmp_path, SHARES)
    assert verdicts(table, " > ") == {
        "fusedmax > softmax": "reproduced",
        "fusedmax > sparsemax": "reproduced",
        "oscarmax > softmax": "not reproduced",
    }
    assert verdicts(table, "within 1 below")["oscarmax within 1 below softmax"] == "not reproduced"


def test_secondary_p_values_are_corrected_within_their_claim(tmp_path: Path) -> None:
    claim = Claim("c", "more", "stated", "greater", table="snli", a=("sparsemax", "oscarmax"), b=("softmax",))
    other = replace(claim, id="d", a=("fusedmax",))
    paper = Paper(PAPER.source, PAPER.tables, (), (claim, other))
    shares = {**SHARES, "fusedmax": SHARES["sparsemax"]}
    among = {r[1].text: r[7].value for r in claims(tmp_path, shares, paper).table.rows}
    assert among["sparsemax > softmax"] == pytest.approx(min(1, among["fusedmax > softmax"] or 1))
    primary = (Primary("c", "snli", "test", "accuracy", ("oscarmax",), "softmax"),)
    apart = {
        r[1].text: r[7].value for r in claims(tmp_path, shares, replace(paper, primary=primary)).table.rows
    }
    assert apart["oscarmax > softmax"] == pytest.approx((among["oscarmax > softmax"] or 0) / 2)


def test_of_several_primary_comparisons_all_must_pass(tmp_path: Path) -> None:
    claim = Claim("c", "near", "stated", "noninferior", table="snli", a=("sparsemax", "oscarmax"),
                  b=("softmax",), margin=1.0)  # fmt: skip
    primary = (Primary("c", "snli", "test", "accuracy", ("sparsemax", "oscarmax"), "softmax"),)
    paper = Paper(PAPER.source, PAPER.tables, (), (claim,), primary)
    for last, outcome in (([0.5] * 5, "not reproduced"), ([0.61] * 5, "reproduced")):
        results = claims(tmp_path, {**SHARES, "oscarmax": last}, paper)
        assert line(results.table, "all 2")[-1].text.startswith(outcome)
        assert results.tally() == f"primary endpoints: 1 {outcome}"


def test_runs_without_item_scores_are_not_compared(tmp_path: Path) -> None:
    assert verdicts(entailment(tmp_path, SHARES, details=""), ">") == {}


def test_a_claim_that_nothing_tests_says_so(tmp_path: Path) -> None:
    table = entailment(tmp_path, {"softmax": [0.6]})
    texts = {row[0].text.split()[0]: row[-1].text for row in table.rows}
    assert texts["one"].startswith("not tested: ") and texts["in"] == "no runs"
    assert {row[-1].text for row in table.rows if "epochs" in row[0].text} == {"not measured side by side"}
    assert len(table.rows) == len(PAPER.claims)


def test_times_are_those_measured_side_by_side(tmp_path: Path) -> None:
    quartiles = {"sparsemax": (0.9, 1.1), "fusedmax": (1.2, 1.3), "oscarmax": (1.0, 1.2)}
    steps = {
        name: {"ratio": sum(of) / 2, "ratio_quartiles": list(of), "rounds": 25}
        for name, of in quartiles.items()
    }
    rows = {mapping: runs(tmp_path, mapping, [0.6]) for mapping in ("softmax", "sparsemax")}
    recipes = {"snli": [Recipe("snli", rows)]}
    results = claims_of_tier(PAPER, "small", recipes, ItemScores(tmp_path), steps)
    assert verdicts(results.table, "within 10%") == {
        "sparsemax within 10% of softmax": "reproduced",
        "fusedmax within 10% of softmax": "not reproduced",
        "oscarmax within 10% of softmax": "undecided",
    }
    assert "comparisons of time: 1 reproduced, 1 not reproduced, 1 undecided" in results.tally()


def test_a_tally_counts_primary_secondary_and_time_apart(tmp_path: Path) -> None:
    assert claims(tmp_path, SHARES).tally() == (
        "primary endpoints: 1 reproduced; secondary comparisons: 3 reproduced, 2 not reproduced"
    )
