"""Four float64 side by side, for kernels: `load`, `store`, `splat` and + − × of them, each one machine instruction or two.

Numba turns loops over rows into such instructions, but not four values that belong together in a longer piece of code.
Every lane is the IEEE operation, so the bits are those of four scalars. It knows no tree and no model.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.extending import type_callable
from numba.extending import intrinsic, lower_builtin, register_model

_LANES = 4
_VECTOR = ir.VectorType(ir.DoubleType(), _LANES)


class Quad(types.Type):
    """The type of four float64 within a kernel; it never leaves one."""

    def __init__(self) -> None:
        super().__init__("Quad")


_quad = Quad()


@register_model(Quad)
class _QuadModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        super().__init__(manager, frontend, _VECTOR)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


@intrinsic
def load(typing: Any, array: Any, place: Any) -> Any:
    """`array[place : place + 4]` of a contiguous float64 array; bounds are not checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        return builder.load(_pointer(context, builder, signature.args[0], values[0], at), align=8)

    return _quad(array, place), code


@intrinsic
def store(typing: Any, array: Any, place: Any, quad: Any) -> Any:
    """`array[place : place + 4] = quad`; bounds are not checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        builder.store(values[2], _pointer(context, builder, signature.args[0], values[0], at), align=8)
        return context.get_dummy_value()

    return types.void(array, place, quad), code


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """The same value in all four."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        empty = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(empty, values[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))

    return _quad(types.float64), code


def _define(operation: Any, instruction: str) -> None:
    @type_callable(operation)
    def _(context: Any) -> Any:
        return lambda a, b: _quad if isinstance(a, Quad) and isinstance(b, Quad) else None

    @lower_builtin(operation, Quad, Quad)
    def _(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return getattr(builder, instruction)(*values)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
