"""Proximal operators and isotonic regression: against scipy, by optimality, and by perturbation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

import regattn
from tests import oracles
from tests.mappings import BLOCKS, random_scores, weights_and_gradient

Row = np.ndarray


def total_variation(y: Row) -> float:
    return np.abs(np.diff(y)).sum()


def oscar(y: Row) -> float:
    return float(oracles.penalty("oscarmax", y[None])[0])


PROXIMAL = {"prox_tv1d": (regattn.prox_tv1d, total_variation), "prox_oscar": (regattn.prox_oscar, oscar)}
each_proximal = pytest.mark.parametrize(("prox", "penalty"), PROXIMAL.values(), ids=PROXIMAL)


@each_proximal
@pytest.mark.parametrize("lam", [0.01, 0.2, 1.0, 10.0])
def test_every_direction_leads_uphill(prox, penalty, lam):
    """½‖y − x‖² is 1-strongly convex: f(y + h) ≥ f(y) + ½‖h‖² at the minimum, and nowhere else."""
    rng = np.random.default_rng(0)
    for x in np.concatenate([kind(rng, 20, 7) for kind in oracles.KINDS]):
        y = prox(torch.from_numpy(x), lam).numpy()

        def objective(v: Row, x: Row = x) -> float:
            return 0.5 * ((v - x) ** 2).sum() + lam * penalty(v)

        for size in (1e-3, 1e-1, 1.0):
            for h in (
                *(size * rng.standard_normal((6, 7))),
                *(size * np.eye(7)),
                *(-size * np.tril(np.ones((7, 7)))),
                *(size * np.tril(np.ones((7, 7)))),
            ):
                gain = objective(y + h) - objective(y) - 0.5 * (h**2).sum()
                assert gain >= -1e-13 * max(1.0, objective(y))


@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_prox_tv1d_has_a_dual_certificate(lam):
    """x − y = Dᵀu with |u| ≤ λ, and u = ±λ where y jumps."""
    for d in (1, 2, 9, 300):
        x = torch.randn(20, d, dtype=torch.float64)
        y = regattn.prox_tv1d(x, lam)
        u = (x - y).cumsum(-1)
        assert u[:, -1].abs().max() <= 1e-12 and u.abs().max() <= lam + 1e-12
        jump = y.diff(dim=-1)
        off = torch.where(jump.abs() > 1e-12, u[:, :-1] + lam * jump.sign(), 0.0)
        assert (off.abs() <= 1e-12).all()


@pytest.mark.parametrize("decreasing", [False, True])
@pytest.mark.parametrize("kind", oracles.KINDS)
def test_isotonic_regression_is_scipys(kind, decreasing):
    for d in (1, 2, 7, 64):
        x = kind(np.random.default_rng(d), 30, d)
        y = regattn.isotonic_regression(torch.from_numpy(x), decreasing=decreasing).numpy()
        for row, got in zip(x, y, strict=True):
            expected = scipy.optimize.isotonic_regression(row, increasing=not decreasing).x
            np.testing.assert_allclose(got, expected, rtol=0, atol=64 * 2.3e-16 * max(1, np.abs(row).max()))
        steps = np.diff(y, axis=1)
        assert ((steps <= 0) if decreasing else (steps >= 0)).all()


@each_proximal
def test_nothing_at_lam_zero_and_everything_at_a_large_one(prox, penalty):
    x = torch.randn(50, 6, dtype=torch.float64)
    torch.testing.assert_close(prox(x, 0.0), x, rtol=0, atol=1e-15)
    assert penalty(prox(x, 100.0)[0].numpy()) <= 1e-12


def test_project_simplex_is_the_closest_point():
    x = torch.randn(200, 6, dtype=torch.float64) * 2
    y = regattn.project_simplex(x)
    assert (y >= 0).all() and ((y.sum(-1) - 1).abs() <= 1e-15 * 6).all()
    corners = torch.eye(6, dtype=torch.float64)
    # variational inequality: ⟨x − y, corner − y⟩ ≤ 0
    towards = ((x - y).unsqueeze(1) * (corners - y.unsqueeze(1))).sum(-1)
    assert towards.max() <= 1e-14


each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


@each_block
def test_minus_infinity_takes_no_part(block):
    x, direction = random_scores(2, 100, 8)
    absent = torch.rand(100, 8) < 0.3
    x = x.masked_fill(absent, -torch.inf)
    y, gradient = weights_and_gradient(block, x, direction)
    assert (y[absent] == -torch.inf).all() and (gradient[absent] == 0).all()
    for row, along, present, *found in zip(x, direction, ~absent, y, gradient, strict=True):
        alone = weights_and_gradient(block, row[present], along[present])
        assert all(torch.equal(whole[present], part) for whole, part in zip(found, alone, strict=True))


@each_block
def test_invalid_rows(block):
    x = torch.randn(3, 4)
    clean = block(x)
    x[1, 2] = float("nan")
    y = block(x)
    assert y[1].isnan().all() and torch.equal(y[::2], clean[::2])


def test_refuses_bad_lam():
    for prox in (regattn.prox_tv1d, regattn.prox_oscar):
        for lam in (-0.1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="lam must be finite and at least 0"):
                prox(torch.randn(3), lam)
        with pytest.raises(TypeError, match=r"lam must be a number at least 0, got tensor"):
            prox(torch.randn(3), torch.tensor(0.1))  # which would get no gradient
