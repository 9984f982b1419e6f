"""Every mapping solves the problem that its docstring states: certified, and against three other roads."""

from __future__ import annotations

from itertools import product

import entmax
import numpy as np
import pytest
import torch

import regattn
from regattn.kernels import reference
from regattn.kernels.cpu import fusedmax, groups, oscarmax, prox, sparsemax
from tests import oracles
from tests.mappings import OF_OMEGA, READ_OFF, random_scores, renumbered, solve, weights_and_gradient
from tests.oracles import EPS, bound
from tests.pairwise import pairwise

LENGTHS = [1, 2, 3, 7, 16, 64]
LAMS = [0.0, 0.01, 0.1, 0.5, 5.0]
_GAMMA = [{"gamma": g} for g in (0.1, 1.0, 3.0)]
_LAM = [{"gamma": g, "lam": lam} for g, lam in zip((1.0, 0.1, 1.0, 3.0, 0.5), LAMS, strict=True)]
STRENGTHS: dict[str, list[dict[str, float]]] = {
    **dict.fromkeys(OF_OMEGA, _GAMMA),
    "fusedmax": _LAM,
    "oscarmax": _LAM,
    "pnormmax": [
        {"gamma": g, "p": p} for g, p in ((1.0, 1.5), (0.1, 1.2), (3.0, 1.9), (1.0, 2.0), (1.0, 1.05))
    ],
    "entmax": [
        {"gamma": g, "alpha": a} for g, a in ((1.0, 1.3), (0.1, 1.0), (3.0, 1.05), (1.0, 1.9), (0.5, 2.0))
    ],
    "normmax": [{"gamma": g, "alpha": a} for g, a in ((1.0, 1.3), (0.1, 2.0), (3.0, 1.9), (0.5, 1.1))],
    "budget": [{"gamma": g, "k": k} for g, k in ((1.0, 2.0), (0.1, 1.3), (3.0, 5.0), (0.5, 0.4))],
}
POINTWISE = ["sparsemax", "fusedmax", "oscarmax"]  # those of a quadratic Ω


