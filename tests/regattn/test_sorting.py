"""Sorting in compiled code: descending, whatever the number of keys and however many are equal."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from regattn.kernels.cpu import sorting


@njit
def sort(key, item, start, stop):
    spare, index = np.empty(sorting.SOME), np.empty(sorting.SOME, np.int64)
    sorting.sort_descending(key, item, start, stop, spare, index)


@pytest.mark.parametrize("count", [0, 1, 2, 17, 63, 64, 65, 300])
def test_any_number_of_keys(count):
    rng = np.random.default_rng(count)
    for kinds in (1, 3, 10**6):
        key = rng.integers(0, kinds, count + 7).astype(np.float64) - kinds
        item = np.arange(100, 100 + key.size)
        keys, items = key.copy(), item.copy()
        sort(keys, items, 3, 3 + count)
        outside = np.r_[0:3, 3 + count : key.size]
        assert (keys[outside] == key[outside]).all() and (items[outside] == item[outside]).all()
        assert (np.diff(keys[3 : 3 + count]) <= 0).all()
        assert (key[items - 100] == keys).all() and sorted(items) == sorted(item)
        if count <= sorting.SOME:  # by counting: ties stay in order
            assert (items[3 : 3 + count] == item[3 + np.argsort(-key[3 : 3 + count], kind="stable")]).all()
