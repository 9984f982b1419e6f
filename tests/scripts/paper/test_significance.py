"""Spreads over seeds, differences in randomised blocks, correction, and what items do to scores."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from scripts.paper.selection import Rows
from scripts.paper.significance import ItemScores, RunScore, compare, holm, mean_std
from tasks.attention import AttentionGrid
from tasks.training.records import Details, RecordError, write_details
from tests.example_record import RECORD

EXAMPLE = AttentionGrid(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])


def test_the_spread_over_seeds_is_students() -> None:
    scores = [61.0, 63.5, 62.0, 60.25]
    found = mean_std(scores)
    low, high = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert (found.mean, found.count) == (np.mean(scores), 4)
    assert found.std == pytest.approx(np.std(scores, ddof=1))
    assert found.half_width == pytest.approx((high - low) / 2)


def test_one_seed_has_no_spread() -> None:
    found = mean_std([61.0])
    assert (found.std, found.half_width, found.interval()) == (None, None, "one seed")
    assert mean_std([3.0, 3.0]).interval(1) == "95 % interval over 2 seeds: 3.0 to 3.0"


def test_holm_as_worked_by_hand() -> None:
    # In rising order 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and none below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def block(*scores: list[float]) -> dict[str, dict[int, RunScore]]:
    """Mappings a, b, … with the scores of seeds 1, 2, …, which no choice of items changes."""
    return {
        name: {seed: RunScore(score, np.zeros(4)) for seed, score in enumerate(of, start=1)}
        for name, of in zip("abcde", scores, strict=False)
    }


def test_two_mappings_are_compared_as_by_students_paired_test() -> None:
    """Without items, two blocks are pairs: the residual mean square is half the variance of differences."""
    first, second = [61.0, 63.5, 62.0, 60.25], [60.5, 62.0, 62.25, 59.0]
    found = compare(block(first, second), "a", "b")
    assert found is not None
    wanted = stats.ttest_rel(first, second)
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    assert found.design.p_value(found.difference, sides=2) == pytest.approx(wanted.pvalue)
    assert found.paired == pytest.approx(wanted.pvalue) and found.design.freedom == 3
    interval = wanted.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high))


def test_the_residual_mean_square_is_that_of_the_analysis_of_variance() -> None:
    scores = np.random.RandomState(0).normal(60, 1, (4, 6))
    found = compare(block(*scores.tolist()), "a", "c")
    within = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    assert found is not None
    assert found.design.mean_square == pytest.approx((within**2).sum() / 15) and found.design.freedom == 15
    # A shift of all mappings with one seed is the block's, and changes nothing.
    shifted = scores + np.arange(6)
    again = compare(block(*shifted.tolist()), "a", "c")
    assert again is not None and again.design.mean_square == pytest.approx(found.design.mean_square)


def test_items_count_once_whatever_the_seeds_have_of_them() -> None:
    random, one_way = np.random.RandomState(1), 20_000**-0.5
    shared, own = random.normal(0, one_way, 20_000), random.normal(0, 2 * one_way, (3, 20_000))
    b = {seed: RunScore(60.0, np.zeros(20_000)) for seed in range(3)}
    a = {seed: RunScore(61.0 + seed, shared + own[seed]) for seed in range(3)}
    found = compare({"a": a, "b": b}, "a", "b")
    assert found is not None and found.design.item_variance == pytest.approx(1, abs=0.1)
    apart = {seed: RunScore(61.0 + seed, own[seed]) for seed in range(3)}
    found = compare({"a": apart, "b": b}, "a", "b")
    assert found is not None and 0 <= found.design.item_variance < 0.1


def test_only_seeds_that_both_have_are_compared() -> None:
    scores = block([1.0, 2.0, 3.0, 9.0], [1.0, 1.0, 1.0], [5.0])
    found = compare(scores, "a", "b")
    assert found is not None and (found.difference, found.design.seeds, found.design.mappings) == (1.0, 3, 2)
    alone = compare(scores, "a", "c")
    assert alone is not None and (alone.difference, alone.interval, alone.paired) == (-4.0, None, None)
    assert compare({**scores, "d": {7: RunScore(0.0, np.zeros(4))}}, "a", "d") is None


def test_a_mapping_does_not_differ_from_itself() -> None:
    scores = block([1.0, 2.0], [1.0, 2.0])
    found = compare(scores, "a", "b")
    assert found is not None and found.design.p_value(found.difference, sides=2) == 1.0


# ------------------------------------------------------------------ scores of runs
def kept(folder: Path, **items: list[float]) -> Rows:
    """Runs of seeds 1, 2, … whose details hold the items of each."""
    records = []
    for seed, (name, rows) in enumerate(items.items(), start=1):
        details = Details(id=name, items={"test": {"accuracy": rows}}, example=EXAMPLE)
        records.append(replace(RECORD, id=name, seed=seed, details=write_details(folder, details)))
    return {"softmax": records}


def of_seeds(scores: ItemScores, rows: Rows, metric: str = "accuracy") -> Mapping[int, RunScore]:
    return scores.block(
        {"softmax": [replace(run, mapping="softmax") for run in rows["softmax"]]}, "test", metric
    ).get("softmax", {})


def test_scores_and_effects_have_the_metrics_scale(tmp_path: Path) -> None:
    found = of_seeds(ItemScores(tmp_path), kept(tmp_path, one=[1, 0, 1, 1], two=[0, 1, 0, 0]))
    assert list(found) == [1, 2] and [score for score, _ in found.values()] == [75.0, 25.0]
    assert found[1].effects == pytest.approx(-found[2].effects)  # what one gets right, the other gets wrong
    assert (found[1].effects ** 2).sum() == pytest.approx(np.var([100, 0, 100, 100], ddof=1) / 4)


def test_a_run_without_item_scores_is_left_out(tmp_path: Path) -> None:
    rows, scores = kept(tmp_path, one=[1, 0, 1, 1]), ItemScores(tmp_path)
    with_old = {"softmax": [*rows["softmax"], replace(RECORD, id="old", seed=2)]}
    assert list(of_seeds(scores, with_old)) == [1]
    assert of_seeds(scores, rows, "f1") == {}


def test_details_that_are_another_runs_are_refused(tmp_path: Path) -> None:
    rows = kept(tmp_path, one=[1, 0])
    other = {"softmax": [replace(rows["softmax"][0], details="0" * 64)]}
    with pytest.raises(RecordError, match="must have the SHA-256"):
        of_seeds(ItemScores(tmp_path), other)
