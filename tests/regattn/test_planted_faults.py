"""Wrong kernels run through the tests of the right ones, with the same bounds: every one must be caught."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import regattn
from regattn.kernels import reference
from tests import oracles
from tests.oracles import bound

Rows = np.ndarray
GAMMA, LAM, P = 0.7, 0.1, 1.5
STRENGTHS = {
    "softmax": {"gamma": GAMMA},
    "sparsemax": {"gamma": GAMMA},
    "fusedmax": {"gamma": GAMMA, "lam": LAM},
    "oscarmax": {"gamma": GAMMA, "lam": LAM},
    "pnormmax": {"gamma": GAMMA, "p": P},
}


def right(mapping: str, x: Rows, **changed: float) -> Rows:
    return getattr(regattn, mapping)(torch.from_numpy(x), **(STRENGTHS[mapping] | changed)).numpy()


def in_float32(mapping: str) -> Callable[[Rows], Rows]:
    return lambda x: right(mapping, x.astype(np.float32)).astype(np.float64)


def project(x: Rows) -> Rows:
    return regattn.project_simplex(torch.from_numpy(x)).numpy()


def prox_tv1d(x: Rows, lam: float = LAM) -> Rows:
    return regattn.prox_tv1d(torch.from_numpy(np.ascontiguousarray(x)), lam).numpy()


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
        lambda x: regattn.oscarmax_published(torch.from_numpy(x), gamma=GAMMA, lam=LAM).numpy(),
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


BACKWARD: dict[str, Callable[[Rows], np.ndarray]] = {
    "group mean over the whole support": lambda k: reference.jacobian(whole_support(k), 1 / GAMMA, True),
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
def test_wrong_derivative_is_caught(mapping, wrong):
    assert jacobian_error(mapping, wrong) > 1e-12
