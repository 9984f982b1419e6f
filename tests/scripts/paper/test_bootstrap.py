"""Scores on drawn test sets: of the sets themselves, the same for all runs, and as a mean's law has it."""

import numpy as np
import pytest

from scripts.paper.significance import Floats, resampled_scores

ITEMS = np.random.RandomState(3).normal(size=(3, 400))


def test_scores_vary_over_drawn_sets_as_a_mean_does() -> None:
    found = resampled_scores(ITEMS)
    assert found.shape == (3, 10_001)
    assert found[:, 0] == pytest.approx(ITEMS.mean(1))
    assert found[:, 1:].mean(1) == pytest.approx(ITEMS.mean(1), abs=5 * ITEMS.std() / 20 / 100)
    assert found[:, 1:].var(1) == pytest.approx(ITEMS.var(1) / 400, rel=0.06)


def test_a_drawn_set_is_the_same_for_all_runs() -> None:
    found = resampled_scores(np.stack([ITEMS[0], 2 * ITEMS[0] + 1]), samples=50)
    assert found[1] == pytest.approx(2 * found[0] + 1, abs=1e-5)
    assert resampled_scores(ITEMS[:1], samples=50)[0] == pytest.approx(found[0], abs=1e-6)


def test_the_seed_decides() -> None:
    first, again, other = (resampled_scores(ITEMS, samples=20, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("items", [1, 2, 5])
def test_any_score_of_totals_is_that_of_its_set(items: int) -> None:
    """As many items are drawn as there are, each counted as often as it was drawn."""
    rows = np.eye(items)[np.newaxis]  # totals are then how often each item was drawn
    drawn: list[Floats] = []

    def keep(totals: Floats, count: int) -> Floats:
        assert count == items
        drawn.append(totals.reshape(-1, items))
        return totals @ np.arange(1.0, items + 1)

    found = resampled_scores(rows, score=keep, samples=30)
    times = np.concatenate(drawn)
    assert len(times) == 31 and (times[0] == 1).all() and (times.sum(1) == items).all()
    assert found[0] == pytest.approx(times @ np.arange(1.0, items + 1))
