"""The mappings as tests take them, read off the registry: whatever is added has to have all properties."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import regattn
from regattn import MAPPINGS
from regattn._registry import named, resolve

_CHOSEN = {"gamma": 0.7, "p": 1.5, "alpha": 1.3, "k": 1.7}
_LAM = {"fusedmax": 0.1}

FUNCTIONS = {name: spec.function for name, spec in MAPPINGS.items()}
STRENGTHS = {
    name: {key: _CHOSEN.get(key, _LAM.get(name, 0.05)) for key in spec.defaults}
    for name, spec in MAPPINGS.items()
}
"""By name strengths at which most rows have zeros, groups and members alone."""

APPLIED = {name: partial(function, **STRENGTHS[name]) for name, function in FUNCTIONS.items()}
MODULES = {name: spec.module(**STRENGTHS[name]) for name, spec in MAPPINGS.items()}
OF_OMEGA = [name for name, spec in MAPPINGS.items() if spec.omega]
"""Those that are the argmax of a regularized maximum."""

CASES = [(name, STRENGTHS[name]) for name in OF_OMEGA]

ON_SIMPLEX = [name for name in OF_OMEGA if MAPPINGS[name].total is None]
"""Those of them whose rows sum to 1."""

SOLVED = [name for name, spec in MAPPINGS.items() if spec.solver and spec.certificate]
"""Those with an operator of their own."""

READ_OFF = [name for name in SOLVED if len(MAPPINGS[name].solver.operator._schema.returns) == 1]
"""Those of them whose derivative is read off the weights: all others are piecewise linear."""

BLOCKS = {
    "prox_tv1d": partial(regattn.prox_tv1d, lam=0.3),
    "prox_oscar": partial(regattn.prox_oscar, lam=0.1),
    "isotonic_regression": partial(regattn.isotonic_regression, decreasing=True),
}


class Tempered(nn.Module):
    """A mapping with a parameter, of nobody's library."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        return regattn.softmax(scores / self.temperature, mask=mask)


# ------------------------------------------------------------------ what is drawn, solved and compared
def random_scores(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers, the same in every type but for rounding."""
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def solve(name: str, x: np.ndarray, **strengths: float) -> np.ndarray:
    """Weights of rows that are arrays."""
    return getattr(regattn, name)(torch.from_numpy(x), **strengths).numpy()


def totals(mapping: Any, allowed: Tensor, **strengths: float) -> Tensor:
    """What rows of weights sum to, given where they may be above 0."""
    function, strengths = resolve(mapping, strengths)
    spec = named(function.__name__)
    others = {k: v for k, v in {**spec.defaults, **strengths}.items() if k != "gamma"}
    return spec.total(allowed, **others) if spec.total else allowed.any(-1).double()


def weights_and_gradient(
    function: Callable[..., Tensor], x: Tensor, direction: Tensor, **options: object
) -> tuple[Tensor, Tensor]:
    """Values, and their derivative along a direction from above."""
    x = x.detach().requires_grad_()
    y = function(x, **options)
    return y.detach(), torch.autograd.grad(y, x, direction)[0]


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal type, shape and values, NaN included."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def agree(function: Callable[..., Tensor], a: Tensor, b: Tensor) -> bool:
    """Same bits; for softmax up to rounding, since torch sums differently with layout and threads."""
    if function is not regattn.softmax:
        return same_bits(a, b)
    return a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=8 * torch.finfo(a.dtype).eps)


def renumbered(labels: np.ndarray | Tensor) -> list[int]:
    """Groups of one row in order of appearance, 0 and signs kept: equal for equal partitions."""
    number = {0: 0}
    return [int(np.sign(k)) * number.setdefault(abs(k), len(number)) for k in labels.tolist()]
