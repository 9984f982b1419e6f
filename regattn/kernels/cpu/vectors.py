"""What LLVM has on every processor and numba has no words for: vectors, bits, atomics, prefetching."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LANES = 64
FEW = 16  # numbers that are compared with each other
_BYTE, _WORD, _INDEX = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _splat(builder, value, lanes=_LANES):
    vector = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _WORD(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_WORD, lanes), [0] * lanes))


def _pointer(context, builder, array_type, array, offset):
    return builder.gep(context.make_array(array_type)(context, builder, value=array).data, [offset])


def _load(context, builder, array_type, array, offset, count, lanes=_LANES):
    """A vector whose first ``count`` ≤ ``lanes`` entries are those of the array from ``offset`` on.

    Those after them are whatever follows there, where the array goes on so far: masked loads are slow.
    """
    item = context.get_data_type(array_type.dtype)
    vector, size = ir.VectorType(item, lanes), context.get_abi_sizeof(item)
    items = context.make_array(array_type)(context, builder, value=array).nitems
    start = _pointer(context, builder, array_type, array, offset)
    with builder.goto_entry_block():
        copy = builder.alloca(vector)  # numba's own is cleared in each row, whether or not it is needed there
    goes_on = builder.icmp_signed("<=", builder.add(offset, offset.type(lanes)), items)
    with builder.if_else(goes_on, likely=True) as (inside, at_its_end):
        with inside:
            whole = builder.load(builder.bitcast(start, vector.as_pointer()), align=size)
            here = builder.block
        with at_its_end:
            builder.store(ir.Constant(vector, [0] * lanes), copy)
            target = builder.bitcast(copy, start.type)
            cgutils.raw_memcpy(builder, target, start, count, size)
            rest = builder.load(copy)
            there = builder.block
    result = builder.phi(vector)
    result.add_incoming(whole, here)
    result.add_incoming(rest, there)
    return result


def _filled(builder, count, lanes):
    """Which lanes are among the first ``count`` ≤ ``lanes``."""
    numbers = ir.Constant(ir.VectorType(_BYTE, lanes), list(range(lanes)))
    return builder.icmp_unsigned("<", numbers, _splat(builder, builder.trunc(count, _BYTE), lanes))


def _flags(builder, lanes, count):
    """Those of the first ``count`` > 0 lanes as bits."""
    bits = builder.bitcast(lanes, ir.IntType(lanes.type.count))
    bits = bits if bits.type == _INDEX else builder.zext(bits, _INDEX)
    return builder.and_(bits, builder.lshr(_INDEX(-1), builder.sub(_INDEX(_LANES), count)))


def _sum_of_lanes(builder, vector):
    zero = vector.type.element(0.0)
    signature = ir.FunctionType(zero.type, [zero.type, vector.type])
    name = f"llvm.vector.reduce.fadd.v{vector.type.count}f64"
    add = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(add, [zero, vector], fastmath=("reassoc",))


def _support_sums(lanes):
    def sums_of_support(_, level, size, n):
        sized = not isinstance(size, types.NoneType)

        def build(context, builder, signature, arguments):
            level_value, size_value, count = arguments
            first = ir.Constant(count.type, 0)
            levels = _load(context, builder, level, level_value, first, count, lanes)
            zeros = ir.Constant(levels.type, [0.0] * lanes)
            over = cgutils.alloca_once_value(builder, zeros)
            with cgutils.for_range(builder, count) as loop:
                other = builder.load(_pointer(context, builder, level, level_value, loop.index))
                above = builder.fsub(_splat(builder, other, lanes), levels)
                above = builder.select(builder.fcmp_ordered(">", above, zeros), above, zeros)
                if sized:
                    weight = builder.load(_pointer(context, builder, size, size_value, loop.index))
                    above = builder.fmul(above, _splat(builder, weight, lanes))
                builder.store(builder.fadd(builder.load(over), above), over)
            ones = ir.Constant(levels.type, [1.0] * lanes)
            inside = builder.fcmp_ordered("<", builder.load(over), ones)
            inside = builder.and_(inside, _filled(builder, count, lanes))
            sizes = _load(context, builder, size, size_value, first, count, lanes) if sized else ones
            sizes = builder.select(inside, sizes, zeros)
            sums = builder.select(inside, builder.fmul(sizes, levels), zeros), sizes
            return context.make_tuple(
                builder, signature.return_type, [_sum_of_lanes(builder, s) for s in sums]
            )

        return types.UniTuple(types.float64, 2)(level, size, types.intp), build

    return intrinsic(sums_of_support)


support_sums = _support_sums(FEW)
"""Σ size·level and Σ size of the levels, 0 < n ≤ ``FEW``, over which less than 1 lies: each ``i`` with
Σ_j size_j·max(level_j − level_i, 0) < 1; without sizes these are 1."""
few_support_sums = _support_sums(FEW // 2)
"""The same for half as many, in half of the time."""


def _where_at_least(lanes):
    def where(_, array, offset, count, floor):
        def build(context, builder, signature, arguments):
            array_value, offset_value, count_value, floor_value = arguments
            vector = _load(context, builder, array, array_value, offset_value, count_value, lanes)
            reached = builder.fcmp_ordered(">=", vector, _splat(builder, floor_value, lanes))
            return _flags(builder, reached, count_value)

        return types.uint64(array, types.intp, types.intp, array.dtype), build

    return intrinsic(where)


where_at_least = _where_at_least(_LANES)
"""64 flags: which of the ``count`` ≤ 64 numbers from ``offset`` on are at least ``floor``."""
where_few_at_least = _where_at_least(FEW)
"""The same for at most ``FEW`` numbers."""


def _where_followed(lanes):
    def where(_, array, count):
        def build(context, builder, signature, arguments):
            array_value, count_value = arguments
            first, second = (count_value.type(offset) for offset in (0, 1))
            here = _load(context, builder, array, array_value, first, count_value, lanes)
            following = _load(context, builder, array, array_value, second, count_value, lanes)
            follows = builder.icmp_signed("==", following, builder.add(here, here.type([1] * lanes)))
            return _flags(builder, follows, count_value)

        return types.uint64(array, types.intp), build

    return intrinsic(where)


where_followed = _where_followed(_LANES)
"""64 flags: which of the first ``count`` ≤ 64 integers have the next integer after them."""
where_few_followed = _where_followed(FEW)
"""The same for at most ``FEW`` integers."""


def _block_sums(context, builder, array_type, array, count, number, terms):
    """Sums over the first ``count`` numbers in blocks of ``FEW``, without a loop for what is left.

    ``terms`` makes ``number`` vectors of a block and of which lanes are filled; they are 0 in the others.
    """
    zeros = ir.Constant(ir.VectorType(ir.DoubleType(), FEW), [0.0] * FEW)
    sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(number)]
    with cgutils.for_range_slice(builder, count.type(0), count, count.type(FEW), inc=True) as (k, _):
        left = builder.sub(count, k)
        left = builder.select(builder.icmp_signed("<", left, left.type(FEW)), left, left.type(FEW))
        block = _load(context, builder, array_type, array, k, left, FEW)
        for total, term in zip(sums, terms(block, _filled(builder, left, FEW)), strict=True):
            builder.store(builder.fadd(builder.load(total), term), total)
    return [_sum_of_lanes(builder, builder.load(total)) for total in sums]


@intrinsic
def power_sums(_, z, n, t):
    """Σ v, Σ v² and Σ v³ of v = max(z + t, 0) over the first n numbers."""

    def build(context, builder, signature, arguments):
        array, count, shift = arguments
        shifts = _splat(builder, shift, FEW)
        zeros = ir.Constant(shifts.type, [0.0] * FEW)

        def powers(block, filled):
            v = builder.fadd(block, shifts)
            v = builder.select(builder.and_(builder.fcmp_ordered(">", v, zeros), filled), v, zeros)
            square = builder.fmul(v, v)
            return v, square, builder.fmul(square, v)

        totals = _block_sums(context, builder, z, array, count, 3, powers)
        return context.make_tuple(builder, signature.return_type, totals)

    return types.UniTuple(types.float64, 3)(z, types.intp, types.float64), build


@intrinsic
def sums_above(_, numbers, n, floor):
    """Σ and number of those of the first n that are above ``floor``."""

    def build(context, builder, signature, arguments):
        array, count, floor_value = arguments
        floors = _splat(builder, floor_value, FEW)
        zeros, ones = (ir.Constant(floors.type, [x] * FEW) for x in (0.0, 1.0))

        def above(block, filled):
            inside = builder.and_(builder.fcmp_ordered(">", block, floors), filled)
            return builder.select(inside, block, zeros), builder.select(inside, ones, zeros)

        totals = _block_sums(context, builder, numbers, array, count, 2, above)
        return context.make_tuple(builder, signature.return_type, totals)

    return types.UniTuple(types.float64, 2)(numbers, types.intp, types.float64), build


@intrinsic
def where_true(_, array, offset, count):
    """64 flags: which of the ``count`` ≤ 64 booleans from ``offset`` on hold."""

    def build(context, builder, signature, arguments):
        vector = _load(context, builder, array, *arguments)
        nonzero = builder.icmp_unsigned("!=", vector, _splat(builder, _BYTE(0)))
        return _flags(builder, nonzero, arguments[2])

    return types.uint64(array, types.intp, types.intp), build


@intrinsic
def first_flag(_, flags):
    """Number of the lowest flag that is set; 64 if none is."""

    def build(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.intp(types.uint64), build


@intrinsic
def count_flags(_, flags):
    def build(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), build


@intrinsic
def ordered_key(_, bits):
    """Integer that is ordered as the float with these bits; its own inverse on integers."""

    def build(context, builder, signature, arguments):
        sign = builder.ashr(arguments[0], ir.Constant(arguments[0].type, bits.bitwidth - 1))
        return builder.xor(arguments[0], builder.lshr(sign, ir.Constant(sign.type, 1)))

    return bits(bits), build


_TWINS = {types.int32: types.float32, types.int64: types.float64}
_TWINS |= {there: here for here, there in _TWINS.items()}


@intrinsic
def same_bits(_, number):
    """The float with the bits of an integer, or the integer with the bits of a float."""
    twin = _TWINS[number]

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(twin))

    return twin(number), build


@intrinsic
def atomic_add(_, numbers, i, number):
    """Add to ``numbers[i]`` so that no other thread sees it half done; return what it was before."""

    def build(context, builder, signature, arguments):
        array, offset, value = arguments
        pointer = builder.gep(context.make_array(numbers)(context, builder, value=array).data, [offset])
        return builder.atomic_rmw("add", pointer, value, "seq_cst")

    return types.int64(numbers, types.intp, types.int64), build


@intrinsic
def prefetch(_, array, offset):
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
