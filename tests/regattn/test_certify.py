"""certify accepts right answers, and no wrong one: at least a quarter of the error, whatever it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import regattn
from tests import mappings, oracles
from tests.mappings import random_scores

CASES = [*mappings.CASES, ("fusedmax", {"gamma": 1.0, "lam": 0.0}), ("pnormmax", {"gamma": 0.7, "p": 2.0})]
each_case = pytest.mark.parametrize(("mapping", "strengths"), CASES)


@each_case
def test_wrong_weights_are_charged_a_quarter_of_their_error(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(300, 6)
    right = function(x, **strengths)
    for noise in (1e-12, 1e-8, 1e-4, 1e-1):
        wrong = regattn.project_simplex(right + noise * torch.randn_like(right))
        violation = regattn.certify(x, wrong, function, **strengths)
        error = (wrong - right).abs().amax(-1)
        assert (violation >= error / 4 - 1e-15).all(), noise


@each_case
def test_moved_scores_are_charged_for_the_move_alone(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(300, 6)
    for move in (0.0, 1e-12, 1e-8, 1e-4, 1e-1):
        moved = function(x + move * (2 * torch.rand_like(x) - 1), **strengths)
        violation = regattn.certify(x, moved, function, **strengths)
        steepness = 1 / (strengths.get("p", strengths.get("alpha", 2.0)) - 1)
        assert violation.max() <= 1.5 * steepness * move / strengths["gamma"] + 1e-14, move


@each_case
def test_agrees_with_the_independent_certificates(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(60, 6)
    right = function(x, **strengths)
    for weights in (right, regattn.sparsemax(x * 3), torch.softmax(x, -1), right.roll(1, -1)):
        ours = regattn.certify(x, weights, function, **strengths)
        theirs = torch.from_numpy(oracles.certify_rows(mapping, x.numpy(), weights.numpy(), **strengths))
        assert (ours >= theirs / 16 - 1e-15).all()  # sound up to the looser snapping of the other
        small = (ours < 1e-13) == (theirs < 1e-13)
        assert small.all()


@each_case
def test_off_the_simplex_is_noticed(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(20, 6)
    right = function(x, **strengths)
    assert (regattn.certify(x, right + 0.01, function, **strengths) > 0.009).all()
    negative = right.clone()
    negative[:, 0] -= 2.0
    assert (regattn.certify(x, negative, function, **strengths) > 0.9).all()


@each_case
def test_weight_under_the_mask_is_a_violation(mapping, strengths):
    function, x = getattr(regattn, mapping), random_scores(20, 6)
    mask = torch.tensor([True, True, False, True, False, True])
    right = function(x, mask=mask, **strengths)
    assert (regattn.certify(x, right, function, mask=mask, **strengths) < 1e-14).all()
    leaky = right.clone()
    leaky[:, 2] = 0.01
    assert (regattn.certify(x, leaky, function, mask=mask, **strengths) >= 0.01).all()


@each_case
def test_mask_is_removal(mapping, strengths):
    function, x, y = (
        getattr(regattn, mapping),
        random_scores(300, 6),
        torch.softmax(random_scores(300, 6), -1),
    )
    mask = torch.tensor([True, False, True, True, False, True])
    y = torch.where(mask, y, 0.0)
    whole = regattn.certify(x, y, function, mask=mask, **strengths)
    removed = regattn.certify(x[:, mask], y[:, mask], function, **strengths)
    torch.testing.assert_close(whole, removed, rtol=1e-12, atol=1e-15)


def test_rows_without_an_answer():
    x = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [float("inf"), 1.0]], dtype=torch.float64)
    violation = regattn.certify(x, regattn.sparsemax(x), regattn.sparsemax)
    assert violation[0] == 0 and violation[1:].isnan().all()
    nothing = torch.zeros(2, dtype=torch.bool)
    assert regattn.certify(x[0], torch.zeros(2), regattn.sparsemax, mask=nothing) == 0
    assert regattn.certify(x[0], torch.tensor([0.0, 1.0]), regattn.sparsemax, mask=nothing) == 1
    assert regattn.certify(x[0], torch.full((2,), float("nan")), regattn.sparsemax).isinf()


def test_modules_dims_and_errors():
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    module = regattn.Fusedmax(1, lam=0.3)
    violation = regattn.certify(x, module(x), module, 1)
    assert violation.shape == (3, 2) and violation.max() < 1e-14
    assert regattn.certify(x, module(x), regattn.fusedmax, 1, lam=0.2).max() > 1e-3
    with pytest.raises(ValueError, match="one of softmax, sparsemax"):
        regattn.certify(x, x, regattn.oscarmax_published)
    with pytest.raises(ValueError, match=r"shape of scores \(3, 5, 2\), got \(3, 5\)"):
        regattn.certify(x, x[..., 0], regattn.sparsemax)
    with pytest.raises(ValueError, match="lam"):
        regattn.certify(x, x, regattn.fusedmax, lam=-1.0)


def test_long_rows_stay_accurate():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 500)))
    for mapping in ("fusedmax", "oscarmax"):
        function = getattr(regattn, mapping)
        assert regattn.certify(x, function(x, lam=0.01), function, lam=0.01).max() < 1e-12
