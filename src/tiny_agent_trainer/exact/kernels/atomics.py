# SPDX-License-Identifier: Apache-2.0
"""Numbers that several threads read and change: elements of int64 arrays, and waiting for them."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)


@intrinsic
def load(_context: Any, array: Any, place: Any) -> Any:
    """An element, with everything that was written before it was stored."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = _element(context, builder, signature, arguments)
        return builder.load_atomic(element, "seq_cst", align=8)

    return types.int64(array, types.int64), generate


@intrinsic
def store(_context: Any, array: Any, place: Any, value: Any) -> Any:
    """Change an element; who loads it sees everything that was written before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = _element(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], element, "seq_cst", align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


@intrinsic
def add(_context: Any, array: Any, place: Any, value: Any) -> Any:
    """Add to an element, and return what it was before, in one operation; as `load` and `store`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = _element(context, builder, signature, arguments)
        return builder.atomic_rmw("add", element, arguments[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), generate


@intrinsic
def give_way(_context: Any) -> Any:
    """Let another thread have the processor, if one wants it."""
    return types.void(), _calling("sched_yield", [])


@intrinsic
def sleep(_context: Any, microseconds: Any) -> Any:
    """Leave the processor for a while."""
    return types.void(types.uint32), _calling("usleep", [ir.IntType(32)])


def _calling(name: str, kinds: list[Any]) -> Callable[..., Any]:
    """Code that calls a function of the C library which returns an int."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), kinds)
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return generate


def _element(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])
