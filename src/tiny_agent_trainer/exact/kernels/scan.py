# SPDX-License-Identifier: Apache-2.0
"""Largest magnitudes, on the integer view of the floats: order-free, vectorised, NaN is largest."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel


@kernel
def largest_of_rows(start: int, stop: int, bits_RC: Any, largest_R: Any) -> None:
    """Bits of max|x| of each row of a float32 array seen as int32."""
    for row in range(start, stop):
        found = 0
        for column in range(bits_RC.shape[1]):
            found = max(found, bits_RC[row, column] & 0x7FFFFFFF)
        largest_R[row] = found


@kernel
def largest_of_columns(start: int, stop: int, bits_BRC: Any, parts: int, largest_BPC: Any) -> None:
    """Bits of max|x| of each column of each part of the rows of each batch.

    `start` and `stop` count parts, through all batches.
    """
    rows, columns = bits_BRC.shape[1:]
    for task in range(start, stop):
        batch, part = task // parts, task % parts
        first, last = rows * part // parts, rows * (part + 1) // parts
        if columns == 1:
            largest_BPC[batch, part, 0] = largest_of_line(bits_BRC[batch, first:last, 0])
            continue
        found_C = largest_BPC[batch, part]
        found_C[:] = 0
        for row in range(first, last):
            for column in range(columns):
                magnitude = bits_BRC[batch, row, column] & 0x7FFFFFFF
                found_C[column] = max(found_C[column], magnitude)


@inlined
def largest_of_line(bits_N: Any) -> Any:
    """Bits of max|x| of a contiguous vector."""
    found = np.int32(0)
    for place in range(np.uint64(len(bits_N))):
        found = max(found, bits_N[place] & np.int32(0x7FFFFFFF))
    return found


@kernel
def largest_of_parts(start: int, stop: int, bits_N: Any, parts: int, largest_P: Any) -> None:
    """Bits of max|x| of each part of a vector."""
    for part in range(start, stop):
        found = 0
        for place in range(len(bits_N) * part // parts, len(bits_N) * (part + 1) // parts):
            found = max(found, bits_N[place] & 0x7FFFFFFF)
        largest_P[part] = found
