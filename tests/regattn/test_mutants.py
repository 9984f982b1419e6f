"""Wrong kernels run through the tests of the right ones, with the same bounds: every one must be caught."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import regattn
from regattn.kernels import reference
from tests import oracles
from tests.mappings import OF_OMEGA, solve
from tests.oracles import bound

Rows = np.ndarray
GAMMA, LAM, P, ALPHA, K = 0.7, 0.1, 1.5, 1.3, 1.7
STRENGTHS: dict[str, dict[str, float]] = {
    **{mapping: {"gamma": GAMMA} for mapping in OF_OMEGA},
    "entmax": {"gamma": GAMMA, "alpha": ALPHA},
    "normmax": {"gamma": GAMMA, "alpha": ALPHA},
    "fusedmax": {"gamma": GAMMA, "lam": LAM},
    "oscarmax": {"gamma": GAMMA, "lam": LAM},
    "pnormmax": {"gamma": GAMMA, "p": P},
    "budget": {"gamma": GAMMA, "k": K},
}


def right(mapping: str, x: Rows, **changed: float) -> Rows:
    return solve(mapping, x, **(STRENGTHS[mapping] | changed))


def in_float32(mapping: str) -> Callable[[Rows], Rows]:
    return lambda x: right(mapping, x.astype(np.float32)).astype(np.float64)


def project(x: Rows) -> Rows:
    return solve("project_simplex", x)


def prox_tv1d(x: Rows, lam: float = LAM) -> Rows:
    return solve("prox_tv1d", np.ascontiguousarray(x), lam=lam)


def ranks_off(x: Rows, slope: float) -> Rows:
    """Sorted scores less slope per score below, back in place: oscarmax without isotonic regression."""
    order = np.argsort(-x, axis=1)
    tilted = np.take_along_axis(x, order, 1) - slope * np.arange(x.shape[1] - 1, -1, -1)
    out = np.empty_like(x)
    np.put_along_axis(out, order, tilted, 1)
    return out


def support_off_by_one(x: Rows) -> Rows:
    y = right("sparsemax", x)
    smallest = np.where(y > 0, y, np.inf).argmin(1)[:, None]
    z = x / GAMMA
    np.put_along_axis(z, smallest, np.where((y > 0).sum(1, keepdims=True) > 1, -1e3, 0.0), 1)
    return project(z)


def screened_too_eagerly(x: Rows) -> Rows:
    """A score under max − 1, not max − 1 − 4λ, separates its neighbours."""
    z = x / GAMMA
    z -= z.max(1, keepdims=True)
    return project(prox_tv1d(np.where(z < -1, -50.0, z)))


def screened_at_half(mapping: str, depth: float = 1.0) -> Callable[[Rows], Rows]:
    """A bound on the threshold that is too high: scores under half the depth that matters are dropped."""
    return lambda x: right(mapping, np.where(x < x.max(1, keepdims=True) - depth / 2 * GAMMA, -np.inf, x))


def normalized(y: Rows) -> Rows:
    return y / y.sum(1, keepdims=True)


def smallest_dropped(x: Rows) -> Rows:
    """The threshold of the right support less its last member."""
    y = right("entmax15", x)
    smallest = np.where(y > 0, y, np.inf).argmin(1)[:, None]
    without = x.copy()
    np.put_along_axis(without, smallest, np.where((y > 0).sum(1, keepdims=True) > 1, -np.inf, x.max()), 1)
    return right("entmax15", without)


def newton_stopped(x: Rows) -> Rows:
    """Three of Newton's steps, and what they leave spread by dividing by the sum."""
    z = (x - x.max(1, keepdims=True)) / (2 * GAMMA)
    t = np.ones((len(x), 1))
    for _ in range(3):
        v = np.maximum(z + t, 0)
        s1, s2 = v.sum(1, keepdims=True), (v * v).sum(1, keepdims=True)
        t -= (s2 - np.sqrt(s2)) / s1
    return normalized(np.maximum(z + t, 0) ** 2)


def runs_not_charged(x: Rows) -> Rows:
    """What separates two runs is taken out with the λ that they owe for leaving it below."""
    z = x / GAMMA
    z -= z.max(1, keepdims=True)
    out = np.full_like(z, -50.0)
    for row, kept, y in zip(z, z >= -1 - 4 * LAM, out, strict=True):
        ends = np.flatnonzero(np.diff(kept)) + 1
        for at in np.split(np.arange(row.size), ends):
            if kept[at[0]]:
                y[at] = prox_tv1d(row[None, at])[0]
    return project(out)


def ranks_two_by_two(x: Rows) -> Rows:
    """Scores of neighbouring ranks averaged, as if each pair were a bucket that need not be sorted."""
    order = np.argsort(-x, axis=1)
    z = np.take_along_axis(x, order, 1)
    z[:, :6] = z[:, :6].reshape(-1, 3, 2).mean(-1).repeat(2, axis=1)
    y = np.empty_like(x)
    np.put_along_axis(y, order, right("oscarmax", z), 1)
    return y


