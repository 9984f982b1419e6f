"""Argument errors, in one wording: what must be, what was got."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor

from regattn._autograd import can_call_kernel

Strength = float | Tensor


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
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            fix = "; pass mask.bool() if 1 is where attention is allowed" if _is_integer(mask) else ""
            raise ValueError(f"mask must be a bool tensor (True = may be attended to), got {got}{fix}")
        check_broadcasts("mask", mask, scores, name)


def _is_integer(mask: object) -> bool:
    return isinstance(mask, Tensor) and not (mask.is_floating_point() or mask.is_complex())


def check_broadcasts(name: str, tensor: Tensor, scores: Tensor, of: str = "scores") -> None:
    """Refuse what does not fit the scores, or would enlarge them."""
    if not _broadcasts(tensor, scores):
        raise ValueError(
            f"{name} must be broadcastable to {of} of shape {tuple(scores.shape)}, got {tuple(tensor.shape)}"
        )


def _broadcasts(tensor: Tensor, scores: Tensor) -> bool:
    if tensor.ndim > scores.ndim:
        return False
    last = scores.shape[scores.ndim - tensor.ndim :]
    # not "in": while code is compiled, a number is never found beside a size that is not fixed
    return all(t == 1 or t == s for t, s in zip(tensor.shape, last, strict=True))


@dataclass(frozen=True)
class Range:
    """The finite numbers from ``low`` to ``high``, with the ends that are allowed.

    ``learnable`` says whether a tensor may stand for a number; ``smallest`` and ``largest`` are the first and
    the last floating-point number in it.

    Example:
        >>> str(Range(0)), str(Range(0, low_allowed=True)), str(Range(1, 2, high_allowed=True))
        ('above 0', 'at least 0', 'in (1, 2]')
    """

    low: float
    high: float = math.inf
    low_allowed: bool = False
    high_allowed: bool = False
    learnable: bool = True
    smallest: float = field(init=False)
    largest: float = field(init=False)

    def __post_init__(self) -> None:
        smallest = self.low if self.low_allowed else math.nextafter(self.low, math.inf)
        largest = self.high if self.high_allowed else math.nextafter(self.high, -math.inf)
        object.__setattr__(self, "smallest", smallest)
        object.__setattr__(self, "largest", largest)

    def unbounded(self, value: Tensor) -> Tensor:
        """The real number that stands for one strictly inside the range: that which is learnt."""
        if self.high == math.inf:
            return (value - self.low).log()
        return ((value - self.low) / (self.high - self.low)).logit()

    def bounded(self, raw: Tensor) -> Tensor:
        """What :meth:`unbounded` was made of; in the range whatever ``raw`` has become."""
        info = torch.finfo(raw.dtype)
        lowest = self.low if self.low_allowed else self.low + max(abs(self.low) * info.eps, info.tiny)
        if self.high == math.inf:
            return (self.low + raw.exp()).clamp(lowest, info.max)
        highest = self.high if self.high_allowed else self.high - max(abs(self.high) * info.eps, info.tiny)
        return (self.low + (self.high - self.low) * raw.sigmoid()).clamp(lowest, highest)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'at least' if self.low_allowed else 'above'} {self.low:g}"
        return f"in {'(['[self.low_allowed]}{self.low:g}, {self.high:g}{')]'[self.high_allowed]}"


RANGES = {
    "gamma": Range(0),
    "lam": Range(0, low_allowed=True),
    "p": Range(1, 2, high_allowed=True, learnable=False),
    "alpha": Range(1, low_allowed=True),
    "k": Range(0, learnable=False),
}
"""Of each strength, in all mappings that have it."""


def check_strengths(scores: Tensor | None = None, dim: int = -1, /, **strengths: Strength) -> None:
    """Refuse a strength outside its range: γ > 0, λ ≥ 0, 1 < p ≤ 2, all finite.

    γ and λ may be tensors where there are scores to hold them against. What they contain is checked
    where it can be looked at without waiting for a device; elsewhere a bad one makes its row NaN.
    """
    for name, value in strengths.items():
        allowed = RANGES.get(name)
        if allowed is None:
            raise TypeError(f"a strength must be one of {', '.join(RANGES)}, got {name!r}")
        if type(value) is float and allowed.smallest <= value <= allowed.largest:  # nearly always
            continue
        if isinstance(value, Tensor) and scores is not None and allowed.learnable:
            _check_tensor(name, value, scores, dim)
        elif isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number {allowed}, got {value!r}")
        elif not allowed.smallest <= value <= allowed.largest:
            raise ValueError(f"{name} must be finite and {allowed}, got {value!r}")


def _check_tensor(name: str, value: Tensor, scores: Tensor, dim: int) -> None:
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {value.dtype}")
    along = dim % scores.ndim - scores.ndim
    if not _broadcasts(value, scores) or (value.ndim >= -along and value.shape[along] != 1):
        raise ValueError(
            f"{name} must be broadcastable to scores of shape {tuple(scores.shape)} with size 1 along "
            f"dim {dim}, got {tuple(value.shape)}"
        )
    if value.device != scores.device and value.ndim > 0:
        raise ValueError(f"{name} must be on the device of the scores, {scores.device}, got {value.device}")
    if can_call_kernel(value) and value.device.type == "cpu":
        allowed = RANGES[name]
        above = value >= allowed.low if allowed.low_allowed else value > allowed.low
        below = value <= allowed.high if allowed.high_allowed else value < allowed.high
        if not bool((above & below).all()):
            advice = f"; a Module's learn=({name!r},) keeps it there" if value.requires_grad else ""
            raise ValueError(f"{name} must be finite and {allowed}, got {value.detach()!r}{advice}")
