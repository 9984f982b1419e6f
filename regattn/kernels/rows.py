"""Compiled row solvers for the CPU: exact, float64 inside, in time that grows with the support.

Every solver ``solver(start, stop, ledger, scores, mask, masked, …, values, structure)`` works on the
rows from ``start`` to ``stop`` of C-contiguous arrays of shape (rows, d), and then on those that it takes
from the ledger which it shares with other threads, if there is one:

- ``scores``: float32 or float64;
- ``mask``: bool of the same shape, read only if ``masked``; a position without it, or at −inf,
  takes no part;
- strengths such as ``gamma``: float64 of shape (1,), or (rows,) where each row has its own;
- ``values``: the solution, of the scores' type;
- ``structure``: which positions have a derivative and which share one, of shape (rows, 2 + d): the
  number of such members, the number of groups, then one entry for each member, group after group,
  ``4·position + 2·(its sign is negative) + (it is the first of its group)``. Nothing behind these
  is read or written: what a sparse row costs depends on its support.

A row with NaN or +inf, or with strengths outside their range, comes out NaN; its number of members
is ``POISONED``.

Most scores can be seen to get weight 0 from a lower bound on the threshold τ. So a row is read once
for its maximum and once for its survivors, both in vector instructions, and only these are solved.

All of it stands in one file because numba's cache on disk watches only the file of the function
that is called: a helper edited elsewhere would leave stale machine code behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

POISONED = -1
_BAD, _EMPTY, _GAPS, _FULL = -1, 0, 1, 2
_SMALLEST = 5e-324
_options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# What only compiled code calls needs no door to Python, which would take as long to compile as the rest.
_inner = _options | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_compiled = njit(cache=True, **_options)
_called = njit(**_inner)
# Inlined: a call for each run of a row would cost more than most runs.
_inlined = njit(forceinline=True, **_inner)
_reordered_sum = njit(forceinline=True, fastmath={"reassoc"}, **_inner)
# A count that is passed on begins at np.int64(0): for a plain 0, whose type is its value, numba would
# compile everything that it is passed to once more.


# ------------------------------------------------------------------ vector instructions
# LLVM has them on every processor; numba has no words for them.
_LANES = 64
_BYTE, _WORD, _INDEX = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _splat(builder, value):
    vector = ir.VectorType(value.type, _LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _WORD(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_WORD, _LANES), [0] * _LANES))


def _load(context, builder, array_type, array, offset, count):
    """``count`` ≤ 64 entries as a vector of 64, zeros behind them, and which lanes they fill."""
    names = {ir.FloatType(): "f32", ir.DoubleType(): "f64", _BYTE: "i8"}
    item = context.get_data_type(array_type.dtype)
    vector, flags = ir.VectorType(item, _LANES), ir.VectorType(ir.IntType(1), _LANES)
    lanes = ir.Constant(ir.VectorType(_BYTE, _LANES), list(range(_LANES)))
    filled = builder.icmp_unsigned("<", lanes, _splat(builder, builder.trunc(count, _BYTE)))
    pointer = builder.gep(context.make_array(array_type)(context, builder, value=array).data, [offset])
    signature = ir.FunctionType(vector, [pointer.type, _WORD, flags, vector])
    name = f"llvm.masked.load.v{_LANES}{names[item]}.p0"
    load = cgutils.get_or_insert_function(builder.module, signature, name)
    zeros = ir.Constant(vector, [0] * _LANES)
    aligned = _WORD(context.get_abi_sizeof(item))
    return builder.call(load, [pointer, aligned, filled, zeros]), filled


@intrinsic
def _where_at_least(_, array, offset, count, floor):
    """64 flags: which of the ``count`` ≤ 64 numbers from ``offset`` on are at least ``floor``."""

    def build(context, builder, signature, arguments):
        array_value, offset_value, count_value, floor_value = arguments
        vector, filled = _load(context, builder, array, array_value, offset_value, count_value)
        reached = builder.fcmp_ordered(">=", vector, _splat(builder, floor_value))
        return builder.bitcast(builder.and_(reached, filled), _INDEX)

    return types.uint64(array, types.intp, types.intp, array.dtype), build


@intrinsic
def _where_true(_, array, offset, count):
    """64 flags: which of the ``count`` ≤ 64 booleans from ``offset`` on hold."""

    def build(context, builder, signature, arguments):
        vector, filled = _load(context, builder, array, *arguments)
        nonzero = builder.icmp_unsigned("!=", vector, _splat(builder, _BYTE(0)))
        return builder.bitcast(builder.and_(nonzero, filled), _INDEX)

    return types.uint64(array, types.intp, types.intp), build


@intrinsic
def _first_flag(_, flags):
    """Number of the lowest flag that is set; some must be."""

    def build(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.intp(types.uint64), build


@intrinsic
def _count_flags(_, flags):
    def build(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), build


@intrinsic
def _key(_, bits):
    """Integer that is ordered as the float with these bits; its own inverse on integers."""

    def build(context, builder, signature, arguments):
        sign = builder.ashr(arguments[0], ir.Constant(arguments[0].type, bits.bitwidth - 1))
        return builder.xor(arguments[0], builder.lshr(sign, ir.Constant(sign.type, 1)))

    return bits(bits), build


_TWINS = {types.int32: types.float32, types.int64: types.float64}
_TWINS |= {there: here for here, there in _TWINS.items()}


@intrinsic
def _same_bits(_, number):
    """The float with the bits of an integer, or the integer with the bits of a float."""
    twin = _TWINS[number]

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(twin))

    return twin(number), build


@intrinsic
def _add(_, numbers, i, number):
    """Add to ``numbers[i]`` so that no other thread sees it half done; return what it was before."""

    def build(context, builder, signature, arguments):
        array, offset, value = arguments
        pointer = builder.gep(context.make_array(numbers)(context, builder, value=array).data, [offset])
        return builder.atomic_rmw("add", pointer, value, "seq_cst")

    return types.int64(numbers, types.intp, types.int64), build


@intrinsic
def _fetch(_, array, offset):
    """Have the entry at ``offset`` brought near, without waiting for it."""

    def build(context, builder, signature, arguments):
        array_value, offset_value = arguments
        data = context.make_array(array)(context, builder, value=array_value).data
        pointer = builder.bitcast(builder.gep(data, [offset_value]), _BYTE.as_pointer())
        signature = ir.FunctionType(ir.VoidType(), [pointer.type, _WORD, _WORD, _WORD])
        fetch = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        builder.call(fetch, [pointer, _WORD(0), _WORD(3), _WORD(1)])  # to be read, kept, data
        return context.get_dummy_value()

    return types.none(array, types.intp), build


# ------------------------------------------------------------------ sharing rows among threads
_NEXT, _DONE, _COUNT, _THREADS = range(4)
_LEAST = 16  # blocks of the smallest size would be this many for each thread
NO_LEDGER = np.empty(0, np.int64)


def new_ledger(count, threads):
    """Which of ``count`` rows is next, and how many are done."""
    return np.array([0, 0, count, threads], np.int64)


@_inlined
def _take(ledger, start, stop):
    """Report a block as done, and take the next: its first row, and the row behind its last.

    Blocks become smaller, so that all threads end together, whoever began late or got the rows that
    take long.
    """
    if ledger.size == 0:
        return stop, stop
    _add(ledger, _DONE, stop - start)
    count, threads = ledger[_COUNT], ledger[_THREADS]
    size = max((count - ledger[_NEXT]) // (2 * threads), count // (_LEAST * threads), 1)
    start = min(_add(ledger, _NEXT, size), count)
    return start, min(start + size, count)


def all_taken(ledger):
    return ledger[_NEXT] >= ledger[_COUNT]


@_compiled
def all_done(ledger, looks):
    """Whether all rows are done, after looking at most so many times."""
    while looks > 0 and _add(ledger, _DONE, 0) < ledger[_COUNT]:
        looks -= 1
    return looks > 0


# ------------------------------------------------------------------ reading a row
@_inlined
def _survey(scores, mask, masked, r, sound):
    """State of a row, bad if its strengths are not ``sound``, and its largest score.

    By way of integers, because a maximum of floats is not vectorised.
    """
    row, flags = scores[r], mask[r if masked else 0]
    infinite = _key(_same_bits(scores.dtype.type(np.inf)))
    absent = _key(_same_bits(scores.dtype.type(-np.inf)))
    high = low = absent
    if masked:
        for i in range(row.size):
            key = _key(_same_bits(row[i])) if flags[i] else absent
            high, low = max(high, key), min(low, key)
        gaps = True
    else:
        lowest = infinite
        for i in range(row.size):
            key = _key(_same_bits(row[i]))
            high, low = max(high, key), min(low, key)
            lowest = min(lowest, key)
        gaps = lowest == absent
    if not sound or high >= infinite or low < absent:  # NaN lies beyond the infinities, on either side
        return _BAD, 0.0
    if high == absent:
        return _EMPTY, 0.0
    return _GAPS if gaps else _FULL, np.float64(_same_bits(_key(high)))


@_inlined
def _floor(scores, top, depth):
    """A number of the scores' type, finite, and for certain not above ``top − depth``."""
    info = np.finfo(scores.dtype)
    floor = top - depth
    return scores.dtype.type(max(floor - 2.0 * info.eps * abs(floor), np.float64(info.min)))


