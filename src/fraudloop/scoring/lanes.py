"""Several numbers side by side, for kernels: loads, stores, + − × ÷ and comparisons of 8 or 16 of them, each one machine
instruction or a few; and tiles, several such vectors that take part in the same step.

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
from numba.core.types.containers import UniTuple
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


def _fused(builder: Any, kind: Any, name: str, values: Any) -> Any:
    # Not `fmuladd`, which may round twice where a machine has no such instruction: then the bits would depend on it.
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{name}")
    return builder.call(function, values)


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, rounded once: of lanes, or of single float32."""
    kind, name = (a.vector, f"v{a.count}f{a.dtype.bitwidth}") if isinstance(a, Lanes) else (_ELEMENTS[a], f"f{a.bitwidth}")
    return a(a, b, c), lambda context, builder, signature, values: _fused(builder, kind, name, values)


def _tile(builder: Any, kind: Any, parts: Any) -> Any:
    out = ir.Constant(kind, ir.Undefined)
    for at, part in enumerate(parts):
        out = builder.insert_value(out, part, at)
    return out


def _places(context: Any, builder: Any, signature: Any, values: Any, first: int, count: int) -> list[Any]:
    """`place + i * step` for each i, of the arguments `place` and `step` that begin at `first`."""
    place, step = (context.cast(builder, values[at], signature.args[at], types.intp) for at in (first, first + 1))
    return [builder.add(place, builder.mul(step, ir.Constant(step.type, at))) for at in range(count)]


def _element(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    return builder.load(builder.gep(context.make_array(array_type)(context, builder, array).data, [place]))


def _spreader(count: int) -> Any:
    def spread(typing: Any, array: Any, place: Any, step: Any) -> Any:
        lanes = Lanes(array.dtype, 16)

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            places = _places(context, builder, signature, values, 1, count)
            parts = [_splat(builder, lanes, _element(context, builder, signature.args[0], values[0], at)) for at in places]
            return _tile(builder, context.get_value_type(signature.return_type), parts)

        return UniTuple(lanes, count)(array, place, step), code

    return intrinsic(spread)


def _reader(count: int) -> Any:
    def read(typing: Any, array: Any, place: Any, step: Any) -> Any:
        lanes = Lanes(array.dtype, 16)

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            places = _places(context, builder, signature, values, 1, count)
            pointers = [_pointer(context, builder, signature.args[0], values[0], at, lanes.vector) for at in places]
            parts = [builder.load(pointer, align=array.dtype.bitwidth // 8) for pointer in pointers]
            return _tile(builder, context.get_value_type(signature.return_type), parts)

        return UniTuple(lanes, count)(array, place, step), code

    return intrinsic(read)


#: A tile of `n` vectors of 16: the i-th holds `array[place + i * step]` in all lanes, or the 16 values from there on. Bounds
#: are not checked.
spread8, spread16 = (_spreader(count) for count in (8, 16))
read4, read8 = (_reader(count) for count in (4, 8))


@intrinsic
def spread_fma(typing: Any, tile: Any, lanes: Any, array: Any, place: Any, step: Any) -> Any:
    """The i-th vector of a tile plus `lanes * array[place + i * step]`, rounded once; bounds are not checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = []
        for at, where in enumerate(_places(context, builder, signature, values, 3, tile.count)):
            factor = _splat(builder, lanes, _element(context, builder, signature.args[2], values[2], where))
            given = [values[1], factor, builder.extract_value(values[0], at)]
            parts.append(_fused(builder, lanes.vector, f"v{lanes.count}f{lanes.dtype.bitwidth}", given))
        return _tile(builder, context.get_value_type(signature.return_type), parts)

    return tile(tile, lanes, array, place, step), code


@intrinsic
def read_fma(typing: Any, tile: Any, lanes: Any, array: Any, place: Any, step: Any) -> Any:
    """The i-th vector of a tile plus `lanes` times the 16 values from `array[place + i * step]` on, rounded once; bounds are
    not checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = []
        for at, where in enumerate(_places(context, builder, signature, values, 3, tile.count)):
            pointer = _pointer(context, builder, signature.args[2], values[2], where, lanes.vector)
            factor = builder.load(pointer, align=lanes.dtype.bitwidth // 8)
            given = [values[1], factor, builder.extract_value(values[0], at)]
            parts.append(_fused(builder, lanes.vector, f"v{lanes.count}f{lanes.dtype.bitwidth}", given))
        return _tile(builder, context.get_value_type(signature.return_type), parts)

    return tile(tile, lanes, array, place, step), code


@intrinsic
def store_tile(typing: Any, array: Any, place: Any, step: Any, tile: Any) -> Any:
    """The i-th vector of a tile to `array[place + i * step :]`; bounds are not checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        lanes = tile.dtype
        for at, where in enumerate(_places(context, builder, signature, values, 1, tile.count)):
            pointer = _pointer(context, builder, signature.args[0], values[0], where, lanes.vector)
            builder.store(builder.extract_value(values[3], at), pointer, align=lanes.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, place, step, tile), code


@intrinsic
def turn16(typing: Any, source: Any, begin: Any, step: Any, target: Any, place: Any, stride: Any) -> Any:
    """16 × 16 values with rows and columns exchanged: `target[place + j * stride + i] = source[begin + i * step + j]`; bounds
    are not checked."""
    lanes = Lanes(source.dtype, 16)
    align = source.dtype.bitwidth // 8

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def pointers(array: int) -> list[Any]:
            places = _places(context, builder, signature, values, array + 1, 16)
            return [_pointer(context, builder, signature.args[array], values[array], at, lanes.vector) for at in places]

        rows = [builder.load(pointer, align=align) for pointer in pointers(0)]
        # Four times each pair of rows that are 8, 4, 2, 1 apart is woven: what stood at (i, j) comes to (j, i).
        for _ in range(4):
            woven = []
            for at in range(8):
                for half in (0, 8):
                    mask = [place for lane in range(half, half + 8) for place in (lane, lane + 16)]
                    woven.append(builder.shuffle_vector(rows[at], rows[at + 8], ir.Constant(ir.VectorType(_INDEX, 16), mask)))
            rows = woven
        for pointer, row in zip(pointers(3), rows, strict=True):
            builder.store(row, pointer, align=align)
        return context.get_dummy_value()

    return types.void(source, begin, step, target, place, stride), code


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
_define(operator.truediv, "fdiv")
