# SPDX-License-Identifier: Apache-2.0
"""Copies of an array into another order of its axes."""

from typing import Any, Final

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel

LINES: Final = 32
"""That one task copies."""

_COLUMNS: Final = 16
"""Copied of every line before the next: what is read beside them is still in cache then."""


@kernel
def copy(
    start: int, stop: int, source: Any, target: Any, sizes_4: Any, here_4: Any, there_4: Any
) -> None:
    """Fill the target.

    Args:
        start, stop: Groups of LINES, counted through the two outermost axes.
        source, target: Flat, of one type.
        sizes_4: int64; lengths of the axes, of which the third counts lines.
        here_4, there_4: int64; steps along the axes of source and target.
    """
    _, blocks, lines, columns = sizes_4
    groups = (lines + LINES - 1) // LINES
    is_plain = here_4[3] == 1 and there_4[3] == 1
    for task in range(start, stop):
        outer, first = task // groups, task % groups * LINES
        a, b, count = outer // blocks, outer % blocks, min(LINES, lines - first)
        here = a * here_4[0] + b * here_4[1] + first * here_4[2]
        there = a * there_4[0] + b * there_4[1] + first * there_4[2]
        if is_plain:
            for line in range(count):
                _copy_line(
                    source, here + line * here_4[2], target, there + line * there_4[2], columns
                )
        else:
            for column in range(0, columns, _COLUMNS):
                _copy_tile(
                    source, here + column * here_4[3], here_4[2], here_4[3],
                    target, there + column * there_4[3], there_4[2], there_4[3],
                    count, min(_COLUMNS, columns - column),
                )  # fmt: skip


@intrinsic
def _copy_line(_context: Any, source: Any, here: Any, target: Any, there: Any, columns: Any) -> Any:
    """Neighbouring elements; LLVM would copy fewer than 32 one by one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, begin, second, end, count = arguments
        kinds = signature.args[0], signature.args[2]
        arrays = [
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(kinds, (first, second), strict=True)
        ]
        cgutils.raw_memcpy(
            builder, builder.gep(arrays[1].data, [end]), builder.gep(arrays[0].data, [begin]),
            count, arrays[0].itemsize,
        )  # fmt: skip
        return context.get_dummy_value()

    number = types.int64
    return types.void(source, number, target, number, number), generate


@inlined
def _copy_tile(
    source: Any,
    here: int,
    line_here: int,
    column_here: int,
    target: Any,
    there: int,
    line_there: int,
    column_there: int,
    lines: int,
    columns: int,
) -> None:
    """The longer of two steps is the outer one: short steps stay on the same lines of cache."""
    if line_there < column_here:
        for column in range(columns):
            for line in range(lines):
                place = np.uint64(there + line * line_there + column * column_there)
                target[place] = source[np.uint64(here + line * line_here + column * column_here)]
    else:
        for line in range(lines):
            for column in range(columns):
                place = np.uint64(there + line * line_there + column * column_there)
                target[place] = source[np.uint64(here + line * line_here + column * column_here)]
