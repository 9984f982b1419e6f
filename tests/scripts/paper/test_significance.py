"""Spreads over seeds, correction for many claims, and scores of runs on resampled test sets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from scripts.paper.significance import ItemScores, holm, mean_std
from tasks.training.details import Details, Example, write_details
from tasks.training.records import Record, RecordError
from tests.example_record import RECORD

EXAMPLE = Example(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])


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


def kept(folder: Path, **items: list[float]) -> list[Record]:
    """Runs of seeds 1, 2, … whose details hold the items of each."""
    records = []
    for seed, (name, rows) in enumerate(items.items(), start=1):
        details = Details(id=name, items={"test": {"accuracy": rows}}, example=EXAMPLE)
        records.append(replace(RECORD, id=name, seed=seed, details=write_details(folder, details)))
    return records


def test_the_first_score_is_that_of_the_real_test_set(tmp_path: Path) -> None:
    records = kept(tmp_path, one=[1, 0, 1, 1], two=[0, 0, 1, 0])
    found = ItemScores(tmp_path, samples=50).by_seed(records, "test", "accuracy")
    assert found is not None and list(found) == [1, 2]
    assert [scores[0] for scores in found.values()] == [75.0, 25.0]
    assert all(len(scores) == 51 and set(scores) <= {0, 25, 50, 75, 100} for scores in found.values())


def test_runs_are_scored_on_the_same_drawn_test_sets(tmp_path: Path) -> None:
    records = kept(tmp_path, one=[1, 0, 1, 1], two=[0, 1, 0, 0])
    found = ItemScores(tmp_path, samples=50).by_seed(records, "test", "accuracy")
    assert found is not None and (found[1] + found[2] == 100).all()


def test_a_run_without_item_scores_leaves_nothing_to_compare(tmp_path: Path) -> None:
    records = kept(tmp_path, one=[1, 0, 1, 1])
    scores = ItemScores(tmp_path, samples=5)
    assert scores.by_seed([*records, replace(RECORD, id="old", seed=2)], "test", "accuracy") is None
    assert scores.by_seed(records, "test", "f1") is None


def test_details_that_are_another_runs_are_refused(tmp_path: Path) -> None:
    (record,) = kept(tmp_path, one=[1, 0])
    with pytest.raises(RecordError, match="must have the SHA-256"):
        ItemScores(tmp_path).by_seed([replace(record, details="0" * 64)], "test", "accuracy")
