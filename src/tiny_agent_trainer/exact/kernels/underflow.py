# SPDX-License-Identifier: Apache-2.0
"""Values that a grid rounds to zero."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import kernel


@kernel
def count(start: int, stop: int, bits_BRC: Any, parts: int, largest_BC: Any, lost_BP: Any) -> None:
    """Values, as bits of float32, that are not zero and at most as large as a bound per column.

    Args:
        start: The first task; tasks are the parts of the rows of each batch.
        stop: Behind the last one.
        bits_BRC: int32.
        parts: Of each batch.
        largest_BC: Bits of the largest magnitudes that become zero, int32.
        lost_BP: Gets the counts, int64.
    """
    rows, columns = bits_BRC.shape[1:]
    for task in range(start, stop):
        batch, part = task // parts, task % parts
        lost = 0
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            in_row = np.int32(0)
            for column in range(columns):
                magnitude = bits_BRC[batch, row, column] & np.int32(0x7FFFFFFF)
                in_row += np.int32((magnitude > 0) & (magnitude <= largest_BC[batch, column]))
            lost += int(in_row)
        lost_BP[batch, part] = lost