def pnorm_root_stopped_early(x: Rows) -> Rows:
    """Twenty bisections instead of as many as there are bits."""
    y = []
    for row in (x - x.max(1, keepdims=True)) / GAMMA:
        low, high = 0.0, 1.0
        for _ in range(20):
            t = (low + high) / 2
            shape = np.maximum(1 + row / t, 0) ** (1 / (P - 1))
            w = shape / shape.sum()
            low, high = (t, high) if w.max() ** (P - 1) * (w**P).sum() ** ((2 - P) / P) > t else (low, t)
        y.append(w)
    return np.array(y)


FORWARD: dict[str, tuple[str, Callable[[Rows], Rows]]] = {
    "softmax without gamma": ("softmax", lambda x: right("softmax", x, gamma=1.0)),
    "softmax in float32": ("softmax", in_float32("softmax")),
    "sparsemax without gamma": ("sparsemax", lambda x: right("sparsemax", x, gamma=1.0)),
    "sparsemax, screened too eagerly": ("sparsemax", screened_at_half("sparsemax")),
    "fusedmax, runs not charged at their ends": ("fusedmax", runs_not_charged),
    "oscarmax, screened too eagerly": ("oscarmax", screened_at_half("oscarmax")),
    "oscarmax, a bucket not sorted": ("oscarmax", ranks_two_by_two),
    "pnormmax, screened too eagerly": ("pnormmax", screened_at_half("pnormmax")),
    "entmax15 without gamma": ("entmax15", lambda x: right("entmax15", x, gamma=1.0)),
    "entmax15 in float32": ("entmax15", in_float32("entmax15")),
    "entmax15, screened too eagerly": ("entmax15", screened_at_half("entmax15", 2.0)),
    "entmax15, scores not halved": ("entmax15", lambda x: right("entmax15", x, gamma=GAMMA / 2)),
    "entmax15, not squared": ("entmax15", lambda x: normalized(np.sqrt(right("entmax15", x)))),
    "entmax15, support off by one": ("entmax15", smallest_dropped),
    "entmax15, root stopped early": ("entmax15", newton_stopped),
    "entmax, alpha + 1e-9": ("entmax", lambda x: right("entmax", x, alpha=ALPHA + 1e-9)),
    "entmax, gamma not times alpha − 1": ("entmax", lambda x: right("entmax", x, gamma=GAMMA * (ALPHA - 1))),
    "entmax, screened too eagerly": ("entmax", screened_at_half("entmax", 1 / (ALPHA - 1))),
    "entmax in float32": ("entmax", in_float32("entmax")),
    "entmax, α of the norm": ("entmax", lambda x: right("normmax", x)),
    "normmax, alpha + 1e-9": ("normmax", lambda x: right("normmax", x, alpha=ALPHA + 1e-9)),
    "normmax, screened too eagerly": ("normmax", screened_at_half("normmax")),
    "normmax in float32": ("normmax", in_float32("normmax")),
    "normmax, norm squared": ("normmax", lambda x: right("pnormmax", x, p=ALPHA)),
    "budget, k + 1e-9": ("budget", lambda x: right("budget", x, k=K + 1e-9)),
    "budget, screened too eagerly": ("budget", screened_at_half("budget", 2.0)),
    "budget in float32": ("budget", in_float32("budget")),
    "budget without a ceiling": ("budget", lambda x: K * right("sparsemax", x / K)),
    "budget, ceiling put on afterwards": ("budget", lambda x: np.minimum(K * right("sparsemax", x / K), 1)),
    "sparsemax in float32": ("sparsemax", in_float32("sparsemax")),
    "sparsemax, support off by one": ("sparsemax", support_off_by_one),
    "sparsemax, sum off by 1e-12": ("sparsemax", lambda x: right("sparsemax", x) * (1 + 1e-12)),
    "fusedmax, lam · 1.001": ("fusedmax", lambda x: right("fusedmax", x, lam=LAM * 1.001)),
    "fusedmax, lam · (1 + 1e-10)": ("fusedmax", lambda x: right("fusedmax", x, lam=LAM * (1 + 1e-10))),
    "fusedmax, lam / gamma": ("fusedmax", lambda x: right("fusedmax", x, lam=LAM / GAMMA)),
    "fusedmax, lam · gamma": ("fusedmax", lambda x: right("fusedmax", x, lam=LAM * GAMMA)),
    "fusedmax, circular": ("fusedmax", lambda x: project(prox_tv1d(np.tile(x / GAMMA, 5))[:, 14:21])),
    "fusedmax without total variation": ("fusedmax", lambda x: project(x / GAMMA)),
    "fusedmax, projected first": ("fusedmax", lambda x: prox_tv1d(project(x / GAMMA))),
    "fusedmax, not projected": ("fusedmax", lambda x: np.maximum(prox_tv1d(x / GAMMA), 0)),
    "fusedmax, screened too eagerly": ("fusedmax", screened_too_eagerly),
    "fusedmax in float32": ("fusedmax", in_float32("fusedmax")),
    "oscarmax, lam · 1.001": ("oscarmax", lambda x: right("oscarmax", x, lam=LAM * 1.001)),
    "oscarmax, half of lam": ("oscarmax", lambda x: right("oscarmax", x, lam=LAM / 2)),
    "oscarmax of |x|, as published": (
        "oscarmax",
        lambda x: solve("oscarmax_published", x, gamma=GAMMA, lam=LAM),
    ),
    "oscarmax without isotonic regression": ("oscarmax", lambda x: project(ranks_off(x / GAMMA, LAM))),
    "oscarmax, ranks reversed": ("oscarmax", lambda x: project(ranks_off(x / GAMMA, -LAM))),
    "oscarmax in float32": ("oscarmax", in_float32("oscarmax")),
    "pnormmax, p + 1e-9": ("pnormmax", lambda x: right("pnormmax", x, p=P + 1e-9)),
    "pnormmax, norm not squared": ("pnormmax", lambda x: right("pnormmax", x, gamma=GAMMA * 1.01)),
    "pnormmax, root stopped early": ("pnormmax", pnorm_root_stopped_early),
    "pnormmax in float32": ("pnormmax", in_float32("pnormmax")),
}


