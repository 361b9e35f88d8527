"""Plain pointers for kernel code: int64 and float64 memory without bounds, shapes or reference counts.

Passing an array between compiled functions costs a count of its references and 56 bytes of shape; the fold passes its
memory some hundred times an event. With a pointer in its place the fold is about fifteen times as fast (measured on
the Handbook table) and compiles in a third of the time. What keeps the memory alive is the `Fold` that owns it.

Compiled functions give `Any` as what they return: an int64 or uint64 of the kernel is no type that a checker knows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def words(typing_context: Any, address: Any) -> Any:
    """A pointer to int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(64).as_pointer())

    return types.CPointer(types.int64)(types.int64), generate


@intrinsic
def reals(typing_context: Any, address: Any) -> Any:
    """A pointer to float64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.int64), generate


@intrinsic
def row(typing_context: Any, pointer: Any, offset: Any) -> Any:
    """The pointer moved on by so many items."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), generate


@intrinsic
def prefetch(typing_context: Any, pointer: Any, offset: Any) -> Any:
    """Ask for the cache line of an item that will soon be read; no effect but on time."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        hint = builder.module.declare_intrinsic("llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]))
        builder.call(hint, [builder.bitcast(builder.gep(args[0], [args[1]]), byte), flag(1), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.none(pointer, types.int64), generate
