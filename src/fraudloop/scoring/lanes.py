"""Several numbers side by side, for kernels: loads, stores, + − × and comparisons of 8 or 16 of them, each one machine
instruction or a few.

Numba turns simple loops over rows into such instructions, but not values that belong together in a longer piece of
code, nor loops so short that they are unrolled first. Every lane is the IEEE operation, so the bits are those of scalars; where
the machine has narrower registers the compiler splits. It knows no tree and no model.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.extending import type_callable
from numba.extending import intrinsic, lower_builtin, register_model

_ELEMENTS = {
    types.float64: ir.DoubleType(), types.float32: ir.FloatType(), types.uint64: ir.IntType(64), types.int64: ir.IntType(64), types.uint32: ir.IntType(32),
    types.boolean: ir.IntType(1),
}  # fmt: skip
_INDEX = ir.IntType(32)
_MASKS: dict[int, Any] = {8: types.uint8, 16: types.uint16}


class Lanes(types.Type):
    """The type of `count` values of `dtype` within a kernel; it never leaves one."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(f"Lanes({dtype}, {count})")

    @property
    def vector(self) -> Any:
        return ir.VectorType(_ELEMENTS[self.dtype], self.count)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        super().__init__(manager, frontend, frontend.vector)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any, vector: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())


def _splat(builder: Any, lanes: Any, value: Any) -> Any:
    empty = ir.Constant(lanes.vector, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_INDEX, lanes.count), [0] * lanes.count))


def _load(array: Any, place: Any, count: int, *more: Any) -> Any:
    lanes = Lanes(array.dtype, count)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        return builder.load(_pointer(context, builder, signature.args[0], values[0], at, lanes.vector), align=array.dtype.bitwidth // 8)

    return lanes(array, place, *more), code


@intrinsic
def load16(typing: Any, array: Any, place: Any) -> Any:
    """`array[place : place + 16]` of a contiguous array; bounds are not checked."""
    return _load(array, place, 16)


@intrinsic
def splat16(typing: Any, value: Any) -> Any:
    """The same value in sixteen lanes."""
    lanes = Lanes(value, 16)
    return lanes(value), lambda context, builder, signature, values: _splat(builder, lanes, values[0])


@intrinsic
def load_for(typing: Any, array: Any, place: Any, every: Any) -> Any:
    """`array[place : place + n]` of a contiguous array, n the bits of `every`: a kernel's width is a matter of its type."""
    return _load(array, place, every.bitwidth, every)


@intrinsic
def splat_for(typing: Any, value: Any, every: Any) -> Any:
    """The same value in as many lanes as `every` has bits."""
    lanes = Lanes(value, every.bitwidth)
    return lanes(value, every), lambda context, builder, signature, values: _splat(builder, lanes, values[0])


@intrinsic
def width(typing: Any, every: Any) -> Any:
    """How many bits it has, known to the compiler."""
    return types.intp(every), lambda context, builder, signature, values: ir.Constant(ir.IntType(64), every.bitwidth)


@intrinsic
def store(typing: Any, array: Any, place: Any, lanes: Any) -> Any:
    """`array[place : place + n] = lanes`; bounds are not checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        where = _pointer(context, builder, signature.args[0], values[0], at, lanes.vector)
        builder.store(values[2], where, align=lanes.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, place, lanes), code


def _comparison(relation: str, *, missing: bool) -> Any:
    def compare(typing: Any, lanes: Any, bound: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            instruction = builder.fcmp_unordered if missing else builder.fcmp_ordered
            return instruction(relation, values[0], _splat(builder, lanes, values[1]))

        return Lanes(types.boolean, lanes.count)(lanes, bound), code

    return intrinsic(compare)


#: By lane `value < bound` or `value <= bound`: false where the value is missing, or true.
below, below_or_missing = (_comparison("<", missing=missing) for missing in (False, True))
at_most, at_most_or_missing = (_comparison("<=", missing=missing) for missing in (False, True))


@intrinsic
def less(typing: Any, lanes: Any, bound: Any) -> Any:
    """By lane `value < bound` of signed integers."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.icmp_signed("<", values[0], _splat(builder, lanes, values[1]))

    return Lanes(types.boolean, lanes.count)(lanes, bound), code


@intrinsic
def add_product(typing: Any, one: Any, other: Any, addend: Any) -> Any:
    """By lane `one * other + addend`, rounded once: IEEE's fusedMultiplyAdd, so the same bits also where a machine has to call a function for it."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(one.vector, [one.vector] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{one.count}f{one.dtype.bitwidth}")
        return builder.call(function, values)

    return one(one, other, addend), code


@intrinsic
def pack(typing: Any, flags: Any) -> Any:
    """Flags as the bits of an unsigned integer, the first the lowest."""
    return _MASKS[flags.count](flags), lambda context, builder, signature, values: builder.bitcast(values[0], ir.IntType(flags.count))


@intrinsic
def unpack(typing: Any, bits: Any, every: Any) -> Any:
    """The bits of an integer as flags, as many as `every` has bits."""
    flags = Lanes(types.boolean, every.bitwidth)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(context.cast(builder, values[0], signature.args[0], signature.args[1]), flags.vector)

    return flags(bits, every), code


@intrinsic
def choose(typing: Any, flags: Any, one: Any, other: Any) -> Any:
    """By lane `one` where the flag is set, else `other`."""
    return one(flags, one, other), lambda context, builder, signature, values: builder.select(*values)


@intrinsic
def strike(typing: Any, bits: Any, spared: Any, mask: Any) -> Any:
    """By lane `bits & mask`; `bits` where spared."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(values[1], values[0], builder.and_(values[0], _splat(builder, bits, values[2])))

    return bits(bits, spared, mask), code


@intrinsic
def pick(typing: Any, array: Any, begin: Any, bits: Any) -> Any:
    """By lane `array[begin + place of the lowest bit that is set]`; there must be one, and bounds are not checked."""
    lanes = Lanes(array.dtype, bits.count)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        data = builder.gep(context.make_array(signature.args[0])(context, builder, values[0]).data, [at])
        kind = ir.FunctionType(bits.vector, [bits.vector, ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, kind, f"llvm.cttz.v{bits.count}i{bits.dtype.bitwidth}")
        places = builder.call(count, [values[2], ir.Constant(ir.IntType(1), 1)])
        out = ir.Constant(lanes.vector, ir.Undefined)
        for lane in range(bits.count):
            index = ir.Constant(_INDEX, lane)
            place = builder.extract_element(places, index)
            place = builder.zext(place, ir.IntType(64)) if bits.dtype.bitwidth < 64 else place
            out = builder.insert_element(out, builder.load(builder.gep(data, [place])), index)
        return out

    return lanes(array, begin, bits), code


def _define(operation: Callable[..., Any], instruction: str) -> None:
    @type_callable(operation)
    def _(context: Any) -> Any:
        return lambda a, b: a if isinstance(a, Lanes) and a == b else None

    @lower_builtin(operation, Lanes, Lanes)
    def _(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return getattr(builder, instruction)(*values)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
