"""Readable solvers of one row: what every compiled kernel is held against.

Exact up to rounding, float64, and where possible by another road than :mod:`regattn.kernels.cpu`.
Each takes a 1-d array ``x`` without NaN or +inf and returns ``(values, labels)``: 0 where a position
has no derivative, else ±k for the k-th group of positions that share one value. Entries at −inf take
no part: mappings give them weight 0, proximal operators leave them.
"""

from __future__ import annotations

import numpy as np

Row = np.ndarray
Solution = tuple[Row, Row]
ROUNDING = 4 * np.finfo(np.float64).eps  # relative to the scores, differences below it are ties


# ------------------------------------------------------------------ simplex
def project_simplex(x: Row) -> Solution:
    """Sort; the support is the longest prefix whose last member stays above its own threshold."""
    present = x > -np.inf
    y, labels = np.zeros(x.size), np.zeros(x.size, np.int32)
    if present.any():
        z = x[present] - x.max()
        descending = np.sort(z)[::-1]
        thresholds = (np.cumsum(descending) - 1) / np.arange(1, z.size + 1)
        tau = thresholds[descending > thresholds][-1]
        y[present] = np.maximum(z - tau, 0)
        labels[y > 0] = np.flatnonzero(y > 0) + 1
    return y, labels


def sparsemax(x: Row, gamma: float) -> Solution:
    """P_Δ(x/γ)."""
    return project_simplex(_divided(x, gamma))


def fusedmax(x: Row, gamma: float, lam: float) -> Solution:
    """P_Δ(P_TV(x/γ)), tied where the proximal operator ties."""
    tied, labels = prox_tv1d(_divided(x, gamma), lam)
    y, _ = project_simplex(tied)
    return y, np.where(y > 0, labels, 0)


def oscarmax(x: Row, gamma: float, lam: float) -> Solution:
    """Sort, subtract λ(n−1, …, 0), make decreasing, undo the sort, project.

    No absolute values and no clipping: on the simplex they are idle, off it they are wrong.
    """
    z = _divided(x, gamma)
    present = np.flatnonzero(z > -np.inf)
    order = present[np.argsort(-z[present], kind="stable")]
    tied, labels = np.full(x.size, -np.inf), np.zeros(x.size, np.int32)
    tied[order], labels[order] = _tie(z[order], lam)
    y, _ = project_simplex(tied)
    return y, np.where(y > 0, labels, 0)


def pnormmax(x: Row, gamma: float, p: float) -> Row:
    """Bisection for t = max x/γ − τ, which is the largest derivative of ½‖y‖_p² at the weights of t."""
    if p == 2:
        return sparsemax(x, gamma)[0]
    z = _divided(x, gamma)
    y = np.zeros(x.size)
    low, high = 0.0, 1.0
    while (z > -np.inf).any() and low < (t := (low + high) / 2) < high:
        shape = np.maximum(1 + z / t, 0) ** (1 / (p - 1))
        y = shape / shape.sum()
        largest = y.max() ** (p - 1) * (y**p).sum() ** ((2 - p) / p)
        low, high = (t, high) if largest > t else (low, t)
    return y


def entmax(x: Row, gamma: float, alpha: float) -> Row:
    """Bisection for τ' = max z − τ with z = (α − 1)x/γ, at which the weights (z − τ)^(1/(α − 1)) sum to 1."""
    if alpha == 1:
        shape = np.exp(_divided(x, gamma))
        return shape / max(shape.sum(), ROUNDING)
    z, e = (alpha - 1) * _divided(x, gamma), 1 / (alpha - 1)
    return _of_unit_norm(z, e, e)


def normmax(x: Row, gamma: float, alpha: float) -> Row:
    """Bisection likewise: y/‖y‖_α is (x/γ − τ)^(1/(α − 1)), whose α-th powers sum to 1."""
    if alpha == 1:
        shape = (x == x.max()) & (x > -np.inf)
        return shape / max(shape.sum(), 1)
    return _of_unit_norm(_divided(x, gamma), 1 / (alpha - 1), alpha / (alpha - 1))


def _of_unit_norm(z: Row, e: float, m: float) -> Row:
    """Weights in proportion to max(z + t, 0)^e, where Σ max(z + t, 0)^m = 1."""
    present = z > -np.inf
    y = np.zeros(z.size)
    low, high = 0.0, 1.0
    while present.any() and low < (t := (low + high) / 2) < high:
        ratio = np.where(present, np.maximum(z / t, -1), -1)
        log = np.log1p(np.where(ratio > -1, ratio, 0))
        shape = np.where(ratio > -1, np.exp(e * log), 0)
        y = shape / shape.sum()
        powers = np.where(ratio > -1, np.exp(m * log), 0).sum()
        low, high = (low, t) if np.log(powers) + m * np.log(t) > 0 else (t, high)
    return y


def budget(x: Row, gamma: float, k: float) -> Solution:
    """Between two of the τ at which a weight clip(x/γ − τ, 0, 1) reaches 0 or 1, their sum is linear."""
    z = _divided(x, gamma)
    present = z > -np.inf
    if present.sum() <= k:
        return present.astype(np.float64), np.zeros(x.size, np.int32)
    ends = np.sort(np.concatenate([z[present] - 1, z[present]]))
    sums = np.clip(z[present] - ends[:, None], 0, 1).sum(1)
    i = np.flatnonzero(sums >= k)[-1]
    tau = ends[i] + (ends[i + 1] - ends[i]) * (sums[i] - k) / (sums[i] - sums[i + 1])
    y = np.clip(z - tau, 0, 1)
    return y, np.where((y > 0) & (y < 1), np.arange(1, x.size + 1), 0)


