"""The paired bootstrap over any score, and over seeds."""

import math
from typing import Any

import numpy as np
import pytest

from tasks.bootstrap import (
    Comparison,
    compare,
    differences_over_seeds,
    margin_p_value,
    resampled_scores,
)

RANDOM = np.random.RandomState(3)
BASELINE = RANDOM.normal(size=400)


def paired_bootstrap(baseline: Any, system: Any, **options: Any) -> Comparison:
    """Two systems on the same resampled test sets."""
    first, second = (resampled_scores(items, **options) for items in (baseline, system))
    return compare(second - first)


def test_the_interval_is_that_of_the_normal_law() -> None:
    gain = RANDOM.normal(0.1, 1.0, size=400)
    result = paired_bootstrap(BASELINE, BASELINE + gain, samples=4000)
    error = gain.std() / math.sqrt(400)
    assert result.difference == pytest.approx(gain.mean())
    assert result.low == pytest.approx(gain.mean() - 1.96 * error, abs=0.1 * error)
    assert result.high == pytest.approx(gain.mean() + 1.96 * error, abs=0.1 * error)
    assert result.p_value == pytest.approx(math.erfc(abs(gain.mean()) / error / math.sqrt(2)), abs=0.02)


def test_a_system_does_not_differ_from_itself() -> None:
    assert paired_bootstrap(BASELINE, BASELINE) == (0.0, 0.0, 0.0, 1.0)


def test_a_gain_on_every_item_is_certain() -> None:
    result = paired_bootstrap(BASELINE, BASELINE + 1, samples=99)
    assert result.p_value == 1 / 100
    assert result.low == pytest.approx(1) and result.high == pytest.approx(1)


def test_exchanging_the_systems_mirrors_the_result() -> None:
    other = BASELINE + RANDOM.normal(size=400)
    one, two = paired_bootstrap(BASELINE, other), paired_bootstrap(other, BASELINE)
    assert [-two.difference, -two.high, -two.low, two.p_value] == pytest.approx(list(one))


def test_the_seed_decides() -> None:
    other = BASELINE + RANDOM.normal(size=400)
    first, again, another = (paired_bootstrap(BASELINE, other, seed=seed) for seed in (1, 1, 2))
    assert first == again != another


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ([], [], {}, "at least 1 item, got 0"),
        ([1.0], [1.0], {"samples": 0}, "samples must be an integer of at least 1, got 0"),
        ([1.0], [1.0], {"seed": -1}, "seed must be .* below .*, got -1"),
    ],
)
def test_refusals(first: list[float], second: list[float], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(first, second, **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------ over seeds
def runs(scores: list[float], samples: int = 400) -> dict[int, np.ndarray]:
    """Runs of seeds 1, 2, … whose score no choice of items changes."""
    return {seed: np.full(1 + samples, score) for seed, score in enumerate(scores, start=1)}


def coverage(baseline_seeds: list[int], system_seeds: list[int], correlation: float) -> float:
    """How often the interval holds the difference of two systems, 0.3, when only seeds vary."""
    random, held = np.random.RandomState(5), 0
    for trial in range(400):
        common = correlation * random.normal(size=9)
        first, second = ({s: np.full(201, common[s] + random.normal()) for s in seeds}
                         for seeds in (baseline_seeds, system_seeds))  # fmt: skip
        result = compare(differences_over_seeds(first, {s: r + 0.3 for s, r in second.items()}, seed=trial))
        held += result.low <= 0.3 <= result.high
    return held / 400


@pytest.mark.parametrize("seeds", [[1, 2], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_the_interval_over_few_seeds_holds_what_it_should(seeds: list[int]) -> None:
    assert 0.92 <= coverage(seeds, seeds, correlation=3.0) <= 0.98


def test_so_does_that_over_seeds_of_each_systems_own() -> None:
    assert 0.92 <= coverage([1, 2, 3, 4], [5, 6, 7], correlation=0.0) <= 0.99


def test_items_and_seeds_both_widen_the_interval() -> None:
    random = np.random.RandomState(1)
    items = random.normal(size=(4, 50))
    shifts = random.normal(size=(4, 1)) / 5
    first = {seed: resampled_scores(items[seed]) for seed in range(4)}
    alike = {seed: resampled_scores(items[0]) for seed in range(4)}
    shifted = {seed: resampled_scores(items[0] + shifts[seed]) for seed in range(4)}
    zero = {seed: np.zeros(1001) for seed in range(4)}

    def width(system: dict[int, np.ndarray]) -> float:
        result = compare(differences_over_seeds(zero, system))
        return result.high - result.low

    one = compare(first[0])
    assert width(alike) == pytest.approx(one.high - one.low)
    error = math.hypot(shifts.std(ddof=1) / 2 * 3.182 / 1.96, items[0].std() / math.sqrt(50))
    assert width(shifted) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_paired_seeds_take_away_what_both_systems_share() -> None:
    first, second = runs([1.0, 5.0, 9.0]), runs([2.0, 6.1, 9.9])
    paired = compare(differences_over_seeds(first, second))
    other = compare(differences_over_seeds(first, {seed + 3: run for seed, run in second.items()}))
    assert paired.difference == other.difference == pytest.approx(1.0)
    assert paired.low > 0 and paired.p_value < 0.05
    assert other.low < 0 and other.p_value > 0.5


def test_one_seed_is_the_bootstrap_over_items() -> None:
    other = BASELINE + RANDOM.normal(size=400)
    first, second = ({1: resampled_scores(items)} for items in (BASELINE, other))
    assert compare(differences_over_seeds(first, second)) == paired_bootstrap(BASELINE, other)


def test_no_seeds_make_a_system_differ_from_itself() -> None:
    same = runs([1.0, 2.0, 4.0])
    assert compare(differences_over_seeds(same, same)) == (0.0, 0.0, 0.0, 1.0)


def test_exchanging_systems_with_seeds_mirrors_the_result() -> None:
    first, second = runs([1.0, 5.0, 9.0], 20_000), runs([2.0, 6.5, 9.0], 20_000)
    one, two = (compare(differences_over_seeds(*pair)) for pair in ((first, second), (second, first)))
    assert one.difference == -two.difference
    assert [-two.high, -two.low] == pytest.approx([one.low, one.high], rel=0.1)
    assert two.p_value == pytest.approx(one.p_value, abs=0.01)


def test_a_margin_is_tested_from_the_side_of_the_difference() -> None:
    drawn = np.array([0.1, 0.2, -0.3, 1.5, -1.2])
    assert margin_p_value(drawn, 1.0) == (1 + 2) / 5
    assert margin_p_value(np.array([2.0, 2.1, 0.5, 1.5, 3.0]), 1.0) == (1 + 1) / 5


def test_a_comparison_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="runs of both systems, got 0 and 2"):
        differences_over_seeds({}, runs([1.0, 2.0]))
