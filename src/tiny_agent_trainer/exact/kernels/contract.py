# SPDX-License-Identifier: Apache-2.0
"""Contractions of int16 operands, exact, rounded once to float32: products and convolutions.

Both operands are read through offsets, so that one loop serves matrices, convolutions in any number
of dimensions, and both of their gradients. Sums of pieces are added in float64, where integers
below 2^53 are exact: equation (7) of `exact/README.md`.
"""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS, MOST_PAIRS, ROWS, address, dot_block

ROWS_OF_TASK: Final = 8 * ROWS
"""Rows that a thread takes at once: while they run, a panel of the right operand stays in cache."""


@kernel
def contract(
    start: int,
    stop: int,
    left: Any,
    left_rows_M: Any,
    left_batch_B: Any,
    left_step: int,
    right: Any,
    right_batch_B: Any,
    right_step: int,
    panel_step: int,
    left_segments_S: Any,
    right_segments_S: Any,
    pairs: int,
    row_power_M: Any,
    row_power_batch_B: Any,
    column_power_N: Any,
    column_power_batch_B: Any,
    columns: int,
    out: Any,
    out_rows_M: Any,
    out_batch_B: Any,
) -> None:
    """Fill out[out_batch[b] + out_rows[m] + n] with dot product (m, n) of batch b.

    A task is a number of rows of one batch; `start` and `stop` count tasks.

    Args:
        left, right: int16, flat, with room for one block behind the last value.
        left_rows_M, left_batch_B, right_batch_B: Offsets of rows and of batches, in values.
        left_step, right_step: From one pair of the contracted axis to the next.
        panel_step: From one group of COLUMNS columns to the next.
        left_segments_S, right_segments_S: Offsets of the pieces of the contracted axis.
        pairs: Of one segment.
        row_power_M: float64 powers of two; those of batch b begin at row_power_batch[b].
        column_power_N: The same for columns.
        columns: How many of them are written.
        out: float32, flat.
    """
    high = np.empty((ROWS, COLUMNS), np.int32)
    low = np.empty((ROWS, COLUMNS), np.int32)
    places = np.empty(ROWS, np.int64)
    row_count = len(left_rows_M)
    panels = -(-columns // COLUMNS)
    sums = np.empty((ROWS_OF_TASK, panels * COLUMNS), np.float64)
    segments = len(left_segments_S)
    at_once = max(1, MOST_PAIRS // max(pairs, 1))
    tasks_per_batch = -(-row_count // ROWS_OF_TASK)
    for task in range(start, stop):
        batch = task // tasks_per_batch
        first = (task % tasks_per_batch) * ROWS_OF_TASK
        last = min(first + ROWS_OF_TASK, row_count)
        for segment in range(0, max(segments, 1), at_once):
            now = min(at_once, segments - segment)
            for panel in range(panels):
                begin = right_batch_B[batch] + panel * panel_step
                for block in range(first, last, ROWS):
                    for row in range(ROWS):
                        chosen = min(block + row, row_count - 1)
                        places[row] = left_batch_B[batch] + left_rows_M[chosen]
                    dot_block(
                        address(left, 0),
                        address(places, 0),
                        address(left_segments_S, segment),
                        left_step,
                        address(right, begin),
                        address(right_segments_S, segment),
                        right_step,
                        now,
                        pairs,
                        address(high, 0),
                        address(low, 0),
                    )
                    _add_block(
                        sums, block - first, panel * COLUMNS, high, low, is_first=segment == 0
                    )
        for row in range(first, last):
            _round_row(
                sums[row - first],
                row_power_M[row_power_batch_B[batch] + row],
                column_power_N[column_power_batch_B[batch] :],
                out[out_batch_B[batch] + out_rows_M[row] :],
                columns,
            )


@inlined
def _add_block(sums: Any, row: int, column: int, high: Any, low: Any, is_first: bool) -> None:
    for i in range(ROWS):
        for j in range(COLUMNS):
            value = np.float64(high[i, j]) * 65536.0 + np.float64(low[i, j])
            if is_first:
                sums[row + i, column + j] = value
            else:
                sums[row + i, column + j] += value


@inlined
def _round_row(sums_N: Any, power: float, powers_N: Any, out_N: Any, columns: int) -> None:
    for column in range(columns):
        out_N[column] = np.float32(sums_N[column] * (power * powers_N[column]))
