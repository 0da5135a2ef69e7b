# SPDX-License-Identifier: Apache-2.0
"""Contractions of int16 operands, exact, rounded once to float32: products and convolutions.

Both operands are read through offsets, so that one loop serves matrices, convolutions in any number
of dimensions, and both of their gradients. Sums of pieces are added in float64, where integers
below 2^53 are exact: equation (7) of `exact/README.md`.
"""

import functools
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


FIRST_ROW, ROW_COUNT, ROWS_OF_POWER, FIRST_SEGMENT, SEGMENT_COUNT, PAIRS = range(6)
"""Columns of a table of parts: rows, those that share a power, segments, pairs of one segment."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """How a contraction is cut into tasks.

    Attributes:
        count: Of all tasks.
        rows: Of a task; a multiple of ROWS.
        panels: Of a task.
        bounds_Q1: First task of each part, and their number.
    """

    count: int
    rows: int
    panels: int
    bounds_Q1: npt.NDArray[np.int64]


@functools.lru_cache(maxsize=1024)
def column_bounds(columns: int) -> npt.NDArray[np.int64]:
    """First column of each panel, and the one behind its last; all but the last are full."""
    first = np.arange(0, columns, COLUMNS)
    return np.stack([first, np.minimum(first + COLUMNS, columns)], axis=1)


@functools.lru_cache(maxsize=1024)
def one_part(rows: int, rows_of_power: int, segments: int, pairs: int) -> "Parts":
    """Of a contraction whose rows all have one contracted axis."""
    return Parts(np.array([[0, rows, rows_of_power, 0, segments, pairs]]))


class Parts:
    """Parts of the rows that have a contracted axis of their own.

    Attributes:
        table_Q6: int64; columns as named above.
        most_pairs: Of a segment.
    """

    def __init__(self, table_Q6: npt.NDArray[np.int64]) -> None:
        self.table_Q6 = table_Q6
        self.most_pairs = int(table_Q6[:, PAIRS].max(initial=0))
        self._cut: dict[tuple[int, int, int], Tasks] = {}

    def tasks(self, panels: int, batches: int, threads: int) -> Tasks:
        """Tasks of equal size, several for each thread if possible; they cannot change a bit."""
        found = self._cut.get((panels, batches, threads))
        if found is None:
            found = self._cut[panels, batches, threads] = self._tasks(panels, batches, threads)
        return found

    def _tasks(self, panels: int, batches: int, threads: int) -> Tasks:
        rows_Q = self.table_Q6[:, ROW_COUNT]
        blocks = -(-int(rows_Q.max()) // ROWS)
        rows = -(-blocks // -(-blocks // _BLOCKS_OF_TASK)) * ROWS
        chunks_Q = batches * -(-rows_Q // rows)
        enough = -(-_TASKS_OF_THREAD * threads // int(chunks_Q.sum()))
        panels_of_task = -(-panels // (1 if threads == 1 else min(panels, enough)))
        tasks_Q = chunks_Q * -(-panels // panels_of_task)
        bounds_Q1 = np.concatenate([[0], np.cumsum(tasks_Q)])
        return Tasks(int(bounds_Q1[-1]), rows, panels_of_task, bounds_Q1)


@kernel
def contract(
    counter: Any,
    tasks: int,
    rows_of_task: int,
    panels_of_task: int,
    task_bounds_Q1: Any,
    parts_Q6: Any,
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
    row_power_M: Any,
    row_power_batch_B: Any,
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
        rows_of_task, panels_of_task, task_bounds_Q1: See `Tasks`.
        parts_Q6: See `Parts`.
        left, right: int16, flat, with room for one block behind the last value.
        left_rows_M, right_panels_P: Offsets of rows, and of panels of up to COLUMNS columns.
        left_batch_B, right_batch_B: Offsets of batches.
        left_step, right_step: From one pair of the contracted axis to the next.
        left_segments_S, right_segments_S: Offsets of the pieces of contracted axes.
        row_power_M: float64 powers of two; those of batch b begin at row_power_batch[b], and so
            many rows of a part share one.
        column_power_N: The same for columns.
        column_bounds_P2: The columns of each panel, first and behind the last.
        bias_N: float32, indexed like `column_power_N`, added with a rounding of its own.
        out: float32, flat.
    """
    high = np.empty((ROWS, COLUMNS), np.int32)
    places, targets = np.zeros(rows_of_task, np.int64), np.zeros(rows_of_task, np.int64)
    row_powers, column_powers = np.ones(rows_of_task), np.ones(COLUMNS)
    bias = np.zeros(COLUMNS, np.float32)
    panels = len(right_panels_P)
    sums = np.empty(rows_of_task * panels_of_task * COLUMNS if _is_cut(parts_Q6) else 1)
    groups = (panels + panels_of_task - 1) // panels_of_task
    part = 0
    task = take(counter)
    while task < tasks:
        while task >= task_bounds_Q1[part + 1]:
            part += 1
        row_count, segments, pairs = (
            parts_Q6[part, ROW_COUNT],
            parts_Q6[part, SEGMENT_COUNT],
            parts_Q6[part, PAIRS],
        )
        first_of_part, first_segment = parts_Q6[part, FIRST_ROW], parts_Q6[part, FIRST_SEGMENT]
        at_once = _segments_at_once(segments, pairs)
        sums_step = 0 if at_once >= segments else panels_of_task * COLUMNS
        chunks = (row_count + rows_of_task - 1) // rows_of_task
        inside = task - task_bounds_Q1[part]
        batch, rest = inside // (groups * chunks), inside % (groups * chunks)
        first = (rest % chunks) * rows_of_task
        first_panel = (rest // chunks) * panels_of_task
        last_panel = min(first_panel + panels_of_task, panels)
        rows = min(rows_of_task, row_count - first)
        for row in range(rows_of_task):
            chosen = min(first + row, row_count - 1)
            power = row_power_batch_B[batch] + chosen // parts_Q6[part, ROWS_OF_POWER]
            row_powers[row] = row_power_M[power]
            places[row] = left_batch_B[batch] + left_rows_M[first_of_part + chosen]
            targets[row] = out_batch_B[batch] + out_rows_M[first_of_part + chosen]
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
                        address(left_segments_S, first_segment + segment),
                        left_step,
                        address(right, right_batch_B[batch] + right_panels_P[panel]),
                        address(right_segments_S, first_segment + segment),
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
def _segments_at_once(segments: int, pairs: int) -> int:
    """How many are worked through before the next panel: what they are multiplied with stays."""
    is_whole = segments * pairs <= WHOLE_PAIRS
    return max(1, segments if is_whole else PAIRS_AT_ONCE // pairs)


@inlined
def _is_cut(parts_Q6: Any) -> bool:
    """Whether a part is worked through in pieces."""
    for part in range(len(parts_Q6)):
        segments = parts_Q6[part, SEGMENT_COUNT]
        if _segments_at_once(segments, parts_Q6[part, PAIRS]) < segments:
            return True
    return False


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
