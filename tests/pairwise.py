"""Fewer cases than a full grid, in which every two values of different axes meet all the same."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any


def pairwise(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """One value of each axis a case, chosen greedily: the same cases every time.

    Example:
        >>> len(pairwise("ab", "cd", "ef")), len(pairwise("abc", "def", "gh", "ij", "kl"))
        (4, 10)
    """
    values = [list(axis) for axis in axes]
    places = [(i, k) for i, axis in enumerate(values) for k in range(len(axis))]
    missing = {frozenset(pair) for pair in combinations(places, 2) if pair[0][0] != pair[1][0]}
    cases = []
    while missing:
        case = dict(min(map(sorted, missing)))
        for i in sorted(set(range(len(values))) - case.keys(), key=lambda i: -len(values[i])):
            met = [
                sum(frozenset({(i, k), at}) in missing for at in case.items()) for k in range(len(values[i]))
            ]
            case[i] = met.index(max(met))
        missing -= {frozenset(pair) for pair in combinations(case.items(), 2)}
        cases.append(tuple(values[i][case[i]] for i in range(len(values))))
    return cases