def entmax15(x: Row, gamma: float) -> Row:
    """Sort; of the longest prefix whose last member stays above it, τ has Σ (x/2γ − τ)² = 1."""
    z = _divided(x, 2 * gamma)
    y = np.zeros(x.size)
    if (z > -np.inf).any():
        descending = np.sort(z[z >= -1])[::-1]
        count = np.arange(1, descending.size + 1)
        mean = np.cumsum(descending) / count
        variance = np.array([descending[:k].var() for k in count])
        thresholds = mean - np.sqrt(np.maximum(1 / count - variance, 0))
        y = np.maximum(z - thresholds[descending >= thresholds][-1], 0) ** 2
    return y


def _divided(x: Row, gamma: float) -> Row:
    return (x - x.max()) / gamma if (x > -np.inf).any() else x


# ------------------------------------------------------------------ proximal operators
def prox_tv1d(x: Row, lam: float) -> Solution:
    """argmin of ½‖y − x‖² + λ Σ|y_{i+1} − y_i|, by splitting runs at their mean level.

    A run whose mean level cannot be left with profit by any part of it is one segment. Otherwise the
    part above and the part below are runs themselves, less and plus λ where they meet.
    """
    present = np.flatnonzero(x > -np.inf)
    y, labels = x.astype(np.float64), np.zeros(x.size, np.int32)
    if lam == 0 or present.size == 0:  # tied scores are not a segment then
        labels[present] = np.arange(1, present.size + 1)
        return y, labels
    runs, segments = [(y[present], 0)], []
    while runs:
        a, start = runs.pop()
        above = _above_mean(a, lam)
        if not above.any():
            segments.append((start, a))
            continue
        ends = np.flatnonzero(np.diff(above)) + 1
        edge = np.where(above[ends - 1], lam, -lam)
        a[ends - 1] -= edge
        a[ends] += edge
        runs += [(part, start + at) for part, at in zip(np.split(a, ends), [0, *ends], strict=True)]
    for k, (start, a) in enumerate(sorted(segments, key=lambda s: s[0])):
        at = present[start : start + a.size]
        y[at], labels[at] = a.mean(), k + 1
    return y, labels


def _above_mean(a: Row, lam: float) -> Row:
    """The smallest set A of positions with the largest Σ_A (a − mean) − λ·cut(A): a two-state Viterbi."""
    inside, outside = -np.inf, 0.0
    came_in, came_out = np.zeros(a.size, bool), np.zeros(a.size, bool)  # from the other state
    for i, gain in enumerate(a - a.mean()):
        start = 0.0 if i == 0 else outside - lam
        came_in[i], came_out[i] = start >= inside, inside - lam > outside
        inside, outside = max(inside, start) + gain, max(outside, inside - lam)
    above, state = np.zeros(a.size, bool), inside > outside
    if max(inside, outside) <= ROUNDING * a.size * max(lam, np.abs(a).max()):
        return above
    for i in range(a.size - 1, -1, -1):
        above[i] = state
        state = state ^ (came_in[i] if state else came_out[i])
    return above


def prox_oscar(x: Row, lam: float) -> Solution:
    """Sort |x|, subtract λ(n−1, …, 0), make decreasing, clip at 0, undo the sort and restore the signs."""
    present = np.flatnonzero(x > -np.inf)
    order = present[np.argsort(-np.abs(x[present]), kind="stable")]
    y, labels = x.astype(np.float64), np.zeros(x.size, np.int32)
    sign = np.where(x[order] < 0, -1, 1)
    tied, blocks = _tie(np.abs(x[order]), lam)
    y[order] = sign * np.maximum(tied, 0)
    labels[order] = sign * np.where((tied > 0) | (lam == 0), blocks, 0)
    return y, labels


def _tie(descending: Row, lam: float) -> Solution:
    """Decreasing isotonic regression of sorted scores less λ per score below; λ = 0 ties nothing."""
    if lam == 0:
        return descending, np.arange(1, descending.size + 1)
    return isotonic_regression(descending - lam * np.arange(descending.size - 1, -1, -1), True)


def isotonic_regression(x: Row, decreasing: bool) -> Solution:
    """From the left, each block ends where the mean so far is smallest, and last so: the convex minorant."""
    present = np.flatnonzero(x > -np.inf)
    y, labels = x.astype(np.float64), np.zeros(x.size, np.int32)
    v = -y[present] if decreasing else y[present]
    start, block = 0, 0
    while start < v.size:
        means = np.cumsum(v[start:]) / np.arange(1, v.size - start + 1)
        smallest = np.flatnonzero(means <= means.min() + ROUNDING * np.abs(v).max())
        stop, block = start + smallest[-1] + 1, block + 1
        at = present[start:stop]
        y[at], labels[at] = y[at].mean(), block
        start = stop
    return y, labels


# ------------------------------------------------------------------ the derivative of a partition
def jacobian(labels: Row, scale: float, centre: bool) -> np.ndarray:
    """J with scale/size inside each group, less scale/|support| between all if ``centre``."""
    support, sign = labels != 0, np.sign(labels)
    together = (np.abs(labels)[:, None] == np.abs(labels)) & support[:, None]
    average = together * np.outer(sign, sign) / np.maximum(together.sum(1, keepdims=True), 1)
    spread = np.outer(support, support) / max(support.sum(), 1)
    return scale * (average - spread if centre else average)
