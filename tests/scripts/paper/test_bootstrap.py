"""What items do to a score: of a mean as its law has it, of any other on drawn test sets."""

import numpy as np
import pytest

from scripts.paper.significance import Floats, score_by_mean, score_by_totals

ITEMS = np.random.RandomState(3).normal(size=(3, 400))


def mean(totals: Floats, count: int) -> Floats:
    return totals[..., 0] / count


def test_of_a_mean_the_variance_is_known() -> None:
    for items in ITEMS:
        score, effects = score_by_mean(items.tolist())
        assert score == pytest.approx(items.mean())
        assert (effects**2).sum() == pytest.approx(items.var(ddof=1) / 400)
    assert score_by_mean([3.0]) == (3.0, np.zeros(1))  # one item says nothing


def test_effects_of_a_difference_are_differences() -> None:
    apart = score_by_mean(ITEMS[0].tolist()).effects - score_by_mean(ITEMS[1].tolist()).effects
    assert apart == pytest.approx(score_by_mean((ITEMS[0] - ITEMS[1]).tolist()).effects)


def test_drawn_sets_vary_as_items_do() -> None:
    for one, items in zip(score_by_totals(ITEMS[..., np.newaxis], mean), ITEMS, strict=True):
        exact = score_by_mean(items.tolist())
        assert one.score == pytest.approx(exact.score) and one.effects.shape == (10_000,)
        assert (one.effects**2).sum() == pytest.approx((exact.effects**2).sum(), rel=0.06)


def test_a_drawn_set_is_the_same_for_all_runs() -> None:
    def effects(items: Floats, seed: int = 0) -> list[Floats]:
        return [one.effects for one in score_by_totals(items[..., np.newaxis], mean, samples=50, seed=seed)]

    first, other = effects(np.stack([ITEMS[0], 2 * ITEMS[0] + 1]))
    assert other == pytest.approx(2 * first)
    assert effects(ITEMS[:1])[0] == pytest.approx(first)
    assert (effects(ITEMS[:1], seed=1)[0] != first).any()


@pytest.mark.parametrize("items", [1, 2, 5])
def test_any_score_of_totals_is_that_of_its_set(items: int) -> None:
    """As many items are drawn as there are, each counted as often as it was drawn."""
    rows = np.eye(items)[np.newaxis]  # totals are then how often each item was drawn
    drawn: list[Floats] = []

    def keep(totals: Floats, count: int) -> Floats:
        assert count == items
        drawn.append(totals.reshape(-1, items))
        return totals @ np.arange(1.0, items + 1)

    ((score, effects),) = score_by_totals(rows, keep, samples=30)
    *times, real = np.concatenate(drawn)
    assert len(times) == 30 and (real == 1).all() and (np.sum(times, axis=1) == items).all()
    wanted = times @ np.arange(1.0, items + 1)
    assert score == real @ np.arange(1.0, items + 1)
    assert effects == pytest.approx((wanted - wanted.mean()) / 30**0.5)
