"""The rule by which claims are decided errs as seldom, and finds as much, as it was chosen for."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
import pytest

from scripts.paper.significance import LEVEL, Comparison, Design, RunScore, compare
from tests.exhaustive import Measure

MAPPINGS = ("softmax", "sparsemax", "fusedmax", "oscarmax", "pnormmax")
ITEMS = 80  # of a test set
BELOW = 3000  # trials behind the rates below


class Spread(NamedTuple):
    """Standard deviations in points: of a run about its mapping, of that the part of items that only this run
    gets right, and of a difference because of the items whatever the seed."""

    run: float
    items_of_run: float
    items: float


SNLI, BLEU, ROUGE = Spread(0.273, 0.20, 0.050), Spread(0.334, 0.15, 0.187), Spread(0.251, 0.15, 0.113)


def trial(
    random: np.random.Generator, spread: Spread, seeds: int, means: tuple[float, ...]
) -> dict[str, dict[int, RunScore]]:
    """Runs of all mappings: what they score on a test set, and what its items do to that."""
    shape = len(MAPPINGS), seeds
    # First what this test set does to a score, then what each item does, which is as much in all.
    each = np.array([1.0, *[ITEMS**-0.5] * ITEMS])
    items = random.normal(0, spread.items / sqrt(2), (len(MAPPINGS), 1, 1 + ITEMS))
    items_of_run = random.normal(0, spread.items_of_run, (*shape, 1 + ITEMS))
    others = random.normal(0, sqrt(spread.run**2 - spread.items_of_run**2), shape)
    effects = (items + items_of_run) * each
    scores = np.array(means)[:, np.newaxis] + effects[..., 0] + others
    return {
        name: {seed: RunScore(scores[row, seed], effects[row, seed, 1:]) for seed in range(seeds)}
        for row, name in enumerate(MAPPINGS)
    }


def differs(found: Comparison) -> bool:
    return found.design.p_value(found.difference, sides=2) <= LEVEL


def is_near(found: Comparison) -> bool:
    return found.difference > -1 and found.design.p_value(found.difference + 1, sides=1) <= LEVEL


@pytest.mark.parametrize(
    ("spread", "better", "margin", "rates"),
    [
        pytest.param(SNLI, 0.0, False, (0.045, 0.047, 0.051), id="type I of accuracy"),
        pytest.param(BLEU, 0.0, False, (0.031, 0.038, 0.043), id="type I of BLEU"),
        pytest.param(SNLI, 0.5, False, (0.50, 0.74, 0.96), id="power for 0.5 of accuracy"),
        pytest.param(ROUGE, 0.7, False, (0.75, 0.92, 0.99), id="power for 0.7 of ROUGE-L"),
        pytest.param(BLEU, 0.0, True, (0.69, 0.89, 0.98), id="all four equal and within 1 BLEU"),
        pytest.param(BLEU, -1.0, True, (0.01, 0.01, 0.01), id="type I of four a margin below"),
    ],
)
def test_error_rates(
    spread: Spread, better: float, margin: bool, rates: tuple[float, ...], measure: Measure
) -> None:
    random, row = np.random.default_rng(5), measure("claims rule", parts=18)
    others = MAPPINGS[1:] if margin else ("fusedmax",)
    means = tuple(better * (name in others) for name in MAPPINGS)
    for seeds, rate in zip((3, 5, 10), rates, strict=True):
        hits = 0
        for _ in range(row.n):
            block = trial(random, spread, seeds, means)
            compared = [compare(block, name, "softmax") for name in others]
            hits += all((is_near if margin else differs)(found) for found in compared if found)
        error = sqrt(rate * (1 - rate) * (1 / row.n + 1 / BELOW))
        # Where the spreads lie is known to two digits, which moves a rate by as much as a point.
        row.within(abs(hits / row.n - rate), 4 * error + 0.012, seeds=seeds, rate=round(hits / row.n, 3))
        row.add(row.n - 1)


@pytest.mark.parametrize(
    ("spread", "least"),
    [(SNLI, (0.73, 0.54, 0.42, 0.38)), (BLEU, (1.06, 0.84, 0.73, 0.69)), (ROUGE, (0.75, 0.58, 0.49, 0.46))],
)
def test_the_least_differences_that_are_seen(spread: Spread, least: tuple[float, ...]) -> None:
    for seeds, difference in zip((3, 5, 8, 10), least, strict=True):
        design = Design(5, seeds, spread.run**2, spread.items**2)
        assert design.least(sides=2) == pytest.approx(difference, abs=0.006)
        assert design.power(design.least(sides=2), sides=2) == pytest.approx(0.8)


def test_the_deficits_that_are_shown_to_be_within_a_point() -> None:
    for seeds, deficit in zip((3, 5, 8, 10), (0.10, 0.26, 0.36, 0.39), strict=True):
        found = 1 - Design(5, seeds, BLEU.run**2, BLEU.items**2).least(sides=1)
        assert found == pytest.approx(deficit, abs=0.01)


def test_the_seeds_that_decide_are_the_fewest_that_do() -> None:
    design = Design(5, 3, SNLI.run**2, SNLI.items**2)
    needed = design.seeds_for(0.5, sides=2)
    assert needed == 6
    assert design.with_seeds(6).power(0.5, sides=2) >= 0.8 > design.with_seeds(5).power(0.5, sides=2)
    assert Design(5, 3, SNLI.run**2, 0.2**2).seeds_for(0.3, sides=2) is None  # the items alone hide it
