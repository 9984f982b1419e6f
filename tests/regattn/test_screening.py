"""The roads that only some rows take: screening, rounds, buckets, lanes, wide structures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor

import regattn
from regattn.kernels import reference
from regattn.kernels.cpu import sparsemax, vectors
from scripts.bench.sections import hard_rows
from tests import oracles
from tests.mappings import READ_OFF, SOLVED, solve, weights_and_gradient
from tests.oracles import bound
from tests.pairwise import pairwise

FEW = 16  # survivors of oscarmax that are not looked at again


def right(mapping: str, x: np.ndarray, y: np.ndarray, *strengths: float) -> bool:
    """Close to the reference, and with the same support up to weights of the size of rounding."""
    expected = getattr(reference, mapping)(x, *strengths)
    expected = expected if mapping in READ_OFF else expected[0]
    lam = strengths[1] if mapping in ("fusedmax", "oscarmax") else 0.0
    return bool(np.abs(y - expected).max() <= bound(x[None], strengths[0], lam)[0])


# ------------------------------------------------------------------ oscarmax beyond a few survivors
KINDS = oracles.KINDS + oracles.MORE_KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_oscarmax_of_many_survivors(kind, measure):
    rng, row = np.random.default_rng(0), measure("many survivors", parts=len(KINDS))
    for _ in range(row.n):
        x = kind(rng, 1, int(rng.integers(FEW + 1, 600)))[0] * 10.0 ** rng.uniform(-3, 2)
        lam = float(10.0 ** rng.uniform(-5, 0))
        y = solve("oscarmax", x, lam=lam)
        assert right("oscarmax", x, y, 1.0, lam), (x.size, lam)
        roundings = x.size / 16  # the certificate adds up whole rows, in float64 itself
        found = regattn.certify(torch.from_numpy(x), torch.from_numpy(y), regattn.oscarmax, lam=lam)
        row.within(found, bound(x[None], lam=lam)[0] * roundings, scores=kind.__name__)


def test_bucket_that_is_sorted_behind_emptier_ones():
    """What is written of a sorted bucket must not overwrite the sums of those before it."""
    x = np.concatenate([[0.0, -0.30], np.linspace(-0.32, -0.38, 80)])
    assert right("oscarmax", x, solve("oscarmax", x, lam=1e-3), 1.0, 1e-3)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_oscarmax_of_two_levels_between_two_tails(share):
    """The middle of a row is one group, or just not: the larger scores have all that its variance allows."""
    large, small = round(200 * share), 200 - round(200 * share)
    middle = np.concatenate([np.full(large, 1.0 / large), np.full(small, -1.0 / small)])
    row = np.random.default_rng(0).permutation(np.concatenate([[0.1, 0.08, 0.07], middle, [-0.1, -0.2]]))
    for factor in (0.8, 0.99, 1.01, 1.2, 2.0, 3.0):
        lam = factor * 2.0 / (large * small)
        for scale in (1.0, 30.0):
            y = solve("oscarmax", scale * row, lam=scale * lam)
            assert right("oscarmax", scale * row, y, 1.0, scale * lam), (factor, scale)


def test_ties_in_the_order_of_positions_and_against_it():
    rng = np.random.default_rng(1)
    for d in (17, 40, 200):
        x = np.sort(rng.choice(rng.standard_normal(6), d))
        for lam in (1e-4, 1e-3, 1e-2):
            forward, backward = solve("oscarmax", x, lam=lam), solve("oscarmax", x[::-1].copy(), lam=lam)
            np.testing.assert_allclose(forward, backward[::-1], rtol=0, atol=bound(x[None], lam=lam)[0])
            tied = np.equal.outer(x, x)
            assert (np.equal.outer(forward, forward) | ~tied).all(), "tied scores, different weights"


# ------------------------------------------------------------------ constants that could not be smaller
# Each row is right only just: a constant that is 2 % off loses a weight or a group.
def as_deep_as_fusedmax_looks(lam: float) -> np.ndarray:
    """A score nearly 1 + 4λ under the maximum that its neighbours, in the support themselves, lift."""
    low, nearly = -100.0, lam / 20
    beside, deep = -1 + nearly, -1 - 4 * lam + 0.9 * nearly
    return np.array([low, 0.0, low, beside, deep, beside, low])


def as_deep_as_oscarmax_looks(n: int, lam: float, below: int) -> np.ndarray:
    """Below the maximum n − 1 scores that pay for their rank just so much that all get a tiny weight."""
    k = np.arange(2, n + 1)
    total = n + below
    scores = -1 - lam * (total - 1) + lam * (total - k) + 1e-3
    return np.concatenate([[0.0], scores, np.full(below, -100.0)])


def bucket_that_nearly_need_not_be_sorted() -> tuple[np.ndarray, float]:
    """Between two buckets of tied scores one with half its scores at either end.

    Inside it the prefix sums exceed their chord by cw/4 − λc²/8, which is 1/0.95 of what the neighbours
    leave to the majorant: only by sorting is it seen that the bucket parts in the middle.
    """
    c, w, inside = 64, 5e-4, 1e-3
    share = 0.95
    lam = (0.5 + 0.25 * share) / (1 + 0.125 * share) * w / c
    at = [5 - inside] * c + [5 + inside] * (c // 2) + [6 - inside] * (c // 2) + [6 + inside] * c
    return -w * np.array([0.0, *at, 12.0]), lam


def halves_that_nearly_are_one_part() -> tuple[np.ndarray, float]:
    lam, m = 1e-3, 40
    return np.repeat([0.0, -0.51 * lam * m], m // 2), lam


BARELY: dict[str, tuple[str, np.ndarray, tuple[float, ...]]] = {
    "sparsemax": ("sparsemax", np.array([0.0, -0.99]), (1.0,)),
    "pnormmax": ("pnormmax", np.array([0.0, -0.99]), (1.0, 1.5)),
    "entmax15": ("entmax15", np.array([0.0, -1.98]), (1.0,)),
    "pnormmax, p = 1.8": ("pnormmax", np.array([0.0, -0.99]), (1.0, 1.8)),
    "fusedmax": ("fusedmax", as_deep_as_fusedmax_looks(0.1), (1.0, 0.1)),
    "fusedmax, large lam": ("fusedmax", as_deep_as_fusedmax_looks(2.0), (1.0, 2.0)),
    "oscarmax": ("oscarmax", as_deep_as_oscarmax_looks(10, 0.1, 0), (1.0, 0.1)),
    "oscarmax, many": ("oscarmax", as_deep_as_oscarmax_looks(40, 0.01, 0), (1.0, 0.01)),
    "oscarmax, many that pay little": ("oscarmax", as_deep_as_oscarmax_looks(100, 1e-4, 100), (1.0, 1e-4)),
    "oscarmax, many of more": ("oscarmax", as_deep_as_oscarmax_looks(40, 0.01, 400), (1.0, 0.01)),
}
for _name, (_row, _lam) in {
    "oscarmax, one bucket": bucket_that_nearly_need_not_be_sorted(),
    "oscarmax, two halves": halves_that_nearly_are_one_part(),
}.items():
    BARELY[_name] = ("oscarmax", _row, (1.0, _lam))


@pytest.mark.parametrize(("mapping", "x", "strengths"), BARELY.values(), ids=BARELY)
def test_what_is_barely_kept(mapping, x, strengths):
    _, *others = strengths
    named = dict(zip({"pnormmax": ["p"]}.get(mapping, ["lam"]), others, strict=False))
    for gamma, order in product((1.0, 0.3), (np.arange(x.size), np.arange(x.size)[::-1])):
        y = solve(mapping, gamma * x[order], gamma=gamma, **named)
        assert right(mapping, gamma * x[order], y, gamma, *others)


def test_what_is_barely_kept_is_barely_kept():
    """The rows above are what they are said to be, by the reference alone."""
    y, labels = reference.fusedmax(as_deep_as_fusedmax_looks(0.1), 1.0, 0.1)
    assert 0 < y[4] < 0.01 and labels[4] not in labels[[3, 5]]
    for n, below in ((10, 0), (40, 0), (40, 400)):
        y, _ = reference.oscarmax(as_deep_as_oscarmax_looks(n, 0.01, below), 1.0, 0.01)
        assert 0 < y[n - 1] < 1e-3 and not y[n:].any()
    for x, lam in (bucket_that_nearly_need_not_be_sorted(), halves_that_nearly_are_one_part()):
        _, labels = reference.oscarmax(x, 1.0, lam)
        inside = labels[65:129] if x.size > 128 else labels
        assert len(np.unique(inside)) == 2


# ------------------------------------------------------------------ rounds of the threshold
def rounds_needed(level: np.ndarray) -> int:
    """What the kernel does to find the threshold, counted."""
    tau, count, rounds = -np.inf, np.inf, 0
    while True:
        rounds += 1
        kept = level[level > tau]
        if kept.size == count:
            return rounds
        count, tau = kept.size, (kept.sum() - 1) / kept.size


def one_block_for_each_round(blocks: int) -> np.ndarray:
    """Blocks of tied scores, each under the threshold of those above it, above that of all with the next."""
    scores, sizes = [0.0, 0.0], [2]
    tau, total, gap = -0.5, 2, 1e-12
    for _ in range(blocks):
        size = max(1, round(0.35 * total))
        scores += [tau - gap] * size
        sizes.append(size)
        total += size
        tau -= gap * size / total
        following = max(1, round(0.35 * total))
        gap *= 1.1 * (1 - size / total) * (total + following) / following
    return np.array(scores)


def test_rows_that_exhaust_the_rounds_are_sorted():
    x = one_block_for_each_round(2 * sparsemax._ROUNDS)
    lengths = [n for n in range(3, x.size) if x[n] != x[n - 1] and x[n - 1] >= -1]
    x = x[: lengths[-1]]
    assert rounds_needed(x) > sparsemax._ROUNDS + 1, "no row for this: the test says nothing"
    rng = np.random.default_rng(0)
    for order in (np.arange(x.size), rng.permutation(x.size)):
        row = x[order]
        assert right("sparsemax", row, solve("sparsemax", row), 1.0)
        assert right("sparsemax", row, solve("fusedmax", row, lam=0.0), 1.0)
        y = solve("fusedmax", row, lam=1e-5)
        assert oracles.violation_in_linear_time(row, y, 1e-5) <= bound(row[None])[0] * row.size / 64


# ------------------------------------------------------------------ lanes and wide structures
def masks_of(d: int) -> list[np.ndarray]:
    """Prefixes, suffixes and holes where blocks of 64 positions meet."""
    i = np.arange(d)
    holes = [i % 64 != 0, i % 64 != 63, i % 64 == 0, i % 64 == 63, (i < 60) | (i > 70)]
    edges = [i < d - 1, i < 64, i < 63, i < 65, i >= 1, i >= 63, i >= 64, i == d - 1, i == 0]
    rng = np.random.default_rng(d)
    masks = [*holes, *edges, rng.random(d) < 0.5, rng.random(d) < 0.02]
    return [m for m in masks[:: 1 if d < 1000 else 3] if m.any()]


@pytest.mark.parametrize(
    ("mapping", "d", "dtype"),
    pairwise(
        SOLVED,
        [62, 63, 64, 65, 127, 128, 129, 8191, 8192, 8193],
        [torch.float32, torch.float64],
    ),
)
def test_masked_is_removed_at_the_edges_of_lanes(mapping, d, dtype):
    """Sharp and flat rows: the one has a small support, in the other nearly every position is a member."""
    function = getattr(regattn, mapping)
    masks = masks_of(d)
    x, direction = torch.randn(2, len(masks), d, dtype=dtype)
    mask = torch.from_numpy(np.stack(masks))
    atol = 1e-12 if dtype == torch.float64 else 1e-5
    for gamma in (0.5, 2.0 * d):
        y, gradient = weights_and_gradient(function, x, direction, gamma=gamma, mask=mask)
        for i, present in enumerate(mask):
            assert (y[i, ~present] == 0).all() and (gradient[i, ~present] == 0).all()
            along = direction[i, present]
            weights, slope = weights_and_gradient(function, x[i, present], along, gamma=gamma)
            assert torch.equal(y[i, present], weights)
            torch.testing.assert_close(gradient[i, present], slope, rtol=0, atol=atol)
            hidden = function(torch.where(present, x[i], -torch.inf), gamma=gamma)
            assert torch.equal(y[i], hidden)


@njit
def threshold(level, size, n):
    key, item = np.empty(n), np.empty(n, np.int64)
    tau = sparsemax.threshold(level, size, n, -np.inf, key, item)
    return tau, sparsemax._threshold_by_sorting(level, size, n, key, item)


@njit
def threshold_alone(level, n):
    key, item = np.empty(n), np.empty(n, np.int64)
    return sparsemax.threshold(level, None, n, -np.inf, key, item)


@njit
def power_sums(z, n, t):
    return vectors.power_sums(z, n, t)


@pytest.mark.parametrize("after", [0, 1, 64])
def test_few_numbers_beside_whatever_follows_them(after):
    rng = np.random.default_rng(after)
    for n in range(1, 2 * vectors.FEW + 2):
        level = rng.choice(rng.standard_normal(5), n) * rng.choice([0.1, 1.0, 5.0])
        size, junk = rng.integers(1, 4, n).astype(float), np.full(after, np.nan)
        beside = np.r_[level, junk], np.r_[size, junk]
        tau, sorted_tau = threshold(*beside, n)
        assert tau == pytest.approx(sorted_tau, abs=1e-14)
        assert size @ np.maximum(level - tau, 0) == pytest.approx(1.0, abs=1e-13)
        alone = threshold_alone(beside[0], n)
        assert np.maximum(level - alone, 0).sum() == pytest.approx(1.0, abs=1e-13)
        v = np.maximum(level - level.max() + 0.5, 0)
        sums = power_sums(beside[0] - level.max(), n, 0.5)
        np.testing.assert_allclose(sums, [v.sum(), (v**2).sum(), (v**3).sum()], rtol=1e-14)


@pytest.mark.parametrize("d", [8191, 8192, 8193, 40000])
def test_last_positions_of_wide_structures(d):
    """Their numbers just fit 16 bits, or do not; a wrong one would send a gradient elsewhere."""
    x, direction = torch.zeros(2, d, dtype=torch.float64)
    direction[-1] = 1.0
    for mapping, strengths in (("sparsemax", {}), ("fusedmax", {"lam": 0.0}), ("oscarmax", {"lam": 0.0})):
        _, gradient = weights_and_gradient(getattr(regattn, mapping), x, direction, **strengths)
        assert gradient.argmax() == d - 1
        torch.testing.assert_close(gradient, direction - 1 / d, rtol=0, atol=1e-15)
    labels = regattn.groups(x, regattn.sparsemax)
    assert labels[-1] == d and (labels.diff() == 1).all()


# ------------------------------------------------------------------ long rows made to be hard
@pytest.fixture(scope="module")
def hard() -> dict[str, Tensor]:
    return {name: x[0].double() for name, x in hard_rows(1, 16384).items()}


@pytest.mark.parametrize("lam", [1e-3, 0.1])
def test_certified_on_long_hard_rows(hard, lam):
    for name, x in hard.items():
        roundings = x.numel() / 64
        y = regattn.fusedmax(x, lam=lam)
        limit = bound(x[None].numpy(), lam=lam)[0] * roundings
        assert oracles.violation_in_linear_time(x.numpy(), y.numpy(), lam) <= limit, name
        for mapping in [name for name in SOLVED if name != "fusedmax"]:
            strengths = {"lam": lam / 1000} if mapping == "oscarmax" else {}
            function = getattr(regattn, mapping)
            limit = bound(x[None].numpy(), **strengths)[0] * roundings
            assert regattn.certify(x, function(x, **strengths), function, **strengths) <= limit, (
                name,
                mapping,
            )


def ramp_whose_ends_meet(rng: np.random.Generator, d: int, lam: float) -> np.ndarray:
    """λ levels off either end, and what is left between them is a score, or none."""
    return np.arange(d) * 8 * lam / d**2 * rng.uniform(0.95, 1.2) * rng.choice([-1, 1])


LONG_RUNS: dict[str, Callable[[np.random.Generator, int, float], np.ndarray]] = {
    "faint noise": lambda rng, d, lam: 10 ** rng.uniform(-3, 0) * rng.standard_normal(d),
    "walk": lambda rng, d, lam: 10 ** rng.uniform(-3, 0) * rng.standard_normal(d).cumsum(),
    "alternating": lambda rng, d, lam: np.arange(d) % 2 * rng.choice([0.2, 0.3, 0.4]),
    "ramp": lambda rng, d, lam: np.linspace(0, 10 ** rng.uniform(-4, 0), d) * rng.choice([-1, 1]),
    "ramp whose ends meet": ramp_whose_ends_meet,
    "saw": lambda rng, d, lam: np.arange(d) % int(rng.integers(2, 80)) / 100,
    "step": lambda rng, d, lam: (np.arange(d) > d / 3) * 0.05 + 0.001 * rng.standard_normal(d),
}


@pytest.mark.parametrize("kind", LONG_RUNS)
def test_runs_that_screening_leaves_whole(kind):
    """Level sets, ramps and parts: certified, and masked = removed bit for bit, there and back."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        d, lam = int(rng.integers(16, 700)), float(rng.choice([1e-3, 0.03, 0.1, 1.0]))
        x = LONG_RUNS[kind](rng, d, lam)
        assert (
            oracles.violation_in_linear_time(x, solve("fusedmax", x, lam=lam), lam)
            <= bound(x[None], lam=lam)[0]
        )
        mask = torch.zeros(d + 40, dtype=torch.bool)
        mask[np.sort(rng.permutation(d + 40)[:d])] = True
        wide = torch.full((d + 40,), torch.nan, dtype=torch.float64)
        wide[mask] = torch.from_numpy(x)
        direction = torch.randn(d + 40, dtype=torch.float64)
        whole = weights_and_gradient(regattn.fusedmax, wide, direction, lam=lam, mask=mask)
        alone = weights_and_gradient(regattn.fusedmax, wide[mask], direction[mask], lam=lam)
        assert all(torch.equal(found[mask], expected) for found, expected in zip(whole, alone, strict=True))


def test_linear_certificate_is_the_quadratic_one():
    """Both are 0 up to rounding for right weights, and notice wrong ones alike."""
    rng = np.random.default_rng(0)
    for x in rng.standard_normal((40, 12)):
        y = solve("fusedmax", x, lam=0.1)
        assert oracles.violation_in_linear_time(x, y, 0.1) <= bound(x[None], lam=0.1)[0]
        for wrong in (solve("fusedmax", x, lam=0.1001), solve("fusedmax", x, lam=0.12), np.roll(y, 1)):
            if np.abs(wrong - y).max() > 1e-6:
                found = oracles.violation_in_linear_time(x, wrong, 0.1)
                assert found >= np.abs(wrong - y).max() / 4
