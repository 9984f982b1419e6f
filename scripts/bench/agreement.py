"""Is it the same answer? Everyone is held against ours before the clock starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import regattn
from scripts.bench.contestants import Contestant, our_function
from scripts.bench.words import NOT_A_NUMBER

ROWS = 4096  # of a batch, at most
ROWS_OFF = 0.01
# Largest difference of a weight and of a gradient's entry. A gradient jumps where a score sits on the edge
# of the support, and rounding may decide there, so that a share of the rows may differ by more.
TOLERANCES = {torch.float32: (1e-5, 1e-2), torch.float64: (1e-10, 1e-8)}
COARSE = (2e-2, 2e-1)


def tolerance(contestant: Contestant, dtype: torch.dtype, d: int) -> tuple[float, float]:
    """Of weights, and of a gradient's entries.

    What is added to the scores is rounded with them: OSCAR adds up to λd, total variation up to 2λ.
    """
    weights, gradient = TOLERANCES.get(dtype, COARSE)
    added = (contestant.lam or 0.0) * (d if contestant.family == "oscarmax" else 1)
    return weights * max(1.0, added), gradient


class Agreement:
    """The worst differences seen so far, by contestant."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def check(self, contestants: Sequence[Contestant], scores: Tensor, gradient: Tensor, where: str) -> None:
        """Compare weights and gradients of all contestants with our own in float64."""
        answers: dict[tuple[str, float | None], tuple[Tensor, Tensor]] = {}
        for contestant in contestants:
            if not contestant.family:
                continue
            key = (contestant.family, contestant.lam)
            if key not in answers:
                answers[key] = _reference(contestant, scores, gradient)
            calls = contestant.bind(scores, gradient)
            found = (_rows(calls.forward()), _rows(calls.both()))
            self._note(contestant, found, answers[key], scores.dtype, where)

    def _note(
        self,
        contestant: Contestant,
        found: tuple[Tensor, Tensor],
        wanted: tuple[Tensor, Tensor],
        dtype: torch.dtype,
        where: str,
    ) -> None:
        weights, gradients = ((f - w).abs().amax(-1) for f, w in zip(found, wanted, strict=True))
        limit, gradient_limit = tolerance(contestant, dtype, found[0].shape[-1])
        # Written so that NaN is a disagreement.
        off = 1 - float((gradients <= gradient_limit).double().mean())
        largest = _finite(weights.max())
        new = {"weights": -1.0, "tolerance": limit, "gradient_rows_off": 0.0, "rows": 0, "agrees": True}
        row = self.found.setdefault(
            contestant.name, {"against": f"regattn.{contestant.family} in float64", **new}
        )
        if largest / limit > row["weights"] / row["tolerance"]:
            row.update(weights=largest, where=where, tolerance=limit)
        row["gradient_rows_off"] = max(row["gradient_rows_off"], off)
        row["rows"] += len(weights)
        row["agrees"] = row["agrees"] and largest <= limit and off <= ROWS_OFF


def violation(family: str, scores: Tensor, weights: Any, lam: float | None) -> float:
    """Largest certified violation of the optimality conditions over all rows; ours is not asked."""
    function = our_function(family, lam)
    scores, weights = scores.detach().cpu().double(), _rows(weights)
    certified = regattn.certify(scores, weights, function.func, **function.keywords)
    return _finite(certified.max())


def difference(contestant: Contestant, scores: Tensor, weights: Any) -> float:
    """Largest difference of weights from our own in float64."""
    wanted = contestant.reference(scores.detach().cpu().double())
    return _finite((_rows(weights) - wanted).abs().max())


def _reference(contestant: Contestant, scores: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.detach()[:ROWS].cpu().double().requires_grad_()
    weights = contestant.reference(leaf)
    weights.backward(gradient[:ROWS].cpu().double())
    assert leaf.grad is not None
    return weights.detach(), leaf.grad


def _rows(array: Any) -> Tensor:
    tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
    return tensor.detach()[:ROWS].cpu().double()


def _finite(value: Tensor) -> float:
    """JSON knows no infinity; NaN weights are as wrong as can be."""
    return min(NOT_A_NUMBER, float(value.nan_to_num(nan=NOT_A_NUMBER, posinf=NOT_A_NUMBER)))