def scores() -> Rows:
    return np.concatenate([kind(np.random.default_rng(1), 60, 7) for kind in oracles.KINDS])


def judged(mapping: str, x: Rows, y: Rows) -> tuple[float, float]:
    """Largest violation over its bound, by the library's certificate and by the outside one."""
    limit, strengths = bound(x, **STRENGTHS[mapping]), STRENGTHS[mapping]
    ours = regattn.certify(torch.from_numpy(x), torch.from_numpy(y), getattr(regattn, mapping), **strengths)
    theirs = oracles.violation(mapping, x, y, **strengths)
    return float((ours.numpy() / limit).max()), float((theirs / limit).max())


@pytest.mark.parametrize("mapping", STRENGTHS)
def test_the_right_kernel_passes(mapping):
    x = scores()
    assert max(judged(mapping, x, right(mapping, x))) <= 1


@pytest.mark.parametrize(("mapping", "wrong"), FORWARD.values(), ids=FORWARD)
@pytest.mark.measures("wrong kernels")
def test_wrong_kernel_is_caught(mapping, wrong):
    x = scores()
    assert min(judged(mapping, x, wrong(x))) > 1


# ------------------------------------------------------------------ derivatives
def whole_support(labels: Rows) -> Rows:
    return (labels > 0).astype(np.int32)


def singletons(labels: Rows) -> Rows:
    return np.where(labels > 0, np.arange(1, len(labels) + 1), 0)


def last_of_support_forgotten(labels: Rows) -> Rows:
    labels = labels.copy()
    labels[np.flatnonzero(labels)[-1]] = 0
    return labels


def first_in_the_group_before(labels: Rows) -> Rows:
    """Each group begins one member too late."""
    members = np.flatnonzero(labels)
    labels = labels.copy()
    labels[members[1:]] = labels[members[:-1]]
    return labels


BACKWARD: dict[str, Callable[[Rows], np.ndarray]] = {
    "group mean over the whole support": lambda k: reference.jacobian(whole_support(k), 1 / GAMMA, True),
    "groups moved by one": lambda k: reference.jacobian(first_in_the_group_before(k), 1 / GAMMA, True),
    "no groups": lambda k: reference.jacobian(singletons(k), 1 / GAMMA, True),
    "not centred": lambda k: reference.jacobian(k, 1 / GAMMA, False),
    "not divided by gamma": lambda k: reference.jacobian(k, 1.0, True),
    "support off by one": lambda k: reference.jacobian(last_of_support_forgotten(k), 1 / GAMMA, True),
    "scale off by 1e-11": lambda k: reference.jacobian(k, (1 + 1e-11) / GAMMA, True),
    "group sums, not means": lambda k: (
        reference.jacobian(k, 1 / GAMMA, False) * np.unique(k, return_counts=True)[1].max()
    ),
    "centred over all positions": lambda k: reference.jacobian(k, 1 / GAMMA, False) - 1 / len(k) / GAMMA,
}


