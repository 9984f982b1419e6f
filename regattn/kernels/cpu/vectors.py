"""What LLVM has on every processor and numba has no words for: vectors, bits, atomics, prefetching."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LANES = 64
_BYTE, _WORD, _INDEX = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _splat(builder, value):
    vector = ir.VectorType(value.type, _LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _WORD(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_WORD, _LANES), [0] * _LANES))


def _load(context, builder, array_type, array, offset, count):
    """``count`` ≤ 64 entries as a vector of 64, zeros after them, and which lanes they fill."""
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
def where_at_least(_, array, offset, count, floor):
    """64 flags: which of the ``count`` ≤ 64 numbers from ``offset`` on are at least ``floor``."""

    def build(context, builder, signature, arguments):
        array_value, offset_value, count_value, floor_value = arguments
        vector, filled = _load(context, builder, array, array_value, offset_value, count_value)
        reached = builder.fcmp_ordered(">=", vector, _splat(builder, floor_value))
        return builder.bitcast(builder.and_(reached, filled), _INDEX)

    return types.uint64(array, types.intp, types.intp, array.dtype), build


@intrinsic
def where_true(_, array, offset, count):
    """64 flags: which of the ``count`` ≤ 64 booleans from ``offset`` on hold."""

    def build(context, builder, signature, arguments):
        vector, filled = _load(context, builder, array, *arguments)
        nonzero = builder.icmp_unsigned("!=", vector, _splat(builder, _BYTE(0)))
        return builder.bitcast(builder.and_(nonzero, filled), _INDEX)

    return types.uint64(array, types.intp, types.intp), build


@intrinsic
def first_flag(_, flags):
    """Number of the lowest flag that is set; some must be."""

    def build(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

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
