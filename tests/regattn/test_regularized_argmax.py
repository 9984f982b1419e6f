"""The mapping of a regularizer that the user writes: against closed forms and an independent solve."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import regattn
from regattn import regularized_argmax
from tests.mappings import random_scores, weights_and_gradient


def half_square(y: Tensor) -> Tensor:
    return 0.5 * (y * y).sum()


def half_square_of_norm(p: float):
    """½‖y‖_p², safe at the corners, where the norm's own derivative is 0/0."""
    return lambda y: 0.5 * (y.clamp(min=0) ** p).sum() ** (2 / p)


def quadratic_form(d: int) -> tuple[Tensor, object]:
    root = torch.randn(d, d, dtype=torch.float64)
    matrix = root @ root.T / d + 0.3 * torch.eye(d, dtype=torch.float64)
    return matrix, lambda y: 0.5 * y @ matrix @ y


def solve_quadratic(x: Tensor, matrix: Tensor, gamma: float) -> Tensor:
    """All supports: the stationary point of each, and the best of those on the simplex."""
    d, best, answer = len(x), -torch.inf, None
    for support in product([False, True], repeat=d):
        s = torch.tensor(support)
        if not s.any():
            continue
        n = int(s.sum())
        system = torch.ones(n + 1, n + 1, dtype=torch.float64)
        system[:n, :n] = gamma * matrix[s][:, s]
        system[n, n] = 0.0
        solution = torch.linalg.solve(system, torch.cat([x[s], torch.ones(1, dtype=torch.float64)]))
        y = torch.zeros(d, dtype=torch.float64)
        y[s] = solution[:n]
        value = x @ y - gamma / 2 * y @ matrix @ y
        if (y >= 0).all() and value > best:
            best, answer = value, y
    assert answer is not None
    return answer


@pytest.mark.parametrize("gamma", [0.3, 1.0, 4.0])
def test_half_square_is_sparsemax(gamma):
    x, direction = random_scores(2, 50, 7)
    got = weights_and_gradient(regularized_argmax, x, direction, omega=half_square, gamma=gamma)
    expected = weights_and_gradient(regattn.sparsemax, x, direction, gamma=gamma)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_quadratic_form_against_all_supports(gamma):
    matrix, omega = quadratic_form(6)
    x = random_scores(12, 6)
    expected = torch.stack([solve_quadratic(row, matrix, gamma) for row in x])
    torch.testing.assert_close(regularized_argmax(x, omega, gamma=gamma), expected, rtol=0, atol=3e-6)
    assert ((expected == 0).sum(-1) > 0).any() and ((expected > 0).sum(-1) > 1).any()


def test_jacobian_of_a_quadratic_form():
    """(H⁻¹ − H⁻¹11ᵀH⁻¹ / 1ᵀH⁻¹1)/γ on the support."""
    matrix, omega = quadratic_form(5)
    x = random_scores(5)
    y = regularized_argmax(x, omega, gamma=0.5)
    s = y > 0
    inverse = torch.linalg.inv(matrix[s][:, s])
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[s.nonzero(), s.nonzero().T] = (
        inverse - inverse.sum(1, keepdim=True) * inverse.sum(0) / inverse.sum()
    ) / 0.5
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        got = jacobian(lambda v: regularized_argmax(v, omega, gamma=0.5))(x)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_second_derivatives_of_all_nestings_agree():
    x, direction = random_scores(2, 4)

    def half_square(v):
        y = regularized_argmax(v, lambda y: (y**4 + y**2).sum(-1), gamma=0.5)
        return 0.5 * ((y * direction) ** 2).sum()

    hessian = torch.autograd.functional.hessian(half_square, x)
    assert hessian.abs().max() > 1e-3
    for outer in (torch.func.jacrev, torch.func.jacfwd):
        for inner in (torch.func.jacrev, torch.func.jacfwd):
            torch.testing.assert_close(outer(inner(half_square))(x), hessian, rtol=0, atol=1e-9)


@pytest.mark.parametrize("p", [1.5, 1.8, 2.0])
def test_squared_norm_is_pnormmax(p):
    x = random_scores(20, 5)
    y = regularized_argmax(x, half_square_of_norm(p))
    torch.testing.assert_close(y, regattn.pnormmax(x, p=p), rtol=0, atol=1e-5)


def test_squared_norm_beyond_two_is_optimal():
    """p = 3 is outside pnormmax; the conditions are checked by hand."""
    x, p = random_scores(20, 5), 3.0
    y = regularized_argmax(x, half_square_of_norm(p), tol=1e-13)
    slack = x - (y**p).sum(-1, keepdim=True) ** ((2 - p) / p) * y ** (p - 1)
    tau = torch.where(y > 1e-5, slack, torch.nan).nanmean(-1, keepdim=True)
    assert (slack - tau).amax() <= 1e-5
    assert ((slack - tau).abs() * (y > 1e-3)).max() <= 1e-4


def test_derivatives():
    def omega(y: Tensor) -> Tensor:  # neither separable nor quadratic
        return half_square(y) + 0.3 * (y**4).sum() + 0.2 * y.square().sum() ** 2

    def mapping(x: Tensor) -> Tensor:
        return regularized_argmax(x, omega, gamma=0.8, tol=1e-14)

    few, fewer = random_scores(2, 3).requires_grad_(), random_scores(1, 3).mul(0.2).requires_grad_()
    assert gradcheck(mapping, few, atol=1e-4, eps=1e-4, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(mapping, fewer, atol=1e-3, eps=1e-4, fast_mode=True)


def test_masks_dims_and_types():
    x, mask = random_scores(6, 3), torch.rand(6, 3) > 0.4
    mask[:, 2] = False
    got = regularized_argmax(x, half_square, 0, mask=mask)
    torch.testing.assert_close(got, regattn.sparsemax(x, 0, mask=mask), rtol=0, atol=1e-6)
    assert (got[~mask] == 0).all()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(regularized_argmax(x, half_square, 0, mask=mask)[1].sum(), x)
    assert (gradient[~mask] == 0).all() and gradient.isfinite().all()
    for dtype in (torch.float32, torch.bfloat16):
        assert regularized_argmax(torch.randn(2, 3).to(dtype), half_square).dtype == dtype
    invalid = regularized_argmax(torch.tensor([[0.0, float("nan")], [0.0, 1.0]]), half_square)
    assert invalid[0].isnan().all() and invalid[1].tolist() == [0.0, 1.0]
    mapped = torch.func.vmap(lambda row: regularized_argmax(row, half_square))(x.detach())
    torch.testing.assert_close(mapped, regularized_argmax(x.detach(), half_square), rtol=0, atol=1e-6)


def test_says_when_it_has_not_converged():
    _matrix, omega = quadratic_form(6)
    with pytest.raises(RuntimeError, match=r"the duality gap must be at most 1e-14, got .* after 2 steps"):
        regularized_argmax(random_scores(3, 6), omega, tol=1e-14, max_iter=2)
    with pytest.raises(ValueError, match="tol must be above 0, got 0"):
        regularized_argmax(random_scores(3), half_square, tol=0)
    with pytest.raises(ValueError, match="gamma must be finite and above 0, got -1"):
        regularized_argmax(random_scores(3), half_square, gamma=-1.0)
