# SPDX-License-Identifier: Apache-2.0
"""Tasks handed out one by one, so that a thread that comes late or is slow does fewer of them."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def take(_context: Any, counter: Any) -> Any:
    """The next number, from 0, of a counter that several threads share: int64 (1,), zero at first.

    Guarantees:
        Every number is given once: reading and adding are one atomic operation.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), generate
