# SPDX-License-Identifier: Apache-2.0
"""Contractions of int16 operands, exact, rounded once to float32: products and convolutions.

Both operands are read through offsets, so that one loop serves matrices, convolutions in any number
of dimensions, and both of their gradients. Sums of pieces are added in float64, where integers
below 2^53 are exact: equation (7) of `exact/README.md`.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS, ROWS, address, dot_block
from tiny_agent_trainer.exact.kernels.handing_out import take

_BLOCKS_OF_TASK: Final = 8
"""Blocks of rows that a thread takes at once: meanwhile a panel on the right stays in cache."""

_TASKS_OF_THREAD: Final = 4
"""So that threads end at nearly the same time."""

WHOLE_PAIRS: Final = 4096
"""So many pairs of the contracted axis are worked through at once."""

PAIRS_AT_ONCE: Final = 1024
"""Longer ones in pieces of so many: what they are multiplied with then stays in cache."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """How a contraction is cut into tasks.

    Attributes:
        rows: Of a task; a multiple of ROWS.
        panels: Of a task.
        count: Of all tasks.
    """

    rows: int
    panels: int
    count: int


def column_bounds(columns: int) -> npt.NDArray[np.int64]:
    """First column of each panel, and the one behind its last; all but the last are full."""
    first = np.arange(0, columns, COLUMNS)
    return np.stack([first, np.minimum(first + COLUMNS, columns)], axis=1)


def tasks_of(rows: int, panels: int, batches: int, threads: int) -> Tasks:
    """Tasks of equal size, several for each thread if possible; they cannot change a bit."""
    blocks = -(-rows // ROWS)
    chunks = -(-blocks // _BLOCKS_OF_TASK)
    rows_of_task = -(-blocks // chunks) * ROWS
    chunks = batches * -(-rows // rows_of_task)
    wanted = 1 if threads == 1 else min(panels, -(-_TASKS_OF_THREAD * threads // chunks))
    panels_of_task = -(-panels // wanted)
    return Tasks(rows_of_task, panels_of_task, chunks * -(-panels // panels_of_task))


@kernel
def contract(
    counter: Any,
    tasks: int,
    rows_of_task: int,
    panels_of_task: int,
    left: Any,
    left_rows_M: Any,
    left_batch_B: Any,
    left_step: int,
    right: Any,
    right_panels_P: Any,
    right_batch_B: Any,
    right_step: int,
    left_segments_S: Any,
    right_segments_S: Any,
    pairs: int,
    row_power_M: Any,
    row_power_batch_B: Any,
    rows_of_power: int,
    column_power_N: Any,
    column_power_batch_B: Any,
    column_bounds_P2: Any,
    bias_N: Any,
    out: Any,
    out_rows_M: Any,
    out_batch_B: Any,
) -> None:
    """Fill out[out_batch[b] + out_rows[m] + n] with dot product (m, n) of batch b.

    Args:
        counter: From which threads take numbers of tasks, below `tasks`.
        rows_of_task, panels_of_task: See `tasks_of`.
        left, right: int16, flat, with room for one block behind the last value.
        left_rows_M, right_panels_P: Offsets of rows, and of panels of up to COLUMNS columns.
        left_batch_B, right_batch_B: Offsets of batches.
        left_step, right_step: From one pair of the contracted axis to the next.
        left_segments_S, right_segments_S: Offsets of the pieces of the contracted axis.
        pairs: Of one segment.
        row_power_M: float64 powers of two; those of batch b begin at row_power_batch[b].
        rows_of_power: Rows that share one.
        column_power_N: The same for columns.
        column_bounds_P2: The columns of each panel, first and behind the last.
        bias_N: float32, indexed like `column_power_N`, added with a rounding of its own.
        out: float32, flat.
    """
    high = np.empty((ROWS, COLUMNS), np.int32)
    places, targets = np.zeros(rows_of_task, np.int64), np.zeros(rows_of_task, np.int64)
    row_powers, column_powers = np.ones(rows_of_task), np.ones(COLUMNS)
    bias = np.zeros(COLUMNS, np.float32)
    row_count, segments, panels = len(left_rows_M), len(left_segments_S), len(right_panels_P)
    is_whole = segments * pairs <= WHOLE_PAIRS
    at_once = max(1, segments if is_whole else PAIRS_AT_ONCE // pairs)
    sums_step = 0 if at_once >= segments else panels_of_task * COLUMNS
    sums = np.empty(max(1, rows_of_task * sums_step))
    groups = (panels + panels_of_task - 1) // panels_of_task
    chunks = (row_count + rows_of_task - 1) // rows_of_task
    task = take(counter)
    while task < tasks:
        batch, rest = task // (groups * chunks), task % (groups * chunks)
        first = (rest % chunks) * rows_of_task
        first_panel = (rest // chunks) * panels_of_task
        last_panel = min(first_panel + panels_of_task, panels)
        rows = min(rows_of_task, row_count - first)
        for row in range(rows_of_task):
            chosen = min(first + row, row_count - 1)
            places[row] = left_batch_B[batch] + left_rows_M[chosen]
            row_powers[row] = row_power_M[row_power_batch_B[batch] + chosen // rows_of_power]
            targets[row] = out_batch_B[batch] + out_rows_M[chosen]
        for segment in range(0, max(segments, 1), at_once):
            for panel in range(first_panel, last_panel):
                column, width = _fill_panel(
                    column_power_N, bias_N, column_power_batch_B[batch], column_bounds_P2[panel],
                    column_powers, bias,
                )  # fmt: skip
                for row in range(0, rows, ROWS):
                    dot_block(
                        address(left, 0),
                        address(places, row),
                        address(left_segments_S, segment),
                        left_step,
                        address(right, right_batch_B[batch] + right_panels_P[panel]),
                        address(right_segments_S, segment),
                        right_step,
                        min(at_once, segments - segment),
                        pairs,
                        address(high, 0),
                        address(row_powers, row),
                        address(column_powers, 0),
                        address(bias, 0),
                        width,
                        address(out, column),
                        address(targets, row),
                        address(sums, row * sums_step + (panel - first_panel) * COLUMNS),
                        sums_step,
                        segment == 0,
                    )
        if sums_step:
            for panel in range(first_panel, last_panel):
                column, width = _fill_panel(
                    column_power_N, bias_N, column_power_batch_B[batch], column_bounds_P2[panel],
                    column_powers, bias,
                )  # fmt: skip
                for row in range(rows):
                    _round_row(
                        sums[row * sums_step + (panel - first_panel) * COLUMNS :],
                        row_powers[row],
                        column_powers,
                        bias,
                        out[targets[row] + column :],
                        width,
                    )
        task = take(counter)


@inlined
def _fill_panel(
    column_power_N: Any, bias_N: Any, begin: int, bounds_2: Any, powers: Any, bias: Any
) -> tuple[int, int]:
    """Bring what belongs to the columns of a panel together; its first column, and how many."""
    column, width = bounds_2[0], bounds_2[1] - bounds_2[0]
    for place in range(width):
        powers[place] = column_power_N[begin + column + place]
        bias[place] = bias_N[begin + column + place]
    return column, width


@inlined
def _round_row(
    sums_N: Any, power: float, powers_N: Any, bias_N: Any, out_N: Any, columns: int
) -> None:
    for column in range(np.uint64(columns)):
        out_N[column] = np.float32(sums_N[column] * (power * powers_N[column])) + bias_N[column]
