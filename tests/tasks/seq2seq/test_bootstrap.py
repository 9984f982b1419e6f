"""The paired bootstrap over any score."""

import math

import numpy as np
import pytest

from tasks.seq2seq.bootstrap import paired_bootstrap

RANDOM = np.random.RandomState(3)
BASELINE = RANDOM.normal(size=400)


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
        ([1.0], [1.0, 2.0], {}, "same items of both systems, got 1 and 2"),
        ([], [], {}, "same items of both systems, got 0 and 0"),
        ([1.0], [1.0], {"samples": 0}, "samples must be at least 1, got 0"),
        ([1.0], [1.0], {"seed": -1}, "seed must lie in 0"),
    ],
)
def test_refusals(first: list[float], second: list[float], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(first, second, **options)  # type: ignore[arg-type]
