"""How a published score is made of what a run's details hold, item by item."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scripts.reports import ROUGE
from tasks.seq2seq.scoring import aer_of_items
from tasks.translation.metrics import bleu_of_items


def _accuracy(items: np.ndarray) -> float:
    return 100 * float(items.mean())


def _mean(items: np.ndarray) -> float:
    return float(items.mean())


_SCORES: dict[tuple[str, str], Callable[[np.ndarray], float]] = {
    ("snli", "accuracy"): _accuracy,
    ("translation", "bleu"): bleu_of_items,
    ("translation", "aer"): aer_of_items,
    ("gigaword", "aer"): aer_of_items,
    **{("gigaword", name): _mean for name in ROUGE},
}


def score_of(task: str, name: str) -> Callable[[np.ndarray], float]:
    """How a published score, 0 to 100 (AER: 0 to 1), is made of the items in a run's details.

    Raises:
        ValueError: a score that details do not hold.
    """
    if (task, name) not in _SCORES:
        known = ", ".join(f"{name} of {task}" for task, name in _SCORES)
        raise ValueError(f"a score wants to be one of {known}, got {name} of {task}")
    return _SCORES[task, name]
