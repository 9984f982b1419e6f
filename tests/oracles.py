"""Judges that share no code with regattn: exact integers, plain objectives, outside certificates."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator
from itertools import combinations, pairwise, permutations, product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

# ------------------------------------------------------------------ the objectives, as they are written


def penalty(mapping: str, y: np.ndarray) -> np.ndarray:
    """What λ multiplies, for rows (n, d) of any number type."""
    if mapping == "fusedmax":
        return np.abs(np.diff(y, axis=1)).sum(1)
    if mapping == "oscarmax":
        pairs = combinations(range(y.shape[1]), 2)
        return sum((np.maximum(np.abs(y[:, i]), np.abs(y[:, j])) for i, j in pairs), np.zeros_like(y[:, 0]))
    return np.zeros_like(y[:, 0])


def objective(
    mapping: str,
    x: np.ndarray,
    y: np.ndarray,
    gamma: float = 1.0,
    lam: float = 0.0,
    p: float = 1.5,
    alpha: float = 1.5,
    k: float = 1.0,
) -> np.ndarray:
    """⟨x, y⟩ − γΩ(y), row by row."""
    if mapping == "softmax":
        omega = np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0)), 0.0).sum(1)
    elif mapping in ("entmax", "entmax15"):
        omega = ((y**alpha).sum(1) - 1) / (alpha * (alpha - 1))
    elif mapping == "normmax":
        omega = (y**alpha).sum(1) ** (1 / alpha)
    elif mapping == "pnormmax":
        omega = 0.5 * (np.abs(y) ** p).sum(1) ** (2 / p)
    else:
        omega = 0.5 * (y * y).sum(1) + lam * penalty(mapping, y)
    return (x * y).sum(1) - gamma * omega


# ------------------------------------------------------------------ exact solutions of small problems
Pattern = tuple[list[tuple[int, ...]], list[int], list[bool]]  # groups, slopes of the penalty, positive?


def _sparsemax_patterns(d: int) -> Iterator[Pattern]:
    for positive in product([False, True], repeat=d):
        yield [(i,) for i in range(d)], [0] * d, list(positive)


def _fusedmax_patterns(d: int) -> Iterator[Pattern]:
    """All runs, all signs of the jumps between them, all choices of zero runs."""
    for cuts in product([False, True], repeat=d - 1):
        ends = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), d]
        runs = [tuple(range(a, b)) for a, b in pairwise(ends)]
        for signs in product([-1, 1], repeat=len(runs) - 1):
            jumps = [0, *signs, 0]
            slopes = [a - b for a, b in pairwise(jumps)]
            for positive in product([False, True], repeat=len(runs)):
                yield runs, slopes, list(positive)


def _oscarmax_patterns(d: int) -> Iterator[Pattern]:
    """All ways to order the positions into tied groups, the last of which may be zero."""
    seen = set()
    for order in permutations(range(d)):
        for cuts in product([False, True], repeat=d - 1):
            ends = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), d]
            groups = tuple(tuple(sorted(order[a:b])) for a, b in pairwise(ends))
            if groups in seen:
                continue
            seen.add(groups)
            slopes = [sum(d - 1 - r for r in range(a, b)) for a, b in pairwise(ends)]
            for last in (True, False):
                yield list(groups), slopes, [True] * (len(groups) - 1) + [last]


_PATTERNS = {"sparsemax": _sparsemax_patterns, "fusedmax": _fusedmax_patterns, "oscarmax": _oscarmax_patterns}


def exact_solutions(mapping: str, scores: np.ndarray, lam: int, unit: int) -> tuple[np.ndarray, int]:
    """Argmax over the simplex of ⟨z, y⟩ − ½‖y‖² − λ·penalty(y), z = scores/unit, λ = lam/unit; all integers.

    Each pattern of ties, zeros and jump signs makes the objective a quadratic with a stationary point
    in closed form. The solution is the stationary point of its own pattern, hence the best of those
    that lie on the simplex. Returns integers (n, d) and the number they are to be divided by.
    """
    n, d = scores.shape
    parts = math.lcm(*range(1, d + 1))
    one = parts * unit
    best, solution = np.full(n, np.iinfo(np.int64).min), np.zeros((n, d), np.int64)
    for groups, slopes, positive in _PATTERNS[mapping](d):
        if not any(positive):
            continue
        sums = [scores[:, g].sum(1) - lam * slope for g, slope in zip(groups, slopes, strict=True)]
        support = sum(len(g) for g, inside in zip(groups, positive, strict=True) if inside)
        tau = (sum(s for s, inside in zip(sums, positive, strict=True) if inside) - unit) * (parts // support)
        y = np.zeros((n, d), np.int64)
        for g, s, inside in zip(groups, sums, positive, strict=True):
            if inside:
                y[:, g] = (s * (parts // len(g)) - tau)[:, None]
        value = 2 * parts * (scores * y).sum(1) - (y * y).sum(1) - 2 * parts * lam * penalty(mapping, y)
        better = (y >= 0).all(1) & (value > best)
        best[better], solution[better] = value[better], y[better]
    return solution, one


def integer_vectors(d: int) -> np.ndarray:
    """All of {−2, …, 2}^d."""
    return np.array(list(product(range(-2, 3), repeat=d)), np.int64)


# ------------------------------------------------------------------ curved mappings in extended precision


def softmax(x: np.ndarray, gamma: float) -> np.ndarray:
    y = np.exp(_shifted(x, gamma))
    return y / y.sum(1, keepdims=True)


def _shifted(x: np.ndarray, gamma: float) -> np.ndarray:
    return (x.astype(np.longdouble) - x.max(1, keepdims=True)) / np.longdouble(gamma)


def entmax(x: np.ndarray, gamma: float, alpha: float) -> np.ndarray:
    if alpha == 1:
        return softmax(x, gamma)
    e = 1 / (np.longdouble(alpha) - 1)
    return _of_unit_norm(_shifted(x, gamma) / e, e, e)


def entmax15(x: np.ndarray, gamma: float) -> np.ndarray:
    return entmax(x, gamma, 1.5)


def normmax(x: np.ndarray, gamma: float, alpha: float) -> np.ndarray:
    e = 1 / (np.longdouble(alpha) - 1)
    return _of_unit_norm(_shifted(x, gamma), e, e + 1)


def _of_unit_norm(z: np.ndarray, e: np.longdouble, m: np.longdouble) -> np.ndarray:
    """Rows in proportion to max(z + t, 0)^e, by bisection for the t with Σ max(z + t, 0)^m = 1."""
    low, high = np.zeros((len(z), 1), np.longdouble), np.ones((len(z), 1), np.longdouble)
    for _ in range(66):
        t = (low + high) / 2
        above = (np.maximum(z + t, 0) ** m).sum(1, keepdims=True) > 1
        low, high = np.where(above, low, t), np.where(above, t, high)
    y = np.maximum(z + high, 0) ** e
    return y / y.sum(1, keepdims=True)


def budget(x: np.ndarray, gamma: float, k: float) -> np.ndarray:
    """Rows by bisection for the τ at which Σ clip(x/γ − τ, 0, 1) = k."""
    z = _shifted(x, gamma)
    low, high = z.min(1, keepdims=True) - 1, np.zeros((len(z), 1), np.longdouble)
    for _ in range(80):
        tau = (low + high) / 2
        above = np.clip(z - tau, 0, 1).sum(1, keepdims=True) > k
        low, high = np.where(above, tau, low), np.where(above, high, tau)
    return np.clip(z - low, 0, 1)


def pnormmax(x: np.ndarray, gamma: float, p: float) -> np.ndarray:
    """Rows by bisection in long double for t = max x/γ − τ, the largest derivative of ½‖y‖_p²."""
    z, p = _shifted(x, gamma), np.longdouble(p)
    low, high = np.zeros((len(x), 1), np.longdouble), np.ones((len(x), 1), np.longdouble)
    for _ in range(66):
        t = (low + high) / 2
        y = np.maximum(1 + z / t, 0) ** (1 / (p - 1))
        y /= y.sum(1, keepdims=True)
        above = y.max(1, keepdims=True) ** (p - 1) * (y**p).sum(1, keepdims=True) ** ((2 - p) / p) > t
        low, high = np.where(above, t, low), np.where(above, high, t)
    return y


SOLUTIONS = {
    "softmax": softmax,
    "entmax": entmax,
    "entmax15": entmax15,
    "normmax": normmax,
    "budget": budget,
}
"""By name the weights of those that the certificates from outside do not know."""


def jacobian(mapping: str, y: np.ndarray, gamma: float, **strengths: float) -> np.ndarray:
    """Closed form at the weights of one row."""
    alpha = strengths.get("alpha", 1.5)
    if mapping in ("entmax", "entmax15"):
        s = y ** (2 - alpha) * (y > 0)
        return (np.diag(s) - np.outer(s, s) / s.sum()) / gamma
    if mapping == "budget":
        inside = (y > 0) & (y < 1)
        return (np.diag(inside) - np.outer(inside, inside) / max(inside.sum(), 1)) / gamma
    if mapping == "normmax":  # the bordered system of the Hessian of ‖y‖_α, whole
        support, d = y > 0, len(y)
        v, norm = np.where(support, y, 1.0), (y**alpha).sum() ** (1 / alpha)
        slopes = np.where(support, (v / norm) ** (alpha - 1), 0.0)
        hessian = (alpha - 1) / norm * (np.diag((v / norm) ** (alpha - 2)) - np.outer(slopes, slopes))
        system = np.block([[hessian, support[:, None]], [support[None], np.zeros((1, 1))]])
        inverse: np.ndarray = np.linalg.inv(system)[:d, :d]
        return inverse * np.outer(support, support) / gamma
    closed: np.ndarray = outside_certificates().jacobian(mapping, y, gamma, strengths.get("p"))
    return closed


# ------------------------------------------------------------------ certificates from outside


@functools.cache
def outside_certificates() -> ModuleType:
    """certify.py, where it lies in a folder ``shared`` beside the repository; else the test is skipped."""
    path = Path(__file__).resolve().parents[1].parent / "shared" / "certify.py"
    if not path.exists():
        pytest.skip(f"needs the independent certificates, looked for at ../shared/{path.name}")
    spec = importlib.util.spec_from_file_location("outside_certificates", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EPS = np.finfo(np.float64).eps


def bound(x: np.ndarray, gamma: float = 1.0, lam: float = 0.0, **_: float) -> np.ndarray:
    """The violation that rounding may cause: 64 eps · max(1, spread/γ, λd), row by row."""
    return 64 * EPS * np.maximum(1.0, np.maximum(np.ptp(x, axis=1) / gamma, lam * x.shape[1]))


def violation(mapping: str, x: np.ndarray, y: np.ndarray, **strengths: float) -> np.ndarray:
    """What the outside certificates say of rows, or how far off they are; strengths as in the signature."""
    if mapping in SOLUTIONS:
        return np.abs(y - SOLUTIONS[mapping](x, **strengths)).max(1).astype(np.float64)
    outside = outside_certificates()
    found = getattr(outside, f"batch_{mapping}")(x, y, *strengths.values(), dtype=np.longdouble)
    for i in np.flatnonzero(found > bound(x, **strengths))[:200]:  # the batch over-charges tiny weights
        found[i] = getattr(outside, f"certify_{mapping}")(x[i], y[i], *strengths.values())
    return found


def certify_rows(mapping: str, x: np.ndarray, y: np.ndarray, **strengths: float) -> np.ndarray:
    """What the outside certificates say of one row after another; of other mappings, how far off they are."""
    if mapping in SOLUTIONS and mapping != "softmax":
        return violation(mapping, x, y, **strengths)
    scalar = getattr(outside_certificates(), f"certify_{mapping}")
    return np.array([scalar(a, b, *strengths.values()) for a, b in zip(x, y, strict=True)])


def violation_in_linear_time(z: np.ndarray, y: np.ndarray, lam: float) -> float:
    """How far one row is from the optimality of fusedmax (γ = 1), for rows too long for windows.

    With u the dual variable of each edge, z_i − y_i − u_{i−1} + u_i = τ in the support and ≤ τ elsewhere,
    u = ±λ at jumps and within ±λ at all edges. τ follows by summing over the support. What u may be is
    carried along the row as an interval; an empty one is mended by moving a score by its gap.
    """
    d, support = z.size, y > 0
    if not support.any() or not np.isfinite(y).all() or (y < 0).any():
        return np.inf
    a = z.astype(np.longdouble) - z.max() - y
    cut = np.count_nonzero(np.diff(support))
    tau = (a[support].sum() - np.longdouble(lam) * cut) / np.count_nonzero(support)
    worst, low, high = abs(y.astype(np.longdouble).sum() - 1), np.longdouble(0), np.longdouble(0)
    jumps = np.append(np.sign(np.diff(y)), 0.0)
    for i, step in enumerate(a - tau):
        low, high = (low - step if support[i] else np.longdouble(-np.inf)), high - step
        least, most = -lam, lam
        if i == d - 1:
            least = most = 0.0
        elif jumps[i] != 0:
            least = most = lam * jumps[i]
        worst = max(worst, low - most, least - high)
        low, high = min(max(low, least), most), max(min(high, most), least)
    return float(worst)


# ------------------------------------------------------------------ scores that are hard in different ways


def normal(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d))


def heavy_tailed(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_t(1.5, (n, d))


def tied(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Few different values, none of them a round number."""
    return rng.choice(rng.standard_normal(4), (n, d))