@_inlined
def _survivors(scores, mask, masked, gaps, r, floor, place, rank):
    """Positions whose score is at least ``floor``, and their ranks among those that take part.

    Returns the number of survivors and of positions that take part.
    """
    d = scores.shape[1]
    lowest = scores.dtype.type(np.finfo(scores.dtype).min)
    m = n = 0
    for begin in range(0, d, 64):
        offset, count = r * d + begin, min(64, d - begin)
        survive = _where_at_least(scores, offset, count, floor)
        if gaps:
            present = _where_at_least(scores, offset, count, lowest)
            if masked:
                present &= _where_true(mask, offset, count)
            survive &= present
            while survive != np.uint64(0):
                i = _first_flag(survive)
                place[m] = begin + i
                rank[m] = n + _count_flags(present & ((np.uint64(1) << np.uint64(i)) - np.uint64(1)))
                m += 1
                survive &= survive - np.uint64(1)
            n += _count_flags(present)
        elif survive == ~np.uint64(0):
            places, ranks = place[m : m + 64], rank[m : m + 64]  # a range from 0 is vectorised
            for i in range(64):
                ranks[i] = places[i] = begin + i
            m += 64
        else:
            while survive != np.uint64(0):
                rank[m] = place[m] = begin + _first_flag(survive)
                m += 1
                survive &= survive - np.uint64(1)
    return m, n if gaps else d


@_inlined
def _count_present(scores, mask, masked, r, lowest):
    d, n = scores.shape[1], 0
    for begin in range(0, d, 64):
        offset, count = r * d + begin, min(64, d - begin)
        present = _where_at_least(scores, offset, count, lowest)
        if masked:
            present &= _where_true(mask, offset, count)
        n += _count_flags(present)
    return n


@_inlined
def _fill(row, value):
    for i in range(row.size):
        row[i] = value


@_inlined
def _count(structure, r, members, groups):
    structure[r, 0], structure[r, 1] = members, groups


@_inlined
def _blank(state, values, structure, r):
    """Write what is known of a row before it is solved."""
    _fill(values[r], np.nan if state == _BAD else 0.0)
    _count(structure, r, POISONED if state == _BAD else 0, 0)


@_inlined
def _strength(strengths, r):
    return strengths[r if strengths.size > 1 else 0]


@_inlined
def _reciprocal(gamma):
    return min(1.0 / gamma, np.finfo(np.float64).max)  # finite, since 0 is multiplied by it


@_inlined
def _sound(strength, lowest):
    return lowest <= strength < np.inf


# ------------------------------------------------------------------ pieces of a solution
@_called
def _sift_down(key, item, root, n):
    """Restore the heap (largest on top) below ``root``."""
    k, i = key[root], item[root]
    child = 2 * root + 1
    while child < n:
        if child + 1 < n and key[child + 1] > key[child]:
            child += 1
        if key[child] <= k:
            break
        key[root], item[root] = key[child], item[child]
        root = child
        child = 2 * root + 1
    key[root], item[root] = k, i