def compiled(kernel: str, x: np.ndarray, *parameters: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and labels of a compiled kernel for one row."""
    file = {"fusedmax": fusedmax, "oscarmax": oscarmax, "sparsemax": sparsemax}.get(kernel, prox)
    y, structure = getattr(file, kernel)(torch.from_numpy(x), None, *parameters)
    return y.numpy(), groups.labels(structure).numpy()


# ------------------------------------------------------------------ certificates
@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("mapping", STRENGTHS)
def test_certified_on_random_rows(mapping, d, measure):
    """By the library's certificate, and one row in ten by the outside one, in extended precision."""
    rng = np.random.default_rng(d)
    row = measure(f"certified {mapping}", parts=len(LENGTHS))
    n = -(-row.n // (len(oracles.KINDS) * len(STRENGTHS[mapping])))
    for kind in oracles.KINDS:
        for strengths in STRENGTHS[mapping]:
            facts = {"d": d, "scores": kind.__name__, "strengths": str(strengths)}
            for x in in_parts(kind(rng, n, d)):
                y = solve(mapping, x, **strengths)
                limit = bound(x, **strengths)
                function, scores, weights = getattr(regattn, mapping), *map(torch.from_numpy, (x, y))
                row.within(regattn.certify(scores, weights, function, **strengths), limit, **facts)
                theirs = oracles.violation(mapping, x[::10], y[::10], **strengths)
                assert (theirs <= limit[::10]).all(), (facts, (theirs / limit[::10]).max())


def in_parts(x: np.ndarray) -> list[np.ndarray]:
    """Rows in pieces whose intermediate values fit into a cache."""
    return np.array_split(x, -(-x.size // 2**18))


EDGES = [
    *((mapping, strengths) for mapping in POINTWISE for strengths in STRENGTHS[mapping]),
    *(("pnormmax", {"gamma": 1.0, "p": p}) for p in (1.05, 1.3, 1.5, 1.6, 1.75, 1.9, 1.99, 1.999)),
    *(
        (mapping, strengths)
        for mapping in ("entmax15", "entmax", "normmax", "budget")
        for strengths in STRENGTHS[mapping]
        if strengths.get("alpha") != 1.0  # where every score is in the support
    ),
]


@pytest.mark.parametrize(("mapping", "strengths"), EDGES)
def test_certified_where_a_score_enters_the_support(mapping, strengths, measure):
    """Random rows meet this edge about once in ten million, and Newton's method is slow there."""
    rng, lengths = np.random.default_rng(0), (2, 7, 16, 64)
    row = measure("edge", parts=len(EDGES))
    for d in lengths:
        x = rng.standard_normal((-(-row.n // len(lengths)), d)) * rng.choice([0.3, 1.0, 3.0])
        least, top = x.argmin(1)[:, None], x.max(1, keepdims=True)
        inside, outside = top.copy(), top - 100
        for _ in range(50):
            middle = (inside + outside) / 2
            np.put_along_axis(x, least, middle, 1)
            enters = np.take_along_axis(solve(mapping, x, **strengths), least, 1) > 0
            inside, outside = np.where(enters, middle, inside), np.where(enters, outside, middle)
        beside = rng.choice([-1, 1], inside.shape) * 10.0 ** rng.uniform(-16, -6, inside.shape)
        np.put_along_axis(x, least, inside + beside, 1)
        found = oracles.violation(mapping, x, solve(mapping, x, **strengths), **strengths)
        row.within(found, bound(x, **strengths), d=d)


@pytest.mark.parametrize("strengths", STRENGTHS["pnormmax"])
def test_pnormmax_weights_are_right_in_extended_precision(strengths):
    rng = np.random.default_rng(0)
    for d in LENGTHS:
        for kind in oracles.KINDS:
            x = kind(rng, 50, d)
            error = np.abs(solve("pnormmax", x, **strengths) - oracles.pnormmax(x, **strengths)).max(1)
            assert (error <= bound(x, **strengths)).all(), (d, kind.__name__, error.max())


ADVERSARIAL = oracles.adversarial(2000)


@pytest.mark.parametrize(
    ("mapping", "lam", "scores"), pairwise(["fusedmax", "oscarmax"], [0.0, 1e-4, 0.1, 10.0], ADVERSARIAL)
)
def test_certified_on_long_adversarial_rows(mapping, lam, scores):
    x = ADVERSARIAL[scores][None]
    roundings = x.size / 64  # Σy = 1 collects one for each weight
    limit = bound(x, lam=lam) * roundings
    assert oracles.violation(mapping, x, solve(mapping, x, gamma=1.0, lam=lam), gamma=1.0, lam=lam) <= limit


# ------------------------------------------------------------------ exact arithmetic
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("mapping", POINTWISE)
def test_exact_on_all_small_integer_vectors(mapping, gamma, measure):
    """Every tie and every boundary there is: d ≤ 4, entries in {−2, …, 2}."""
    row, unit = measure("integer vectors"), 24
    for lam, d in product((0.0, 0.125, 0.5, 2.0), range(1, 5)):
        x = oracles.integer_vectors(d)
        lam_there = 0 if mapping == "sparsemax" else round(lam * unit)
        exact, one = oracles.exact_solutions(mapping, (x * unit / gamma).astype(np.int64), lam_there, unit)
        strengths = {} if mapping == "sparsemax" else {"lam": lam}
        y = solve(mapping, x.astype(np.float64), gamma=gamma, **strengths)
        row.within(np.abs(y - exact / one).max(1), 2 * EPS)
        if gamma != 3.0:  # else x/γ is rounded, and a boundary with it
            assert ((y > 0) == (exact > 0)).all()
            assert ((np.diff(y) == 0) == (np.diff(exact) == 0)).all()


# ------------------------------------------------------------------ other roads
@pytest.mark.parametrize("kind", oracles.KINDS)
def test_compiled_kernels_agree_with_the_reference(kind):
    rng = np.random.default_rng(3)
    for trial in range(120):
        x = kind(rng, 1, int(rng.integers(1, 30)))[0]
        if trial % 3 == 0:
            x[rng.random(x.size) < 0.2] = -np.inf
        gamma, lam = float(rng.choice([0.3, 1.0, 2.5])), float(rng.choice([0.0, 0.01, 0.1, 2.0]))
        for kernel, parameters in (
            ("sparsemax", (gamma,)),
            ("fusedmax", (gamma, lam)),
            ("oscarmax", (gamma, lam)),
            ("prox_tv1d", (lam,)),
            ("prox_oscar", (lam,)),
            ("isotonic_regression", (False,)),
            ("isotonic_regression", (True,)),
        ):
            y, labels = compiled(kernel, x, *parameters)
            expected, structure = getattr(reference, kernel)(x, *parameters)
            scale = max(1.0, np.abs(x[x > -np.inf]).max(initial=0.0) / gamma, lam * x.size)
            np.testing.assert_allclose(y, expected, rtol=0, atol=64 * EPS * scale, err_msg=kernel)
            if kind in (oracles.normal, oracles.heavy_tailed):  # at a tie two partitions may be right
                assert renumbered(labels) == renumbered(structure), (kernel, x, parameters)


@pytest.mark.parametrize("mapping", READ_OFF)
def test_reference_of_a_curved_mapping_agrees(mapping):
    rng = np.random.default_rng(4)
    for strengths in STRENGTHS[mapping]:
        for x in rng.standard_normal((40, 9)):
            weights = solve(mapping, x[None], **strengths)[0]
            expected = getattr(reference, mapping)(x, *strengths.values())
            np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("alpha", [1.05, 1.3, 1.7, 2.5])
@pytest.mark.parametrize("name", ["entmax", "normmax"])
def test_agrees_with_bisection_of_entmax(name, alpha):
    """To its tolerance: 50 halvings, and what these leave goes into all weights."""
    ours, theirs = getattr(regattn, name), getattr(entmax, f"{name}_bisect")
    for d in LENGTHS:
        x, direction = random_scores(2, 200, d)
        at = torch.full((200, 1), alpha, dtype=torch.float64)
        found = []
        for function in (ours, theirs):
            scores, strength = x.clone().requires_grad_(), at.clone().requires_grad_(name == "entmax")
            y = function(scores, alpha=strength, dim=-1)
            inputs = [scores, strength] if name == "entmax" else [scores]
            found.append((y.detach(), *torch.autograd.grad(y, inputs, direction)))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9 if alpha <= 2 else 1e-5)


@pytest.mark.parametrize("alpha", [2.1, 3.0, 6.0])
def test_steep_weights_are_right_for_their_scores(alpha):
    """Beyond 2 weights near 0 are steep: what is judged are the scores that they are exact for."""
    rng = np.random.default_rng(6)
    for d in LENGTHS:
        for kind in oracles.KINDS:
            x = kind(rng, 100, d)
            y = solve("entmax", x, gamma=0.7, alpha=alpha)
            slack = (x - x.max(1, keepdims=True)) / 0.7 - y ** (alpha - 1) / (alpha - 1)
            lowest = np.where(y > 0, slack, np.inf).min(1)
            limit = bound(x, 0.7)
            assert (slack.max(1) - lowest <= limit).all() and (np.abs(y.sum(1) - 1) <= limit).all()
            found = regattn.certify(
                torch.from_numpy(x), torch.from_numpy(y), regattn.entmax, gamma=0.7, alpha=alpha
            )
            assert (found.numpy() <= limit).all()
            norm = torch.from_numpy(solve("normmax", x, gamma=0.7, alpha=alpha))
            found = regattn.certify(torch.from_numpy(x), norm, regattn.normmax, gamma=0.7, alpha=alpha)
            assert (found.numpy() <= limit).all()


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_agrees_with_entmax(name, d):
    x, direction = random_scores(2, 500, d)
    ours, theirs = (
        weights_and_gradient(getattr(package, name), 2 * x, direction) for package in (regattn, entmax)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


# ------------------------------------------------------------------ structure and precision
@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
@pytest.mark.parametrize("kind", oracles.KINDS)
def test_members_of_a_group_have_equal_bits(kind, mapping, measure):
    function, row = getattr(regattn, mapping), measure("equal bits", parts=2 * len(oracles.KINDS))
    for dtype in (torch.float64, torch.float32):
        x = torch.from_numpy(kind(np.random.default_rng(5), max(200, row.n // 2), 16)).to(dtype)
        y, group = function(x, lam=0.1), regattn.groups(x, function, lam=0.1)
        together = (group.unsqueeze(-1) == group.unsqueeze(-2)) & (group > 0).unsqueeze(-1)
        assert together.sum() > group.count_nonzero(), "no group was formed: the test says nothing"
        equal = (y.unsqueeze(-1) == y.unsqueeze(-2)) | ~together
        row.all(equal.all(-1).all(-1) & ((y > 0) == (group > 0)).all(-1), dtype=str(dtype), d=16)


@pytest.mark.parametrize("mapping", STRENGTHS)
def test_low_precision_is_right_to_8_eps(mapping, measure):
    function, row = getattr(regattn, mapping), measure("low precision", parts=len(STRENGTHS))
    dtypes, scales = (torch.float32, torch.bfloat16, torch.float16), (1e-6, 1e-3, 1.0, 1e3, 1e6)
    n = -(-row.n // (len(dtypes) * len(scales) * len(LENGTHS)))
    for dtype, scale, d in product(dtypes, scales, LENGTHS):
        x = (torch.randn(n, d) * scale).clamp(-6e4, 6e4).to(dtype)
        y = function(x)
        assert y.dtype == dtype
        error = (y.double() - function(x.double())).abs().amax(-1)
        row.within(error, 8 * torch.finfo(dtype).eps, dtype=str(dtype), scale=scale, d=d)
