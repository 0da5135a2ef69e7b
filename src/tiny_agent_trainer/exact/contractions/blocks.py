# SPDX-License-Identifier: Apache-2.0
"""Exponents of the blocks of operands. Equation (1) of `exact/README.md`."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions.geometry import KEPT
from tiny_agent_trainer.exact.kernels import operands, scan

Exponents: TypeAlias = npt.NDArray[np.int32]
Powers: TypeAlias = npt.NDArray[np.float64]

_NARROW = 64
"""Columns below which a row is too short for vector registers, so that several become one."""

_FOLDS = 64
"""At most so many; a power of two."""

_VALUES_OF_PART = 1 << 15
"""Values that one task scans."""

_ROWS_OF_PART = 512
"""Rows that one task scans, so that few columns still occupy all threads."""


def of_rows(x_RK: npt.NDArray[np.float32], what: str) -> Exponents:
    """One exponent per row of a contiguous array."""
    largest_R = np.zeros(len(x_RK), np.int32)
    if x_RK.size:
        threads.run(scan.largest_of_rows, len(x_RK), x_RK.view(np.int32), largest_R)
    return _exponents(largest_R, what)


def of_columns(x_BRC: npt.NDArray[np.float32], what: str) -> Exponents:
    """One exponent per batch and column of a contiguous array."""
    return _exponents(largest_of_columns(x_BRC), what)


def of_samples(x_NDHWC: npt.NDArray[np.float32], what: str) -> Exponents:
    """One exponent per sample."""
    return of_rows(x_NDHWC.reshape(len(x_NDHWC), -1), what)


def of_channels(x_NDHWC: npt.NDArray[np.float32], what: str) -> Exponents:
    """One exponent per channel, the last axis."""
    return of_columns(x_NDHWC.reshape(1, -1, x_NDHWC.shape[-1]), what).reshape(-1)


def of_weight(weight: torch.Tensor, groups: int, what: str) -> tuple[Exponents, Exponents]:
    """Exponents per output channel (O,) and per group and input channel (groups, C / groups)."""
    flat = grids.as_float32(weight.contiguous()).reshape(weight.shape[0] * weight.shape[1], -1)
    largest = np.zeros(len(flat), np.int32)
    if flat.size:
        threads.run(scan.largest_of_rows, len(flat), flat.view(np.int32), largest)
    largest_GOC = largest.reshape(groups, -1, weight.shape[1])
    by_output = largest_GOC.max(axis=2, initial=0).reshape(-1)
    return _exponents(by_output, what), _exponents(largest_GOC.max(axis=1, initial=0), what)


def bias_of(bias: torch.Tensor | None, columns: int) -> npt.NDArray[np.float32]:
    """A bias as an array; minus zeros, which change no number that they are added to, for none."""
    return _no_bias(columns) if bias is None else grids.as_float32(bias.contiguous())


@functools.lru_cache(maxsize=KEPT)
def _no_bias(columns: int) -> npt.NDArray[np.float32]:
    return np.full(columns, -0.0, np.float32)


def packed(
    pack: Callable[..., None],
    x_BRC: npt.NDArray[np.float32],
    values: npt.NDArray[np.int16],
    tasks: int,
    *rest: Any,  # noqa: ANN401  # arrays and integers, as `pack` wants them
    shape: tuple[int, ...],
    what: str,
    is_filled: bool,
    taps: int = 1,
) -> Powers:
    """Round an operand to its grids, into `values`; see `kernels/operands.py`.

    Args:
        pack: From `kernels/pack.py`.
        x_BRC: Contiguous.
        values: Flat.
        tasks: Of `pack`.
        rest: For `pack`.
        shape: Of the grids, as `pack` and the caller see them; as many for every batch.
        what: Names the operand in an error.
        is_filled: Whether `pack` writes everything that is read; else the rest becomes zero.
        taps: Neighbouring columns of one block.

    Returns:
        What an integer of each block stands for.

    Raises:
        NotFiniteError: x holds NaN or infinity.
    """
    batches, rows, columns = x_BRC.shape
    folds = _folds_of(rows, columns)
    x_BRC = x_BRC.reshape(batches, rows // folds, folds * columns)
    parts = max(1, min(rows // folds, -(-rows * columns // _VALUES_OF_PART)))
    scale, power = np.empty(shape, np.float32), np.empty(shape)
    fault = np.zeros(1, np.int64)
    threads.together(
        operands.kernel_of(pack), operands.PHASES, x_BRC,
        np.empty((batches, parts, folds * columns), np.int32), taps, grids.CONTRACTION_BITS,
        grids.CONTRACTION_FLOOR, scale.reshape(batches, -1), power.reshape(batches, -1), fault,
        values[:0] if is_filled else values, tasks, scale, *rest,
    )  # fmt: skip
    if fault[0]:
        raise grids.not_finite(what)
    return power


def powers(exponents: Exponents) -> npt.NDArray[np.float64]:
    """What an integer stands for: 2^(e - 13), exactly."""
    return np.ldexp(1.0, exponents - (grids.CONTRACTION_BITS - 1))


def largest_of_columns(x_BRC: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Bits of max|x| of each column of each batch."""
    batches, rows, columns = x_BRC.shape
    folds = _folds_of(rows, columns)
    if folds > 1:
        folded = largest_of_columns(x_BRC.reshape(batches, rows // folds, folds * columns))
        return np.asarray(folded.reshape(batches, folds, columns).max(axis=1))
    parts = parts_of(rows)
    largest_BPC = np.zeros((batches, parts, columns), np.int32)
    if x_BRC.size:
        bits = x_BRC.view(np.int32)
        threads.run(scan.largest_of_columns, batches * parts, bits, parts, largest_BPC)
    largest_BC: npt.NDArray[np.int32] = largest_BPC.max(axis=1)
    return largest_BC


def _folds_of(rows: int, columns: int) -> int:
    """How many rows of narrow columns become one; a single column is scanned as a line."""
    return math.gcd(rows, _FOLDS) if 1 < columns < _NARROW else 1


def parts_of(rows: int) -> int:
    """Into how many tasks the rows of an array are cut."""
    return max(1, -(-rows // _ROWS_OF_PART))


def _exponents(largest: npt.NDArray[np.int32], what: str) -> Exponents:
    return grids.exponents(largest, grids.CONTRACTION_FLOOR, what)
