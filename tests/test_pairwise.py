"""Every two values meet, in few cases."""

from itertools import combinations, product

import pytest

from tests.pairwise import pairwise


@pytest.mark.parametrize("sizes", [(2, 2, 2), (5, 4, 3), (9, 3, 2, 2, 2, 2, 2, 2), (1, 3, 2)])
def test_every_two_values_of_different_axes_meet(sizes: tuple[int, ...]) -> None:
    axes = [range(size) for size in sizes]
    cases = pairwise(*axes)
    for i, j in combinations(range(len(axes)), 2):
        assert {(case[i], case[j]) for case in cases} == set(product(axes[i], axes[j]))
    largest, second = sorted(sizes)[-1], sorted(sizes)[-2]
    assert largest * second <= len(cases) <= 1.5 * largest * second
    assert cases == pairwise(*axes)
