"""Whether two systems differ by more than the choice of test items explains."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Rows = np.ndarray[Any, np.dtype[np.float64]]


class Comparison(NamedTuple):
    """A system against a baseline on the same items.

    Attributes:
        difference: score of the system minus that of the baseline.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        p_value: two-sided, of the hypothesis that the difference is 0.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    baseline: Sequence[Any] | Rows,
    system: Sequence[Any] | Rows,
    *,
    score: Callable[[Rows], float] = np.mean,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    r"""Compare two systems on resampled test sets, the same ones for both.

    Test set :math:`b` holds as many items as the real one, drawn with replacement; :math:`\delta_b` is the
    difference of the scores on it and :math:`\delta` that on the real one. The interval ends at the 2.5 and
    97.5 percent quantiles of :math:`\delta_b`, and

    .. math::
        p = \frac{1 + |\{b : |\delta_b - \delta| \ge |\delta|\}|}{1 + \text{samples}}

    Args:
        baseline: for each item a score, or a row of counts from which ``score`` makes one; (items, ...).
        system: the same of the other system, items in the same order.
        score: score of a test set from the rows of its items.
        samples: number of test sets drawn, at least 1.
        seed: from 0 to 2**32 - 1; the same arguments give the same result.

    Returns:
        The difference, its interval and the p-value.

    Raises:
        ValueError: there are no items or their numbers differ, ``samples < 1``, or ``seed`` is out of range.

    Example:
        >>> result = paired_bootstrap([0.1, 0.5, 0.3, 0.2], [0.3, 0.4, 0.6, 0.4])
        >>> [round(number, 3) for number in result]
        [0.15, -0.025, 0.275, 0.053]

    Source: Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation"; p-value of
        Efron & Tibshirani (1993), "An Introduction to the Bootstrap", section 16.4.
    """
    first, second = np.asarray(baseline, dtype=np.float64), np.asarray(system, dtype=np.float64)
    _check(len(first), len(second), samples, seed)
    difference = score(second) - score(first)
    # NumPy promises never to change this older generator's stream, which it does not for the new one.
    random = np.random.RandomState(seed)
    drawn = np.empty(samples)
    for sample in range(samples):
        items = random.randint(len(first), size=len(first))
        drawn[sample] = score(second[items]) - score(first[items])
    low, high = np.quantile(drawn, [0.025, 0.975])
    extreme = int((np.abs(drawn - difference) >= abs(difference)).sum())
    return Comparison(float(difference), float(low), float(high), (1 + extreme) / (1 + samples))


def _check(baseline: int, system: int, samples: int, seed: int) -> None:
    if not baseline == system > 0:
        raise ValueError(f"a comparison wants the same items of both systems, got {baseline} and {system}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0 ... 2**32 - 1, got {seed}")