def jacobian_error(mapping: str, jacobian: Callable[[Rows], np.ndarray]) -> float:
    """Largest difference from the closed form on random rows."""
    function, closed = getattr(regattn, mapping), oracles.outside_certificates().jacobian
    x = np.random.default_rng(2).standard_normal((60, 7))
    labels = regattn.groups(torch.from_numpy(x), function, **STRENGTHS[mapping]).numpy()
    y = right(mapping, x)
    return max(np.abs(jacobian(k) - closed(mapping, w, GAMMA)).max() for k, w in zip(labels, y, strict=True))


@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
def test_the_right_derivative_passes(mapping):
    assert jacobian_error(mapping, lambda k: reference.jacobian(k, 1 / GAMMA, True)) <= 1e-12


@pytest.mark.parametrize("wrong", BACKWARD.values(), ids=BACKWARD)
@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
@pytest.mark.measures("wrong kernels")
def test_wrong_derivative_is_caught(mapping, wrong):
    assert jacobian_error(mapping, wrong) > 1e-12


# ------------------------------------------------------------------ derivatives by the strengths
def by_gamma(x: Rows, y: Rows) -> Rows:
    return -x / GAMMA


def by_lam_of_fusedmax(x: Rows, y: Rows) -> Rows:
    step = np.pad(np.sign(np.diff(y)), ((0, 0), (1, 1)))
    return GAMMA * (step[:, 1:] - step[:, :-1])


def by_lam_of_oscarmax(x: Rows, y: Rows) -> Rows:
    below = (y[:, :, None] > y[:, None]).sum(-1)
    return -GAMMA * (below + 0.5 * ((y[:, :, None] == y[:, None]).sum(-1) - 1))


def circular_steps(x: Rows, y: Rows) -> Rows:
    return GAMMA * (np.sign(np.roll(y, -1, 1) - y) - np.sign(y - np.roll(y, 1, 1)))


RIGHT: dict[tuple[str, str], Callable[[Rows, Rows], Rows]] = {
    ("sparsemax", "gamma"): by_gamma,
    ("fusedmax", "gamma"): by_gamma,
    ("oscarmax", "gamma"): by_gamma,
    ("fusedmax", "lam"): by_lam_of_fusedmax,
    ("oscarmax", "lam"): by_lam_of_oscarmax,
}
WRONG_DX_DPARAMS: dict[str, tuple[tuple[str, str], Callable[[Rows, Rows], Rows]]] = {
    **{
        f"{mapping} by {which}, {fault}": ((mapping, which), lambda x, y, f=factor, e=right: f * e(x, y))
        for (mapping, which), right in RIGHT.items()
        for fault, factor in (("sign", -1.0), ("gamma once more", GAMMA), ("gamma once less", 1 / GAMMA))
    },
    "fusedmax by lam, circular": (("fusedmax", "lam"), circular_steps),
    "fusedmax by lam, of scores": (("fusedmax", "lam"), lambda x, y: by_lam_of_fusedmax(x, x * (y > 0))),
    "oscarmax by lam, own group not counted": (
        ("oscarmax", "lam"),
        lambda x, y: -GAMMA * (y[:, :, None] > y[:, None]).sum(-1),
    ),
    "oscarmax by lam, own group counted whole": (
        ("oscarmax", "lam"),
        lambda x, y: -GAMMA * (y[:, :, None] >= y[:, None]).sum(-1),
    ),
}


def dx_dparam_error(mapping: str, which: str, dx_dparam: Callable[[Rows, Rows], Rows]) -> float:
    """Largest difference of J·∂x/∂θ from the central difference of the weights, off the kinks."""
    function, strengths, step = getattr(regattn, mapping), STRENGTHS[mapping], 1e-5
    x = np.random.default_rng(3).standard_normal((100, 7))
    scores, near = torch.from_numpy(x), []
    for sign in (-1, 0, 1):
        moved = strengths | {which: strengths[which] + sign * step}
        near.append((function(scores, **moved).numpy(), regattn.groups(scores, function, **moved).numpy()))
    (low, before), (y, labels), (high, after) = near
    smooth = (before == after).all(1)
    assert smooth.mean() > 0.95
    directions = dx_dparam(x, y)
    got = np.stack(
        [reference.jacobian(k, 1 / GAMMA, True) @ e for k, e in zip(labels, directions, strict=True)]
    )
    return float(np.abs(got - (high - low) / (2 * step))[smooth].max())


@pytest.mark.parametrize(("mapping", "which"), RIGHT)
def test_right_dx_dparam_passes(mapping, which):
    assert dx_dparam_error(mapping, which, RIGHT[mapping, which]) <= 1e-8


@pytest.mark.parametrize(("strength", "wrong"), WRONG_DX_DPARAMS.values(), ids=WRONG_DX_DPARAMS)
@pytest.mark.measures("wrong kernels")
def test_wrong_dx_dparam_is_caught(strength, wrong):
    assert dx_dparam_error(*strength, wrong) > 1e-8
