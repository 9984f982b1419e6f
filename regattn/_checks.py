"""Argument errors, in one wording: what was wanted, what was got."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor


def check_scores(scores: Tensor, dim: int, mask: Tensor | None = None, *, name: str = "scores") -> None:
    """Refuse what no mapping can answer."""
    if not isinstance(scores, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(scores).__name__}")
    if not scores.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {scores.dtype}")
    if scores.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension, got a scalar")
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim must be an int, got {dim!r}")
    if not -scores.ndim <= dim < scores.ndim:
        raise ValueError(f"dim must be in [{-scores.ndim}, {scores.ndim - 1}], got {dim}")
    if scores.shape[dim] == 0:
        raise ValueError(
            f"{name} must have at least one position along dim {dim}, got shape {tuple(scores.shape)}"
        )
    if mask is not None:
        _check_mask(mask, scores, name)


def _check_mask(mask: Tensor, scores: Tensor, name: str) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask must be a bool tensor (True = may be attended to), got {got}")
    fits = mask.ndim <= scores.ndim and all(
        m in (1, s) for m, s in zip(reversed(mask.shape), reversed(scores.shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"mask must be broadcastable to {name} of shape {tuple(scores.shape)}, got {tuple(mask.shape)}"
        )


def check_on_cpu(scores: Tensor) -> None:
    """Refuse a device without kernels, rather than copy to and fro in silence."""
    if scores.device.type not in ("cpu", "meta"):
        raise ValueError(f"regattn's solvers run on CPU tensors, got one on {scores.device}; use .cpu()")


def check_strengths(*, gamma: float = 1.0, lam: float = 0.0, p: float = 2.0) -> None:
    """γ > 0, λ ≥ 0, 1 < p ≤ 2, all finite."""
    _check_number("gamma", gamma, "above 0", gamma > 0 if _finite(gamma) else False)
    _check_number("lam", lam, "at least 0", lam >= 0 if _finite(lam) else False)
    _check_number("p", p, "in (1, 2]", 1 < p <= 2 if _finite(p) else False)


def _finite(value: object) -> bool:
    return isinstance(value, Real) and abs(float(value)) < math.inf  # math.isfinite cannot be traced


def _check_number(name: str, value: object, wanted: str, holds: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number {wanted}, got {value!r}")
    if not holds:
        raise ValueError(f"{name} must be finite and {wanted}, got {value!r}")
