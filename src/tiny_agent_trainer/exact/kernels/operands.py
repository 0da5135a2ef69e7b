# SPDX-License-Identifier: Apache-2.0
"""Operands of contractions in one call: scanned, put on their grids, packed. Equation (1).

A block is a column of (B, R, C) of its batch, or several neighbouring ones together: the columns of
a block repeat every F times `taps` columns.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels import scan
from tiny_agent_trainer.exact.kernels.blocks import (
    NOT_FINITE,
    exponent_of,
    power_as_float32,
    power_as_float64,
)
from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel
from tiny_agent_trainer.exact.kernels.handing_out import phase

PHASES: Final = 3

_CLEARED: Final = 1 << 15
"""Values that one task fills with zeros."""


def fill(*_: Any) -> None:
    """The phase that packs; bound anew in every kernel."""
    raise NotImplementedError


@functools.cache
def kernel_of(pack: Callable[..., None]) -> Callable[..., None]:
    """The kernel that ends with one of the functions of `pack.py`."""
    made = types.FunctionType(_operand.__code__, globals() | {"fill": phase(pack)}, "operand")
    made.__qualname__ = f"operand-{pack.__name__}"
    return kernel(made)


def _operand(
    progress_P2: Any,
    x_BRC: Any,
    largest_BPC: Any,
    taps: int,
    bits: int,
    floor: int,
    scale_BF: Any,
    power_BF: Any,
    fault: Any,
    values: Any,
    tasks: int,
    scale: Any,
    *rest: Any,
) -> None:
    """Fill `scale` and `power`, and with them what `pack` is given in `rest`.

    Args:
        progress_P2: See `handing_out`.
        x_BRC: float32.
        largest_BPC: int32; room for what is found in P parts of the rows.
        taps: Neighbouring columns of one block.
        bits: Significant bits of an operand.
        floor: Smallest exponent.
        scale_BF: float32; what a value is multiplied by to become an integer.
        power_BF: float64; what an integer stands for.
        fault: int64 (1,); 1 where x holds NaN or infinity.
        values: int16, flat; what becomes zero before `pack` writes.
        tasks: Of `pack`.
        scale: The memory of `scale_BF` in the shape in which `pack` reads it.
        rest: For `pack`, after `start`, `stop` and `scale`.
    """
    scans = largest_BPC.shape[0] * largest_BPC.shape[1]
    pieces = (len(values) + _CLEARED - 1) // _CLEARED
    _scan_and_clear(progress_P2[0], scans + pieces, scans, x_BRC, largest_BPC, values)
    _choose(progress_P2[1], 1, largest_BPC, taps, bits, floor, scale_BF, power_BF, fault)
    if not fault[0]:
        fill(progress_P2[2], tasks, scale, *rest)


@phase
@inlined
def _scan_and_clear(
    start: int, stop: int, scans: int, x_BRC: Any, largest_BPC: Any, values: Any
) -> None:
    scan.largest_of_columns(
        min(start, scans),
        min(stop, scans),
        x_BRC.view(np.int32),
        largest_BPC.shape[1],
        largest_BPC,
    )
    values[max(start - scans, 0) * _CLEARED : max(stop - scans, 0) * _CLEARED] = 0


@phase
@inlined
def _choose(
    _start: int,
    _stop: int,
    largest_BPC: Any,
    taps: int,
    bits: int,
    floor: int,
    scale_BF: Any,
    power_BF: Any,
    fault: Any,
) -> None:
    """The grid of each block."""
    batches, parts, columns = largest_BPC.shape
    blocks = scale_BF.shape[1]
    for batch in range(batches):
        largest_F = np.zeros(blocks, np.int32)
        for part in range(parts):
            column = 0
            for _ in range(columns // (blocks * taps)):
                for block in range(blocks):
                    for _ in range(taps):
                        largest_F[block] = max(largest_F[block], largest_BPC[batch, part, column])
                        column += 1
        for block in range(blocks):
            if largest_F[block] >= NOT_FINITE:
                fault[0] = 1
            exponent = exponent_of(min(largest_F[block], NOT_FINITE - 1), floor)
            scale_BF[batch, block] = power_as_float32(bits - 1 - exponent)
            power_BF[batch, block] = power_as_float64(exponent - (bits - 1))
