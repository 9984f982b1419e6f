"""max_omega is the maximum of which the mapping is the argument; the loss that belongs to it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import regattn
from regattn import fenchel_young_loss, max_omega
from tests import oracles
from tests.mappings import CASES, ON_SIMPLEX, random_scores

DEFAULTS = [(mapping, {}) for mapping, _ in CASES]
each_case = pytest.mark.parametrize(("mapping", "strengths"), CASES)


def random_weights(mapping: str, strengths: dict[str, float], *shape: int) -> torch.Tensor:
    """In the domain of Ω, some on its faces."""
    if mapping in ON_SIMPLEX:
        return regattn.project_simplex(random_scores(*shape))
    return getattr(regattn, mapping)(random_scores(*shape), **strengths)


@each_case
def test_value_is_the_objective_and_no_point_is_better(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(200, 5)
    value = max_omega(x, function, **strengths).numpy()
    at_mapping = oracles.objective(mapping, x.numpy(), function(x, **strengths).numpy(), **strengths)
    np.testing.assert_allclose(value, at_mapping, rtol=0, atol=1e-14)
    for _ in range(20):
        elsewhere = oracles.objective(
            mapping, x.numpy(), random_weights(mapping, strengths, 200, 5).numpy(), **strengths
        )
        assert (elsewhere <= value + 1e-14).all()


@pytest.mark.parametrize(("mapping", "strengths"), CASES + DEFAULTS)
def test_gradient_is_the_mapping(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(50, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(max_omega(x, function, **strengths).sum(), x)
    assert torch.equal(gradient, function(x, **strengths))
    wrapped = partial(max_omega, mapping=function, **strengths)
    assert gradcheck(wrapped, x[:4].detach().requires_grad_(), check_forward_ad=True)
    assert gradgradcheck(wrapped, x[:2].detach().requires_grad_())


@each_case
def test_hessian_is_the_jacobian_of_the_mapping(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(6)
    maximum = partial(max_omega, mapping=function, **strengths)
    jacobian = torch.func.jacrev(partial(function, **strengths))(x)
    for hessian in (torch.func.hessian(maximum), torch.func.jacfwd(torch.func.jacfwd(maximum))):
        torch.testing.assert_close(hessian(x), jacobian)


@pytest.mark.parametrize(("mapping", "strengths"), [case for case in CASES if case[0] in ON_SIMPLEX])
def test_bounds(mapping, strengths):
    """max x − γ max Ω ≤ max_Ω(x) ≤ max x − γ min Ω over the simplex of dimension d."""
    d, gamma, lam, p = 5, strengths["gamma"], strengths.get("lam", 0.0), strengths.get("p", 2.0)
    flat, corner = np.full((1, d), 1 / d), np.eye(d)[1:2]  # a corner with two neighbours
    zero = np.zeros((1, d))
    lowest, highest = (-oracles.objective(mapping, zero, y, 1.0, lam, p)[0] for y in (flat, corner))
    x = random_scores(500, d) * 3
    value = max_omega(x, getattr(regattn, mapping), **strengths)
    top = x.amax(-1)
    assert (value <= top - gamma * lowest + 1e-14).all()
    assert (value >= top - gamma * highest - 1e-14).all()


@each_case
def test_masked_is_removed(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(60, 6)
    mask = torch.rand(60, 6) > 0.4
    value = max_omega(x, function, mask=mask, **strengths)
    for row, allowed, got in zip(x, mask, value, strict=True):
        if allowed.any():
            torch.testing.assert_close(
                got, max_omega(row[allowed], function, **strengths), rtol=0, atol=1e-14
            )
        else:
            assert got == -torch.inf
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(max_omega(x, function, mask=mask, **strengths).sum(), x)
    assert (gradient[~mask] == 0).all() and gradient.isfinite().all()


def test_dims_modules_and_unknown_mappings():
    x = random_scores(3, 4, 5)
    value = max_omega(x, regattn.Fusedmax(1, lam=0.3), 1)
    torch.testing.assert_close(value, max_omega(x.transpose(1, 2), regattn.fusedmax, lam=0.3))
    for unknown in (regattn.oscarmax_published, torch.softmax):
        with pytest.raises(ValueError, match="mapping must be one of softmax, sparsemax"):
            max_omega(x, unknown)
    with pytest.raises(ValueError, match="gamma must be finite and above 0"):
        max_omega(x, regattn.fusedmax, gamma=0.0)


# ------------------------------------------------------------------ the loss
@each_case
def test_loss_is_at_least_zero_and_zero_at_the_mapping_alone(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(300, 5)
    right = function(x, **strengths)
    assert fenchel_young_loss(x, right, function, **strengths).abs().max() <= 1e-14
    target = random_weights(mapping, strengths, 300, 5)
    loss = fenchel_young_loss(x, target, function, **strengths)
    modulus = {"softmax": 1.0, "pnormmax": 0.5 / 5 ** (1 / 3), "normmax": 0.0}.get(
        mapping, 1.0
    )  # Ω is strongly convex
    distance = ((target - right) ** 2).sum(-1)
    assert (loss >= strengths["gamma"] * modulus / 2 * distance - 1e-14).all()
    assert loss.max() > 0.1


@each_case
def test_gradient_of_the_loss_is_the_error(mapping, strengths):
    function, x, target = (
        getattr(regattn, mapping),
        random_scores(50, 5).requires_grad_(),
        random_weights(mapping, strengths, 50, 5),
    )
    (gradient,) = torch.autograd.grad(fenchel_young_loss(x, target, function, **strengths).sum(), x)
    torch.testing.assert_close(gradient, function(x, **strengths) - target, rtol=0, atol=1e-15)


def test_softmax_loss_is_cross_entropy():
    x, label = random_scores(50, 5), torch.randint(5, (50,))
    target = torch.nn.functional.one_hot(label, 5).double()
    ours = fenchel_young_loss(x, target, regattn.softmax)
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(x, label, reduction="none"))


def test_sparsemax_loss_by_hand():
    """Martins & Astudillo (2016), equation 12: −x_k + ½ Σ_S (x_j² − τ²) + ½."""
    x, label = random_scores(50, 5), torch.randint(5, (50,))
    y = regattn.sparsemax(x)
    tau = (x - y)[torch.arange(50), y.argmax(-1)].unsqueeze(-1)
    by_hand = 0.5 + 0.5 * torch.where(y > 0, x**2 - tau**2, 0.0).sum(-1) - x[torch.arange(50), label]
    target = torch.nn.functional.one_hot(label, 5).double()
    torch.testing.assert_close(fenchel_young_loss(x, target, regattn.sparsemax), by_hand)


@each_case
def test_loss_with_a_mask_is_that_of_the_rest(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(40, 6)
    mask = torch.tensor([True, False, True, True, False, True])
    target = regattn.project_simplex(random_scores(40, 6), mask=mask)
    whole = fenchel_young_loss(x, target, function, mask=mask, **strengths)
    rest = fenchel_young_loss(x[:, mask], target[:, mask], function, **strengths)
    torch.testing.assert_close(whole, rest, rtol=0, atol=1e-14)


def test_loss_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"shape of scores \(2, 3\), got \(3,\)"):
        fenchel_young_loss(torch.randn(2, 3), torch.ones(3) / 3, regattn.sparsemax)
