# SPDX-License-Identifier: Apache-2.0
"""Exact sums: every term rounded once to a grid, added in int64. Equations (3), (4)."""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import bits_of_float64, inlined, kernel

_ROUNDER: Final = 6755399441055744.0
"""1.5 * 2^52: adding it rounds a float64 below 2^51 to the nearest even integer."""

_ROUNDER_BITS: Final = np.int64(0x4338000000000000)


@inlined
def to_grid(x: float, scale: float) -> Any:
    """X * scale as the nearest integer, ties to even; |x * scale| < 2^51."""
    return bits_of_float64(x * scale + _ROUNDER) - _ROUNDER_BITS


@kernel
def sum_rows(start: int, stop: int, x_RC: Any, scale_R: Any, sums_R: Any) -> None:
    """Sum of each row."""
    for row in range(start, stop):
        scale, total = scale_R[row], np.int64(0)
        for column in range(x_RC.shape[1]):
            total += to_grid(np.float64(x_RC[row, column]), scale)
        sums_R[row] = total


@kernel
def sum_columns(
    start: int, stop: int, x_BRC: Any, scale_BC: Any, parts: int, sums_BPC: Any
) -> None:
    """Sum of each column of each part of the rows of each batch."""
    rows, columns = x_BRC.shape[1:]
    for task in range(start, stop):
        batch, part = task // parts, task % parts
        sums_C, scale_C = sums_BPC[batch, part], scale_BC[batch]
        sums_C[:] = 0
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            for column in range(columns):
                sums_C[column] += to_grid(np.float64(x_BRC[batch, row, column]), scale_C[column])


@kernel
def sum_parts(start: int, stop: int, x_N: Any, parts: int, scale: float, sums_P: Any) -> None:
    """Sum of each part of a vector."""
    for part in range(start, stop):
        total = np.int64(0)
        for place in range(len(x_N) * part // parts, len(x_N) * (part + 1) // parts):
            total += to_grid(np.float64(x_N[place]), scale)
        sums_P[part] = total


@kernel
def sum_squares(start: int, stop: int, x_N: Any, parts: int, scale: float, sums_P: Any) -> None:
    """Sum of the squares of each part; a square is exact in float64 before it meets the grid."""
    for part in range(start, stop):
        total = np.int64(0)
        for place in range(len(x_N) * part // parts, len(x_N) * (part + 1) // parts):
            value = np.float64(x_N[place])
            total += to_grid(value * value, scale)
        sums_P[part] = total


@kernel
def add_to_grid(start: int, stop: int, x_N: Any, scale: float, totals_N: Any) -> None:
    """Add each element to the total of its place."""
    for place in range(start, stop):
        totals_N[place] += to_grid(np.float64(x_N[place]), scale)
