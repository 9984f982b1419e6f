"""Whether two systems differ by more than the choice of test items, and of seeds, explains."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tasks.ranges import PositiveInt, Seed, check_number

Rows = np.ndarray[Any, np.dtype[np.float64]]
SAMPLES = 1000


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


def resampled_scores(
    items: Sequence[Any] | Rows,
    *,
    score: Callable[[Rows], float] = np.mean,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Rows:
    """Score a test set, and test sets of as many items drawn from it with replacement.

    Those of two runs on the same test set are drawn alike, which makes a comparison a paired one.

    Args:
        items: for each item a score, or a row of counts from which ``score`` makes one; (items, ...).
        score: score of a test set from the rows of its items.
        samples: number of test sets drawn, at least 1.
        seed: from 0 to 2**32 - 1.

    Returns:
        The score on the real test set and those on the drawn ones; (1 + samples,).

    Raises:
        ValueError: there are no items, ``samples < 1``, or ``seed`` is out of range.

    Example:
        >>> resampled_scores([1.0, 2.0, 6.0], score=np.sum, samples=3).tolist()
        [9.0, 4.0, 10.0, 8.0]
    """
    rows = np.asarray(items, dtype=np.float64)
    _check(len(rows), samples, seed)
    drawn = _draws(len(rows), samples, seed)
    return np.array([score(rows), *(score(rows[chosen]) for chosen in drawn)])


def differences_over_seeds(
    baseline: Mapping[int, Rows], system: Mapping[int, Rows], *, seed: int = 0
) -> Rows:
    r"""Differences of the means over seeds, on resampled test sets and as if trained with other seeds.

    To the difference on a drawn test set comes what other seeds would have changed,
    :math:`t_b \, s / \sqrt{n}`: :math:`s` is the standard deviation of the differences between runs of the
    same seed, :math:`n` their number and :math:`t_b` drawn from Student's distribution with :math:`n - 1`
    degrees of freedom. Where the systems have different seeds, each brings such a part of its own; a system
    with one seed brings none, and nothing then says what its seed did.

    Seeds are not drawn with replacement, as items are: there are so few of them that a percentile interval
    would be far too short (of three, it holds what it should 72 times in 100).

    Args:
        baseline: seed → what :func:`resampled_scores` returns, everywhere of the same test set.
        system: the same of the other system.
        seed: from 0 to 2**32 - 1.

    Returns:
        The difference found, then one for every drawn test set; (1 + samples,).

    Raises:
        ValueError: a system has no run.

    Example:
        >>> runs = {1: np.array([3.0, 2.9]), 2: np.array([4.0, 4.1])}
        >>> differences_over_seeds(runs, {seed: scores + 1 for seed, scores in runs.items()}).tolist()
        [1.0, 1.0]
    """
    if not (baseline and system):
        raise ValueError(
            f"a comparison must have runs of both systems, got {len(baseline)} and {len(system)}"
        )
    first, second = (np.stack([runs[key] for key in sorted(runs)]) for runs in (baseline, system))
    random = np.random.RandomState([seed, 1])  # another stream than that of the items
    means = second.mean(0) - first.mean(0)
    if set(baseline) == set(system):
        return means + _other_seeds(second - first, random)
    return means + _other_seeds(second, random) - _other_seeds(first, random)


def compare(differences: Rows) -> Comparison:
    r"""The comparison that differences make: of those found and of those on resampled test sets.

    With :math:`\delta_b` the difference of the scores on test set :math:`b` and :math:`\delta` that on the
    real one, the interval ends at the 2.5 and 97.5 percent quantiles of :math:`\delta_b`, and

    .. math::
        p = \frac{1 + |\{b : |\delta_b - \delta| \ge |\delta|\}|}{1 + \text{samples}}

    Args:
        differences: that found, then the drawn ones; of scores of :func:`resampled_scores`, or as
            :func:`differences_over_seeds` returns them.

    Example:
        >>> scores = [resampled_scores(items) for items in ([0.1, 0.5, 0.3, 0.2], [0.3, 0.4, 0.6, 0.4])]
        >>> [round(number, 3) for number in compare(scores[1] - scores[0])]
        [0.15, -0.025, 0.275, 0.053]

    Source: Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation"; p-value of
        Efron & Tibshirani (1993), "An Introduction to the Bootstrap", section 16.4.
    """
    difference, drawn = differences[0], differences[1:]
    low, high = np.quantile(drawn, [0.025, 0.975])
    extreme = int((np.abs(drawn - difference) >= abs(difference)).sum())
    return Comparison(float(difference), float(low), float(high), (1 + extreme) / (1 + len(drawn)))


def margin_p_value(differences: Rows, margin: float) -> float:
    """The p-value of the hypothesis that a difference lies on the other side of a margin than the one found.

    Found within ``margin`` of 0, it is the share of differences that are not, and the other way round.

    Example:
        >>> margin_p_value(np.array([0.2, 0.1, 0.9, 1.1]), 1.0)
        0.5
    """
    within = np.abs(differences) < margin
    return (1 + int((within[1:] != within[0]).sum())) / len(differences)


@lru_cache(maxsize=2)  # those of one test set: every run on it needs them
def _draws(items: int, samples: int, seed: int) -> np.ndarray[Any, Any]:
    # NumPy promises never to change this older generator's stream, which it does not for the new one.
    random = np.random.RandomState(seed)
    return np.stack([random.randint(items, size=items) for _ in range(samples)]).astype(np.int32)


def _other_seeds(scores: Rows, random: np.random.RandomState) -> Rows | float:
    """What other seeds would change of a mean: 0 for what was found, then one draw each; of (seeds, …)."""
    count, columns = scores.shape
    if count == 1:
        return 0.0
    error = scores[:, 0].std(ddof=1) / np.sqrt(count)
    return np.concatenate([[0.0], error * random.standard_t(count - 1, size=columns - 1)])


def _check(items: int, samples: int, seed: int) -> None:
    if items < 1:
        raise ValueError(f"a test set must have at least 1 item, got {items}")
    check_number("samples", samples, PositiveInt)
    check_number("seed", seed, Seed)