@_called
def _heap_sort(key, item, n):
    """Ascending."""
    for root in range(n // 2 - 1, -1, -1):
        _sift_down(key, item, root, n)
    for last in range(n - 1, 0, -1):
        key[0], key[last] = key[last], key[0]
        item[0], item[last] = item[last], item[0]
        _sift_down(key, item, 0, last)


@_reordered_sum
def _sum(numbers, start, stop):
    part, total = numbers[start:stop], 0.0  # a range from 0 is vectorised
    for i in range(part.size):
        total += part[i]
    return total


@_reordered_sum
def _above(level, size, n, tau):
    """Σ size·level and Σ size of the levels above τ; without sizes these are 1."""
    total = count = 0.0
    if size is None:  # half of the memory to read
        for i in range(n):
            above = level[i] > tau
            total += level[i] if above else 0.0
            count += 1.0 if above else 0.0
    else:
        for i in range(n):
            weight = size[i] if level[i] > tau else 0.0
            total += weight * level[i]
            count += weight
    return total, count


_ROUNDS = 24


@_inlined
def _threshold(level, size, n, tau, key, item):
    """τ with Σ size·max(level − τ, 0) = 1, from a lower bound on it.

    The threshold of a superset of the support drops some of it, until none is dropped.
    That takes a handful of rounds, except on rows made for it; these are sorted.
    """
    count = np.inf
    for _ in range(_ROUNDS):
        total, kept = _above(level, size, n, tau)
        if kept == count or kept == 0.0:
            return tau
        count, tau = kept, (total - 1.0) / kept
    return _threshold_by_sorting(level, size, n, key, item)


@_called
def _threshold_by_sorting(level, size, n, key, item):
    for i in range(n):
        key[i], item[i] = level[i], i
    _heap_sort(key, item, n)
    total, count = -1.0, 0.0
    while n > 0 and key[n - 1] * count > total:
        weight = 1.0 if size is None else size[item[n - 1]]
        total += weight * key[n - 1]
        count += weight
        n -= 1
    return total / count


@_inlined
def _pool(total, size, n):
    """Merge neighbours until the means total/size decrease: pool adjacent violators; ties are pooled."""
    m = 0
    for i in range(n):
        total[m], size[m] = total[i], size[i]  # sums until the end: divisions are slow
        while m > 0 and total[m] * size[m - 1] >= total[m - 1] * size[m]:
            total[m - 1] += total[m]
            size[m - 1] += size[m]
            m -= 1
        m += 1
    return m


@_inlined
def _off_the_ends(z, start, stop, left, right, lam):
    """Take ``left`` and ``right`` off the ends of a run; its mean then, and whether all is one segment.

    That is so where the cumulative sum stays within λ of a straight line.
    """
    z[start] -= left
    z[stop - 1] -= right
    mean = _sum(z, start, stop) / (stop - start)
    room = lam * (1.0 + 1e-15 * (stop - start))  # what touches the walls does, whatever rounding says
    away, k = z[start] - mean, start + 1
    while k < stop and abs(away) <= room:
        away += z[k] - mean
        k += 1
    return mean, k == stop


_RIDE = 16  # single scores in a row after which a monotone stretch is looked for


@_inlined
def _taut_string(z, start, stop, left, right, lam, level, size, m, chain, length):
    """Append the segments of P_TV(z[start:stop]), ``left`` and ``right`` first taken off its ends.

    The cumulative sum of the solution is the shortest path from (0, 0) to (n, S_n) inside a tube of
    half-width λ around the cumulative sum S of the data (closed at both ends); its bends are the
    ends of the segments. From the last bend on, which is ``offset`` off S, the convex minorant of the
    tube's upper wall (row 0) and the concave majorant of its lower wall (row 1) are kept as pieces
    with a rise and a length, the last piece of each in variables. When one wall is a single piece
    and falls behind the first piece of the other, that piece becomes path. Each point enters and
    leaves a wall once: O(n).
    """
    n = stop - start
    mean, whole = _off_the_ends(z, start, stop, left, right, lam)
    if whole:
        level[m], size[m] = mean, n
        return m + 1
    bend, offset, single, looked, k = np.int64(0), 0.0, 0, 0, 0
    head_0 = tail_0 = head_1 = tail_1 = 0
    rise_0 = length_0 = rise_1 = length_1 = 0.0
    while k < n:
        rise = z[start + k] - mean
        end = lam if k == n - 1 else 0.0
        k += 1
        if k == bend + 1:
            head_0 = tail_0 = head_1 = tail_1 = 0
            rise_0, rise_1 = rise + lam - offset - end, rise - lam - offset + end
            length_0 = length_1 = 1.0
            continue
        upwards = (rise - end) * length_0 > rise_0
        if upwards:
            chain[0, tail_0], length[0, tail_0] = rise_0, length_0
            tail_0 += 1
            rise_0, length_0 = rise - end, 1.0
        downwards = (rise + end) * length_1 < rise_1
        if downwards:
            chain[1, tail_1], length[1, tail_1] = rise_1, length_1
            tail_1 += 1
            rise_1, length_1 = rise + end, 1.0
        if not upwards:
            rise_0 += rise - end
            length_0 += 1.0
            while tail_0 > head_0 and rise_0 * length[0, tail_0 - 1] <= chain[0, tail_0 - 1] * length_0:
                tail_0 -= 1
                rise_0 += chain[0, tail_0]
                length_0 += length[0, tail_0]
            if tail_0 == head_0:
                while head_1 < tail_1 and rise_0 * length[1, head_1] < chain[1, head_1] * length_0:
                    v = bend + int(length[1, head_1])
                    rise_0 -= chain[1, head_1]
                    length_0 -= length[1, head_1]
                    head_1 += 1
                    single = single + 1 if v == bend + 1 and offset < 0.0 else 0
                    m = _segment(z, start, bend, v, offset, -lam, level, size, m)
                    bend, offset = v, -lam
        if not downwards:
            rise_1 += rise + end
            length_1 += 1.0
            while tail_1 > head_1 and rise_1 * length[1, tail_1 - 1] >= chain[1, tail_1 - 1] * length_1:
                tail_1 -= 1
                rise_1 += chain[1, tail_1]
                length_1 += length[1, tail_1]
            if tail_1 == head_1:
                while head_0 < tail_0 and rise_1 * length[0, head_0] > chain[0, head_0] * length_1:
                    v = bend + int(length[0, head_0])
                    rise_1 -= chain[0, head_0]
                    length_1 -= length[0, head_0]
                    head_0 += 1
                    single = single + 1 if v == bend + 1 and offset > 0.0 else 0
                    m = _segment(z, start, bend, v, offset, lam, level, size, m)
                    bend, offset = v, lam
        if single >= _RIDE and bend >= looked:
            looked, stretch = _ride(z, start, bend, n, offset, lam)
            single = 0
            if k <= looked and stretch > 0:
                levels, sizes, data = level[m : m + stretch], size[m : m + stretch], z[start + bend : stop]
                for i in range(stretch):
                    levels[i] = data[i]
                    sizes[i] = 1.0
                m += stretch
                bend += stretch
                k = bend
    return _segment(z, start, bend, n, offset, 0.0, level, size, m)


@_inlined
def _ride(z, start, bend, n, offset, lam):
    """End of the monotone stretch behind a bend, and how many of its scores are segments of their own.

    Where the data rise after a bend at the upper wall (or fall after one at the lower), that wall is
    convex and the path follows it, until what is left of the stretch lets the other wall pass.
    """
    sign = 1.0 if offset > 0.0 else -1.0
    data = z[start : start + n]
    stop = bend + 1
    while stop < n and sign * data[stop] > sign * data[stop - 1]:
        stop += 1
    room, away, last = lam if stop == n else 2.0 * lam, 0.0, stop - 1
    while last > bend and away <= room:
        last -= 1
        away += (stop - 1 - last) * (sign * (data[last + 1] - data[last]))
    return stop, last + 1 - bend if away > room else 0


@_inlined
def _segment(z, start, i, j, offset_i, offset_j, level, size, m):
    """Append the segment (i, j] of a path that is ``offset`` off the data's cumulative sum at its ends.

    The level is a mean of the data, not a difference of long sums; the path rises more steeply
    after touching the upper wall (offset > 0) and less after the lower, whatever rounding says.
    """
    total = offset_j - offset_i
    for k in range(i, j):
        total += z[start + k]
    level[m] = total / (j - i)
    if offset_i > 0.0:
        level[m] = max(level[m], level[m - 1])
    elif offset_i < 0.0:
        level[m] = min(level[m], level[m - 1])
    size[m] = j - i
    return m + 1


# ------------------------------------------------------------------ mappings
@_inlined
def _singletons(z, m, place, values, structure, r, key, item):
    """Project the survivors on the simplex, every position its own group."""
    tau = _threshold(z, None, m, -1.0 - 1e-15, key, item)
    c = 0
    for k in range(m):
        weight = z[k] - tau
        if weight > 0.0:
            values[r, place[k]] = weight
            structure[r, 2 + c] = 4 * place[k] + 1
            c += 1
    _count(structure, r, c, c)


@_inlined
def _shift(scores, r, top, gamma, depth, place, rank, m, z):
    """z ← (score − top)/γ of the survivors that reach −depth; returns their number."""
    scale = _reciprocal(gamma)
    dropped = False
    if m == scores.shape[1]:  # without going by way of ``place``, in vector instructions
        row = scores[r]
        for k in range(row.size):
            value = (np.float64(row[k]) - top) * scale
            dropped |= value < -depth
            z[k] = value
    else:
        for k in range(m):
            value = (np.float64(scores[r, place[k]]) - top) * scale
            dropped |= value < -depth
            z[k] = value
    if not dropped:
        return m
    kept = 0
    for k in range(m):
        # by way of scalars: reading back what was just stored costs more than all the rest
        value, p, q = z[k], place[k], rank[k]
        z[kept], place[kept], rank[kept] = value, p, q
        kept += value >= -depth
    return kept


@_compiled
def sparsemax(start, stop, ledger, scores, mask, masked, gamma, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖²; τ ≥ max x/γ − 1."""
    d = scores.shape[1]
    z, key = np.empty(d + 1), np.empty(d + 1)
    place, rank, item = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    while True:
        for r in range(start, stop):
            strength = _strength(gamma, r)
            state, top = _survey(scores, mask, masked, r, _sound(strength, _SMALLEST))
            _blank(state, values, structure, r)
            if state > 0:
                floor = _floor(scores, top, strength)
                m, _ = _survivors(scores, mask, masked, state == _GAPS, r, floor, place, rank)
                m = _shift(scores, r, top, strength, 1.0, place, rank, m, z)
                _singletons(z, m, place, values, structure, r, key, item)
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


_LONG = 16  # scores for which a call is nothing
_MANY = 128  # survivors for which another look in vector instructions pays


@_called
def _thin(z, m, price, bound, lowest, place, rank):
    """Drop survivors that have no part in a group above ``bound``, all but the first and the last.

    Beside a score that is out only what reaches ``bound`` stays, between two such scores only what
    reaches it less both prices. A neighbour that is missing here is out, so that a survivor taken
    for one errs on the safe side.
    """
    alone = bound + 2.0 * price
    kept = 1
    for begin in range(1, m - 1, 64):
        count = min(64, m - 1 - begin)
        here = _where_at_least(z, begin, count, lowest)
        first, last = np.uint64(z[begin - 1] >= lowest), np.uint64(z[begin + count] >= lowest)
        before = here << np.uint64(1) | first
        behind = here >> np.uint64(1) | last << np.uint64(count - 1)
        keep = here & before & behind
        if kept == begin and keep == ~np.uint64(0):
            kept += 64
            continue
        keep |= here & (
            ((before | behind) & _where_at_least(z, begin, count, bound))
            | _where_at_least(z, begin, count, alone)
        )
        while keep != np.uint64(0):
            k = begin + _first_flag(keep)
            value, p, q = z[k], place[k], rank[k]
            z[kept], place[kept], rank[kept] = value, p, q
            kept += 1
            keep &= keep - np.uint64(1)
    value, p, q = z[m - 1], place[m - 1], rank[m - 1]
    z[kept], place[kept], rank[kept] = value, p, q
    return kept + 1


@_called
def _bound_by_blocks(z, rank, m, price, bound, total, item, key, order):
    """τ is at least what any blocks of neighbours attain together, whose cut is 2 each."""
    blocks, size = np.int64(0), 16
    for k in range(0, m - size + 1, size):
        total[blocks], item[blocks] = _sum(z, k, k + size) - 2.0 * price, rank[k]
        blocks += rank[k + size - 1] - rank[k] == size - 1
    while blocks > 0:
        bound = max(bound, _threshold(total, None, blocks, size * bound, key, order) / size)
        b = kept = 0
        while b + 4 <= blocks:
            if item[b + 3] - item[b] == 3 * size:
                total[kept] = total[b] + total[b + 1] + total[b + 2] + total[b + 3] + 6.0 * price
                item[kept] = item[b]
                kept += 1
                b += 4
            else:
                b += 1
        blocks, size = kept, 4 * size
    return bound


@_called
def _gains(z, start, stop, floor, lam, gain):
    """What each score, with the best of those behind it, adds to {P_TV(z) > floor}, its own cut not counted.

    From the end each takes on what is behind it, between −λ and λ: beyond these it is better cut off.
    """
    part = (stop - start) // 4
    a, b, c, e = start + part, start + 2 * part, start + 3 * part, stop
    behind = 0.0
    while e > start + 4 * part:
        e -= 1
        behind = gain[e] = min(max(behind, -lam), lam) + (z[e] - floor)
    # Four parts at once, as if nothing were behind them, for each addition waits for the one before;
    u = v = w = 0.0
    for k in range(1, part + 1):
        u = gain[a - k] = min(max(u, -lam), lam) + (z[a - k] - floor)
        v = gain[b - k] = min(max(v, -lam), lam) + (z[b - k] - floor)
        w = gain[c - k] = min(max(w, -lam), lam) + (z[c - k] - floor)
        behind = gain[e - k] = min(max(behind, -lam), lam) + (z[e - k] - floor)
    for end in (c, b, a):  # which holds again from where a bound was met.
        k = end
        while k > start:
            behind = min(max(gain[k], -lam), lam) + (z[k - 1] - floor)
            if behind == gain[k - 1]:
                break
            k -= 1
            gain[k] = behind


@_called
def _next_at_least(numbers, k, stop, floor):
    while k < stop:
        flags = _where_at_least(numbers, k, min(64, stop - k), floor)
        if flags != np.uint64(0):
            return k + _first_flag(flags)
        k += 64
    return stop


@_called
def _next_below(numbers, k, stop, floor):
    while k < stop:
        flags = ~_where_at_least(numbers, k, min(64, stop - k), floor)
        if flags != np.uint64(0):
            return min(k + _first_flag(flags), stop)
        k += 64
    return stop


@_called
def _string(z, start, stop, left, right, lam, level, size, first, m, chain, length):
    """Append the segments of P_TV and where each begins."""
    end = _taut_string(z, start, stop, left, right, lam, level, size, m, chain, length)
    for s in range(m, end):
        first[s] = start
        start += int(size[s])
    return end


@_called
def _trend(z, start, stop):
    """1 where the scores rise throughout, −1 where they fall, else 0."""
    rise = fall = True
    for begin in range(start, stop - 1, 64):
        before, after = z[begin : min(begin + 64, stop - 1)], z[begin + 1 : min(begin + 65, stop)]
        for k in range(after.size):
            rise &= after[k] > before[k]
            fall &= after[k] < before[k]
        if not (rise or fall):
            return 0
    return 1 if rise else -1


@_called
def _ramp(z, start, stop, sign, left, right, lam, floor, level, size, first, m):
    """The segments above ``floor`` where the scores rise (``sign`` 1) or fall: λ levels off either end.

    Returns ``m`` and nothing done where the two ends meet.
    """
    low, high, p, away = lam - sign * left, lam + sign * right, start + 1, 0.0
    while p < stop:
        away += (p - start) * (sign * (z[p] - z[p - 1]))
        if away > low:
            break
        p += 1
    q, away = stop - 1, 0.0
    while q >= p:
        away += (stop - q) * (sign * (z[q] - z[q - 1]))
        if away > high:
            break
        q -= 1
    if q < p:
        return m
    # min, max: rounding must not put an end beyond what it levels off to
    bottom = sign * min(sign * ((_sum(z, start, p) + sign * low) / (p - start)), sign * z[p])
    summit = sign * max(sign * ((_sum(z, q, stop) - sign * high) / (stop - q)), sign * z[q - 1])
    if p == q and sign * (summit - bottom) <= 0.0:
        return m
    level[m], size[m], first[m] = bottom, p - start, start
    m += bottom > floor
    for k in range(p, q):
        level[m], size[m], first[m] = z[k], 1.0, k
        m += z[k] > floor
    level[m], size[m], first[m] = summit, stop - q, q
    m += summit > floor
    return m


@_called
def _parted_string(z, start, stop, left, right, lam, gain, level, size, first, m, chain, length):
    """As above, but parted first where P_TV passes the mean: often the parts are one segment each."""
    mean, whole = _off_the_ends(z, start, stop, left, right, lam)
    if whole:
        level[m], size[m], first[m] = mean, stop - start, start
        return m + 1
    _gains(z, start, stop, mean, lam, gain)
    begin, above = start, gain[start] > 0.0
    while begin < stop:
        end = (
            _next_below(gain, begin + 1, stop, -lam) if above else _next_at_least(gain, begin + 1, stop, lam)
        )
        pull = lam if above else -lam
        left, right = 0.0 if begin == start else pull, 0.0 if end == stop else pull
        old, m = m, _string(z, begin, end, left, right, lam, level, size, first, m, chain, length)
        for s in range(old, m):  # rounding must not put a part on the other side
            level[s] = max(level[s], mean) if above else min(level[s], mean)
        begin, above = end, not above
    return m


@_called
def _long_run(z, start, stop, left, right, lam, floor, gain, level, size, first, m, chain, length):
    """Append the segments of P_TV(z[start:stop]) above ``floor``, ``left`` and ``right`` taken off its ends.

    What is not above it separates the rest, as what was screened out does. As part of fusedmax's own
    code a taut string would take twice the time.
    """
    sign = _trend(z, start, stop)
    if sign != 0:
        segments = _ramp(z, start, stop, sign, left, right, lam, floor, level, size, first, m)
        if segments > m:
            return segments
    mean, whole = _off_the_ends(z, start, stop, left, right, lam)
    if whole:
        level[m], size[m], first[m] = mean, stop - start, start
        return m + 1
    _gains(z, start, stop, floor, lam, gain)
    begin = start if gain[start] > 0.0 else _next_at_least(gain, start + 1, stop, lam)
    while begin < stop:
        end = _next_below(gain, begin + 1, stop, -lam)
        left, right = 0.0 if begin == start else lam, 0.0 if end == stop else lam
        following = _next_at_least(gain, end, stop, lam)
        if end < begin + _MANY:
            m = _string(z, begin, end, left, right, lam, level, size, first, m, chain, length)
        else:
            m = _parted_string(z, begin, end, left, right, lam, gain, level, size, first, m, chain, length)
        begin = following
    return m


@_compiled
def fusedmax(start, stop, ledger, scores, mask, masked, gamma, lam, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ|y_{i+1} − y_i|).

    Leaving a position out of a set changes its cut by at most 2λ. So τ is at least sparsemax's less
    2λ, and a score 2λ under τ gets weight 0 and separates its neighbours: only the runs between such
    scores are solved, each less λ at its inner ends.
    """
    d = scores.shape[1]
    z, key, level = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1)
    place, rank, item = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    first, size = np.empty(d + 1, np.int64), np.empty(d + 1)
    chain, length = np.empty((2, d + 1)), np.empty((2, d + 1))
    while True:
        for r in range(start, stop):
            strength, price = _strength(gamma, r), _strength(lam, r)
            sound = _sound(strength, _SMALLEST) and _sound(price, 0.0)
            state, top = _survey(scores, mask, masked, r, sound)
            _blank(state, values, structure, r)
            if state <= 0:
                continue
            depth = 1.0 + 4.0 * price
            floor = _floor(scores, top, strength * depth)
            m, n = _survivors(scores, mask, masked, state == _GAPS, r, floor, place, rank)
            m = _shift(scores, r, top, strength, depth, place, rank, m, z)
            if price == 0.0:  # tied scores are not a fused group then
                _singletons(z, m, place, values, structure, r, key, item)
                continue
            bound = _threshold(z, None, m, -1.0 - 1e-15, key, item) - 2.0 * price - 1e-14 * depth
            if m >= _MANY:
                bound = max(
                    bound, _bound_by_blocks(z, rank, m, price, bound, level, first, key, item) - 2e-14 * depth
                )
            lowest = bound - 2.0 * price
            if m >= _MANY:
                m = _thin(z, m, price, bound, lowest, place, rank)
            segments, k = np.int64(0), 0
            while k < m:
                if z[k] < lowest:
                    k += 1
                    continue
                begin = k
                k += 1
                if k == m or rank[k] != rank[begin] + 1:
                    value = z[begin] - (price if rank[begin] > 0 else 0.0)
                    value -= price if rank[begin] < n - 1 else 0.0
                    level[segments], size[segments], first[segments] = value, 1, begin
                    segments += value > bound
                    continue
                while (
                    k + 64 <= m
                    and rank[k + 63] == rank[k - 1] + 64
                    and _where_at_least(z, k, 64, lowest) == ~np.uint64(0)
                ):
                    k += 64
                while k < m and rank[k] == rank[k - 1] + 1 and z[k] >= lowest:
                    k += 1
                behind = k
                while begin < behind and z[begin] < bound and rank[begin] > 0:
                    begin += 1
                while begin < behind and z[behind - 1] < bound and rank[behind - 1] < n - 1:
                    behind -= 1
                if begin == behind:
                    continue
                left, right = price if rank[begin] > 0 else 0.0, price if rank[behind - 1] < n - 1 else 0.0
                old = segments
                # Closed forms for most runs; as a function of its own this made all a third slower.
                if behind == begin + 1:
                    level[old], size[old], first[old] = z[begin] - left - right, 1, begin
                    segments += 1
                    continue
                elif behind == begin + 2:
                    a, b = z[begin] - left, z[begin + 1] - right
                    if abs(a - b) <= 2.0 * price:
                        level[old], size[old] = 0.5 * (a + b), 2
                        segments += 1
                    else:
                        pull = price if a > b else -price
                        level[old], level[old + 1] = a - pull, b + pull
                        size[old] = size[old + 1] = 1
                        segments += 2
                elif behind < begin + _LONG:
                    segments = _taut_string(
                        z, begin, behind, left, right, price, level, size, old, chain, length
                    )
                else:
                    above = bound - 1e-15 * depth * (behind - begin)  # as much as rounding may add up to
                    segments = _long_run(
                        z,
                        begin,
                        behind,
                        left,
                        right,
                        price,
                        above,
                        key,
                        level,
                        size,
                        first,
                        old,
                        chain,
                        length,
                    )
                    continue
                for s in range(old, segments):
                    first[s] = begin
                    begin += int(size[s])
            if price > 1e6:  # which is in every level, and would hide the 1 that the weights add up to
                summit = -np.inf
                for s in range(segments):
                    summit = max(summit, level[s])
                for s in range(segments):
                    level[s] -= summit
                bound = -1.0 - 1e-15
            tau = _threshold(level, size, segments, bound, key, item)
            c = groups = 0
            for s in range(segments):
                weight = level[s] - tau
                if weight > 0.0:
                    groups += 1
                    if size[s] == 1.0:
                        at = place[first[s]]
                        values[r, at] = weight
                        structure[r, 2 + c] = 4 * at + 1
                        c += 1
                        continue
                    members = place[first[s] : first[s] + int(size[s])]
                    entries = structure[r, 2 + c : 2 + c + members.size]
                    for i in range(members.size):
                        values[r, members[i]] = weight
                        entries[i] = 4 * members[i]
                    entries[0] += 1
                    c += members.size
            _count(structure, r, c, groups)
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


@_reordered_sum
def _mean(scores, mask, masked, lowest, top, gamma, n):
    """Mean of (score − top)/γ over the scores that take part."""
    scale = _reciprocal(gamma)
    total = 0.0
    for i in range(scores.size):
        present = scores[i] >= lowest and (not masked or mask[i])
        total += (np.float64(scores[i]) - top) * scale if present else 0.0
    return total / n


_FEW = 16  # survivors that are sorted by insertion
_PER_BUCKET = 24


@_inlined
def _insertion_sort(key, item, start, stop):
    """Descending."""
    for i in range(start + 1, stop):
        k, at, j = key[i], item[i], i
        while j > start and key[j - 1] < k:
            key[j], item[j] = key[j - 1], item[j - 1]
            j -= 1
        key[j], item[j] = k, at


@_called
def _sort_descending(key, item, start, stop):
    """No more than O(n log n) for any row."""
    if stop - start <= 64:
        _insertion_sort(key, item, start, stop)
        return
    part, place = key[start:stop], item[start:stop]
    _heap_sort(part, place, stop - start)
    for i in range((stop - start) // 2):
        j = stop - start - 1 - i
        part[i], part[j] = part[j], part[i]
        place[i], place[j] = place[j], place[i]


@_inlined
def _prices(lam, n, start, stop):
    """λ(n−1−start) + … + λ(n−stop): what the ranks from ``start`` to ``stop`` pay."""
    return lam * (stop - start) * (n - 0.5 * (start + stop + 1))


@_inlined
def _largest(sign, numbers, n):
    """max of sign·number, if that is nowhere negative; as integers, since a maximum of floats is not
    vectorised."""
    largest = _same_bits(0.0)
    for i in range(n):
        largest = max(largest, _same_bits(sign * numbers[i]))
    return _same_bits(largest)


@_inlined
def _screen_again(z, m, n, lam, place, tau):
    """Drop scores until it no longer helps: of m survivors each pays at least λ(n−m), and τ is at
    least what they attain together."""
    while True:
        tau = max(tau, (_sum(z, 0, m) - _prices(lam, n, 0, m) - 1.0) / m)
        floor = min(tau + lam * (n - m), -1e-300) * (1.0 + 1e-12)
        kept = 0
        for k in range(m):
            kept += z[k] > floor
        if m <= _FEW or 4 * kept > 3 * m:
            return m
        kept = 0
        for k in range(m):
            value, p = z[k], place[k]
            z[kept], place[kept] = value, p
            kept += value > floor
        m = kept


@_inlined
def _sort_into_parts(z, m, n, lam, key, item, end, sums, bucket, begin, dealt, gap, total, size):
    """Order the scores z ≤ 0 as far as the solution depends on it; return the number of parts.

    No group ends inside a part, so its members may stand in any order; part q stops before
    ``end[q]``, its scores add up to ``sums[q]``.

    The scores are dealt into buckets of width w. Let V be the prefix sums of the sorted scores less
    their prices. Inside a bucket of c scores V exceeds its chord by at most cw/4 − λc²/8. Where that
    does not bring it above the concave majorant of V at the ends of buckets (behind the prefix that
    attains τ there: above the line of slope τ), the bucket is one part.
    """
    width = max(_largest(-1.0, z, m), 1e-290)
    if width <= 0.5 * lam * m:
        for k in range(m):
            item[k] = k
        end[0], sums[0] = m, _sum(z, 0, m)
        return 1
    buckets = max(1, m // _PER_BUCKET)
    width /= buckets
    per_width = 1.0 / width
    for k in range(m):
        bucket[k] = np.int32(-z[k] * per_width)  # there are vector instructions for 32 bits
    buckets += 2  # the lowest score lands in a bucket of its own, by rounding in the next
    for b in range(buckets):
        begin[b + 1], dealt[b] = 0, 0.0
    for k in range(m):
        begin[bucket[k] + np.uint32(1)] += 1
        dealt[bucket[k]] += z[k]
    begin[0] = 0
    height, tau, last = 0.0, -np.inf, 0
    for b in range(buckets):
        c = begin[b + 1]
        begin[b + 1] += begin[b]
        end[b], size[b] = begin[b], c
        total[b] = dealt[b] - _prices(lam, n, begin[b], begin[b + 1])
        height += total[b]
        gap[b + 1] = height
        if begin[b + 1] > 0 and height - 1.0 >= tau * begin[b + 1]:
            tau, last = (height - 1.0) / begin[b + 1], b + 1
    for k in range(m):
        at = end[bucket[k]]
        end[bucket[k]] = at + 1
        item[at] = k

    b, height, gap[0] = 0, 0.0, 0.0
    for s in range(_pool(total, size, last)):
        start, slope = begin[b], total[s] / size[s]
        while b < last and begin[b + 1] <= start + size[s]:
            b += 1
            gap[b] = height + slope * (begin[b] - start) - gap[b]
        height += total[s]
    for b in range(last + 1, buckets + 1):
        gap[b] = 1.0 + tau * begin[b] - gap[b]

    parts = 0
    for b in range(buckets):
        c = begin[b + 1] - begin[b]
        if c > 1 and 0.25 * c * (width - 0.5 * lam * c) > min(gap[b], gap[b + 1]):
            for i in range(begin[b], begin[b + 1]):
                key[i] = z[item[i]]
            _sort_descending(key, item, begin[b], begin[b + 1])
            for i in range(begin[b], begin[b + 1]):
                end[parts], sums[parts] = i + 1, key[i]
                parts += 1
        elif c > 0:
            end[parts], sums[parts] = begin[b + 1], dealt[b]
            parts += 1
    return parts


@_compiled
def oscarmax(start, stop, ledger, scores, mask, masked, gamma, lam, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ_{i<j} max(y_i, y_j)).

    With v the sorted scores less λ(n−1, …, 0), the support is the shortest prefix that attains
    τ = max_k (v_1 + … + v_k − 1)/k, and isotonic regression is needed inside it only.
    """
    d = scores.shape[1]
    lowest = scores.dtype.type(np.finfo(scores.dtype).min)
    z, key, gap = np.empty(d + 1), np.empty(d + 1), np.empty(d + 4)
    dealt = np.empty(d + 4)
    total, size, sums = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1)
    place, rank, item = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    end, begin, bucket = np.empty(d + 1, np.int64), np.empty(d + 4, np.int64), np.empty(d + 1, np.uint32)
    while True:
        for r in range(start, stop):
            strength, price = _strength(gamma, r), _strength(lam, r)
            sound = _sound(strength, _SMALLEST) and _sound(price, 0.0)
            state, top = _survey(scores, mask, masked, r, sound)
            _blank(state, values, structure, r)
            if state <= 0:
                continue
            price = min(price, 1e200 / d)  # so that no sum of prices overflows
            n = d
            if state == _GAPS:
                n = _count_present(scores, mask, masked, r, lowest)
            # τ is at least what the maximum alone attains, and what all scores together attain
            depth = 1.0 + price * (n - 1)
            if price > 0.0:
                mean = _mean(scores[r], mask[r if masked else 0], masked, lowest, top, strength, n)
                depth = min(depth, 0.5 * price * (n - 1) + 1.0 / n - mean)
            floor = _floor(scores, top, strength * depth * (1.0 + 1e-12))
            if state == _FULL and n >= _MANY and 8 * _count_present(scores, mask, masked, r, floor) > 7 * n:
                # Leaving out so few would cost more than taking them along, for all are taken in vectors.
                floor, depth = lowest, np.inf
            m, _ = _survivors(scores, mask, masked, state == _GAPS, r, floor, place, rank)
            m = _shift(scores, r, top, strength, depth * (1.0 + 1e-12), place, rank, m, z)
            if price == 0.0:  # tied scores are not a fused group then
                _singletons(z, m, place, values, structure, r, key, item)
                continue
            m = _screen_again(z, m, n, price, place, -depth)
            if m <= _FEW:
                parts = m
                for k in range(m):
                    sums[k], item[k], end[k] = z[k], k, k + 1
                _insertion_sort(sums, item, 0, m)
            else:
                parts = _sort_into_parts(
                    z, m, n, price, key, item, end, sums, bucket, begin, dealt, gap, total, size
                )
            height, best, last, k = -1.0, -np.inf, 0, 0
            for q in range(parts):
                total[q], size[q] = sums[q] - _prices(price, n, k, end[q]), end[q] - k
                k = end[q]
                height += total[q]
                if last == 0 or height * end[last - 1] > best * k:
                    best, last = height, q + 1
            # From here relative to τ: it and the levels of groups are of size λn, their differences are not.
            tau, k = best / end[last - 1], 0
            for q in range(last):
                total[q] = sums[q] - size[q] * (price * (n - 0.5 * (k + end[q] + 1)) + tau)
                k = end[q]
            blocks = _pool(total, size, last)
            excess = (_sum(total, 0, blocks) - 1.0) / k  # by rounding; the size of a group would multiply it
            i = groups = 0
            weight = np.inf
            for s in range(blocks):
                j = i + int(size[s])
                # min: rounding must not put a group above one with larger scores
                weight = min(weight, total[s] / size[s] - excess) if blocks > 1 else 1.0 / k
                if weight <= 0.0:
                    break
                groups += 1
                members, entries = item[i:j], structure[r, 2 + i : 2 + j]
                for t in range(j - i):
                    at = place[members[t]]
                    values[r, at] = weight
                    entries[t] = 4 * at
                entries[0] += 1
                i = j
            _count(structure, r, i, groups)
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


# ------------------------------------------------------------------ building blocks
@_inlined
def _present(scores, mask, masked, r, values, structure, place, rank, z):
    """Shift what takes part of a row by its maximum; return how many that are, and the maximum."""
    state, top = _survey(scores, mask, masked, r, True)
    _blank(state, values, structure, r)
    if state <= 0:
        _fill(values[r], np.nan if state == _BAD else -np.inf)
        return 0, top
    lowest = scores.dtype.type(np.finfo(scores.dtype).min)
    m, _ = _survivors(scores, mask, masked, state == _GAPS, r, lowest, place, rank)
    if m < scores.shape[1]:
        _fill(values[r], -np.inf)
    return _shift(scores, r, top, 1.0, np.inf, place, rank, m, z), top


@_inlined
def _expand(place, level, size, blocks, offset, values, structure, r):
    """Write one value for each block of consecutive members."""
    c = 0
    for b in range(blocks):
        for k in range(int(size[b])):
            values[r, place[c]] = level[b] + offset
            structure[r, 2 + c] = 4 * place[c] + (k == 0)
            c += 1
    _count(structure, r, c, blocks)


@_compiled
def prox_tv1d(start, stop, ledger, scores, mask, masked, lam, values, structure):
    """argmin of ½‖y − x‖² + λ Σ|y_{i+1} − y_i|."""
    d = scores.shape[1]
    z, level, size = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1)
    place, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    chain, length = np.empty((2, d + 1)), np.empty((2, d + 1))
    while True:
        for r in range(start, stop):
            m, top = _present(scores, mask, masked, r, values, structure, place, rank, z)
            price, segments = _strength(lam, r), 0
            if price == 0.0:
                for i in range(m):
                    level[i], size[i] = z[i], 1
                segments = m
            elif m > 0:
                segments = _taut_string(z, 0, m, 0.0, 0.0, price, level, size, 0, chain, length)
            if m > 0:
                _expand(place, level, size, segments, top, values, structure, r)
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


@_compiled
def isotonic_regression(start, stop, ledger, scores, mask, masked, decreasing, values, structure):
    """argmin of ‖y − x‖² over y_1 ≤ y_2 ≤ … (≥ if ``decreasing``)."""
    d = scores.shape[1]
    z, size = np.empty(d + 1), np.empty(d + 1)
    place, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    sign = 1.0 if decreasing else -1.0
    while True:
        for r in range(start, stop):
            m, top = _present(scores, mask, masked, r, values, structure, place, rank, z)
            for i in range(m):
                z[i], size[i] = sign * z[i], 1
            blocks = _pool(z, size, m)
            for b in range(blocks):
                z[b] = sign * (z[b] / size[b])
            if m > 0:
                _expand(place, z, size, blocks, top, values, structure, r)
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


@_compiled
def prox_oscar(start, stop, ledger, scores, mask, masked, lam, values, structure):
    """argmin of ½‖y − x‖² + λ Σ_{i<j} max(|y_i|, |y_j|)."""
    d = scores.shape[1]
    z, size = np.empty(d + 1), np.empty(d + 1)
    place, rank, item = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    while True:
        for r in range(start, stop):
            m, _ = _present(scores, mask, masked, r, values, structure, place, rank, z)
            price = _strength(lam, r)
            for i in range(m):
                z[i], item[i] = abs(np.float64(scores[r, place[i]])), i
            _sort_descending(z, item, 0, m)
            for i in range(m):
                z[i], size[i] = z[i] - price * (m - 1 - i), 1
            blocks = _pool(z, size, m) if price > 0.0 else m
            c = groups = i = 0
            for b in range(blocks):
                value, last = max(z[b] / size[b], 0.0), i + int(size[b])
                counts = value > 0.0 or price == 0.0
                groups += counts
                for k in range(i, last):
                    at = place[item[k]]
                    negative = scores[r, at] < 0.0
                    values[r, at] = -value if negative else value
                    if counts:
                        structure[r, 2 + c] = 4 * at + 2 * negative + (k == i)
                        c += 1
                i = last
            if m > 0:
                _count(structure, r, c, groups)
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


# ------------------------------------------------------------------ one scalar root
@_compiled
def pnormmax(start, stop, ledger, scores, mask, masked, gamma, p, values):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖_p², 1 < p < 2; NaN rows are known by their values.

    With t = max x/γ − τ ≤ 1, u = max(1 + z/t, 0) and R_s = Σ u^s the root is that of
    log R_q·(2−p)/p − log R_{q−1} − log t, which decreases in t; y = u^{q−1}/R_{q−1}.
    """
    d = scores.shape[1]
    z, power = np.empty(d + 1), np.empty(d + 1)
    place, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    q = p / (p - 1.0)
    while True:
        for r in range(start, stop):
            strength = _strength(gamma, r)
            state, top = _survey(scores, mask, masked, r, _sound(strength, _SMALLEST))
            _fill(values[r], np.nan if state == _BAD else 0.0)
            if state <= 0:
                continue
            floor = _floor(scores, top, strength)
            m, _ = _survivors(scores, mask, masked, state == _GAPS, r, floor, place, rank)
            m = _shift(scores, r, top, strength, 1.0, place, rank, m, z)
            scale = 1.0 / _pnorm_root(z, m, p, q)
            for k in range(m):
                u = max(1.0 + z[k] * scale, 0.0)
                power[k] = u * u if p == 1.5 else u ** (q - 1.0)
            share = 1.0 / _sum(power, 0, m)
            for k in range(m):
                values[r, place[k]] = power[k] * share
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


@_reordered_sum
def _moments_of_three_halves(z, m, scale):
    """Σ u, Σ u², Σ u³."""
    s0 = s1 = s2 = 0.0
    for k in range(m):
        u = max(1.0 + z[k] * scale, 0.0)
        s0 += u
        s1 += u * u
        s2 += u * u * u
    return s0, s1, s2


@_inlined
def _moments(z, m, scale, q):
    """Σ u^{q−2}, Σ u^{q−1}, Σ u^q."""
    s0 = s1 = s2 = 0.0
    for k in range(m):
        u = 1.0 + z[k] * scale
        if u > 0.0:
            w = u ** (q - 2.0)
            s0 += w
            s1 += w * u
            s2 += w * u * u
    return s0, s1, s2


@_inlined
def _pnorm_root(z, m, p, q):
    """Newton in log t, kept inside a shrinking bracket.

    Where q ≥ 3 a step below 1e-9 leaves an error below rounding, because the slope is Lipschitz. For smaller
    q it is only Hölder of order q − 2 where a position enters the support: steps go on down to rounding.
    """
    low, high, t = 0.0, 1.0, 1.0
    enough = 1e-9 if q >= 3.0 else 4.0 * np.finfo(np.float64).eps
    for _ in range(100):
        if p == 1.5:
            s0, s1, s2 = _moments_of_three_halves(z, m, 1.0 / t)
            gap = np.log(s2 / (s1 * t) ** 3) / 3.0  # one logarithm for two
        else:
            s0, s1, s2 = _moments(z, m, 1.0 / t, q)
            gap = np.log(s2) * (2.0 - p) / p - np.log(s1 * t)
        if gap > 0.0:
            low = t
        else:
            high = t
        slope = (2.0 - p) / p * q * (s1 - s2) / s2 - (q - 1.0) * (s0 - s1) / s1 - 1.0
        new = t * np.exp(-gap / slope) if slope < 0.0 else low
        if abs(new - t) <= enough * t or high - low <= enough * low:
            return new
        t = new if low < new < high else 0.5 * (low + high)
    return t


@_reordered_sum
def _sum_of_squares(numbers, divisors, n):
    total = 0.0
    for i in range(n):
        total += numbers[i] * numbers[i] / divisors[i]
    return total


@_reordered_sum
def _dot(a, b, n):
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@_compiled
def pnormmax_product(start, stop, ledger, direction, weights, output, gamma, p):
    """Jacobian of pnormmax at the solution ``weights`` times ``direction``.

    On the support the Hessian of ½‖y‖_p² is diagonal plus rank one; by Sherman–Morrison its inverse
    is diag(s) − c·y yᵀ with s = (y/‖y‖)^{2−p}/(p−1) and c = (2−p)/((p−1)‖y‖²), which is all that
    J = (H⁻¹ − H⁻¹1 1ᵀH⁻¹ / 1ᵀH⁻¹1)/γ needs.
    """
    d = direction.shape[1]
    y, g, s = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1)
    place, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    info, no_mask = np.finfo(weights.dtype), np.empty((1, 1), np.bool_)
    smallest = weights.dtype.type(np.float64(info.tiny) * np.float64(info.eps))
    while True:
        for r in range(start, stop):
            bad = np.isnan(weights[r, 0])
            _fill(output[r], np.nan if bad else 0.0)
            m, _ = _survivors(weights, no_mask, False, False, r, smallest, place, rank)
            if bad or m == 0:
                continue
            for k in range(m):
                y[k], g[k] = weights[r, place[k]], direction[r, place[k]]
            top = _largest(1.0, y, m)
            for k in range(m):
                y[k] /= top
            if p == 1.5:
                for k in range(m):
                    s[k] = np.sqrt(y[k])
            else:
                for k in range(m):
                    s[k] = y[k] ** (2.0 - p)
            norm = _sum_of_squares(y, s, m) ** (1.0 / p)  # of y / top
            power = 1.0 / np.sqrt(norm) if p == 1.5 else norm ** (p - 2.0)
            each, c = power / (p - 1.0), (2.0 - p) / ((p - 1.0) * norm * norm)
            for k in range(m):
                s[k] *= each
            sum_s, sum_y = _sum(s, 0, m), _sum(y, 0, m)
            sum_sg, sum_yg = _dot(s, g, m), _dot(y, g, m)
            share = (sum_sg - c * sum_y * sum_yg) / (sum_s - c * sum_y * sum_y)
            scale = 1.0 / _strength(gamma, r)
            for k in range(m):
                output[r, place[k]] = scale * (s[k] * (g[k] - share) - c * y[k] * (sum_yg - share * sum_y))
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


# ------------------------------------------------------------------ the derivative of a partition
@_reordered_sum
def _sum_of_members(direction, structure, r, i, j):
    row, entries, total = direction[r], structure[r, 2 + i : 2 + j], 0.0
    for k in range(entries.size):
        entry = entries[k]
        g = np.float64(row[np.uint64(entry >> 2)])
        total += -g if entry & 2 else g
    return total


@_inlined
def _are_neighbours(entries):
    """Whether members of one group stand side by side, none with a sign, so that no list is needed."""
    apart = entries[0] & 2
    for k in range(1, entries.size):
        apart |= entries[k] - (entries[0] & ~1) - 4 * k
    return apart == 0


@_inlined
def _end_of_group(entries, j):
    """Where the next group begins, at entry ``j`` or behind it."""
    while j + 32 <= entries.size:
        block, first = entries[j : j + 32], entries.dtype.type(0)
        for k in range(32):
            first |= block[k]
        if first & 1:
            break
        j += 32
    while j < entries.size and not entries[j] & 1:
        j += 1
    return j


@_inlined
def _collect(direction, entries, r, near, numbers):
    """Sum over a group, by way of ``numbers``: the same bits for neighbours and for members apart."""
    if near:
        at = entries[0] >> 2
        row = direction[r, at : at + entries.size]
        for k in range(row.size):
            numbers[k] = row[k]
    else:
        for k in range(entries.size):
            g = np.float64(direction[r, np.uint64(entries[k] >> 2)])
            numbers[k] = -g if entries[k] & 2 else g
    return _sum(numbers, 0, entries.size)


@_inlined
def _look_ahead(direction, structure, r, stop):
    """Have the members of rows to come brought near: they lie where no processor would look for them."""
    far, near = r + 16, r + 4
    if far < stop:
        offset = far * structure.shape[1]
        _fetch(structure, offset)
        _fetch(structure, offset + 31)
    if near < stop and 8 * structure[near, 0] < direction.shape[1]:  # else rows are read as a whole
        for k in range(structure[near, 0]):
            _fetch(direction, near * direction.shape[1] + (structure[near, 2 + k] >> 2))


@_compiled
def group_average(start, stop, ledger, direction, structure, output, scale, centre):
    """scale · (direction, less its mean over all groups if ``centre``, averaged inside each group)."""
    numbers = np.empty(direction.shape[1])
    while True:
        for r in range(start, stop):
            _look_ahead(direction, structure, r, stop)
            members, groups = structure[r, 0], structure[r, 1]
            _fill(output[r], np.nan if members == POISONED else 0.0)
            if members <= 0 or (centre and groups == 1):
                continue
            mean = _sum_of_members(direction, structure, r, 0, members) / members if centre else 0.0
            entries = structure[r, 2 : 2 + members]
            if groups == members:
                for k in range(members):
                    entry = entries[k]
                    g = np.float64(direction[r, entry >> 2])
                    output[r, entry >> 2] = scale * (g + mean if entry & 2 else g - mean)
                continue
            i = 0
            while i < members:
                entry, j = entries[i], i + 1
                total = np.float64(direction[r, entry >> 2])
                if entry & 2:
                    total = -total
                while j < members and j < i + _LONG and not entries[j] & 1:
                    j += 1
                if j == i + _LONG:
                    j = _end_of_group(entries, j)
                    near = _are_neighbours(entries[i:j])
                    average = scale * (_collect(direction, entries[i:j], r, near, numbers) / (j - i) - mean)
                    if near:
                        at = entries[i] >> 2
                        _fill(output[r, at : at + j - i], average)
                        i = j
                        continue
                else:
                    if j > i + 1:
                        total += _sum_of_members(direction, structure, r, i + 1, j)
                    average = scale * (total / (j - i) - mean)
                for k in range(i, j):
                    entry = entries[k]
                    output[r, np.uint64(entry >> 2)] = -average if entry & 2 else average
                i = j
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return


@_compiled
def labels(start, stop, ledger, structure, output):
    """0 outside the support, else ±k for the k-th group of a row; ``POISONED`` throughout a poisoned one."""
    while True:
        for r in range(start, stop):
            _fill(output[r], POISONED if structure[r, 0] == POISONED else 0)
            group = 0
            for i in range(structure[r, 0]):
                entry = structure[r, 2 + i]
                group += entry & 1
                output[r, entry >> 2] = -group if entry & 2 else group
        start, stop = _take(ledger, start, stop)
        if start == stop:
            return