def integer(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.integers(-3, 4, (n, d)).astype(np.float64)


def nearly_tied(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return tied(rng, n, d) + 1e-13 * rng.standard_normal((n, d))


def outliers(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Few scores far above a dense rest."""
    x = 0.1 * rng.random((n, d))
    few = max(1, d // 20)
    x[:, :few] += rng.exponential(1.0, (n, few))
    return rng.permuted(x, axis=1)


def spaced(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Equal steps, bent at random."""
    return rng.permuted(np.linspace(0, 1, d) ** rng.uniform(0.3, 3.0, (n, 1)), axis=1)


def two_clusters(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return np.where(rng.random((n, d)) < 0.5, 0.0, -1.0) + 0.01 * rng.random((n, d))


def clusters(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Some so narrow that their order does not matter, some not."""
    centre = np.repeat(rng.standard_normal((n, d // 10 + 1)), 10, axis=1)[:, :d]
    return centre + 10.0 ** rng.uniform(-6, -1, (n, 1)) * rng.random((n, d))


def exponential_gaps(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return -np.exp(rng.uniform(-20, 2, (n, d)))


MORE_KINDS = [outliers, spaced, two_clusters, clusters, exponential_gaps]
KINDS = [normal, heavy_tailed, tied, integer, nearly_tied]


def adversarial(d: int) -> dict[str, np.ndarray]:
    """Rows that are hard for one algorithm or another."""
    return {
        "sorted": np.linspace(0, 1, d),
        "reversed": np.linspace(1, 0, d),
        "alternating": np.resize([0.0, 1.0], d),
        "teeth": np.resize([0.0, 0.3, 0.1, 0.2], d),
        "concave": np.sqrt(np.linspace(0, 1, d)),
        "walk": np.cumsum(np.random.default_rng(0).standard_normal(d)) / 100,
        "close": np.random.default_rng(1).random(d),  # all within 1 + 4λ: nothing is screened out
        "constant": np.zeros(d),
        "spike": np.eye(1, d, d // 2)[0],
        "geometric": 0.9 ** np.arange(d),
    }
