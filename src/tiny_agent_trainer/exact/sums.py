# SPDX-License-Identifier: Apache-2.0
"""Sums whose order cannot matter, of arrays in memory. Equations (3) and (4) of README.md."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.kernels import scan, sums

_PART: Final = 1 << 14
"""Values that one task adds up where a single long sum has to occupy all threads."""


def of_rows(x_RC: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float32]:
    """The sum of each row of a contiguous array, rounded once.

    Raises:
        NotFiniteError: A row holds NaN or infinity.
    """
    rows = len(x_RC)
    totals_R = np.zeros(rows, np.int64)
    if not x_RC.size:
        return totals_R.astype(np.float32)
    shift_R = _shifts_of_rows(x_RC, what)
    threads.run(sums.sum_rows, rows, x_RC, grids.powers(shift_R), totals_R)
    return rounded(totals_R, shift_R)


def running(x_RC: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float32]:
    """The sums of each row up to each of its values, on the row's grid; the last is its sum.

    Raises:
        NotFiniteError: A row holds NaN or infinity.
    """
    shift_R = _shifts_of_rows(x_RC, what)
    terms_RC = np.rint(x_RC * grids.powers(shift_R)[:, None]).astype(np.int64)
    return rounded(np.cumsum(terms_RC, axis=1), shift_R[:, None])


def _shifts_of_rows(x_RC: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.int32]:
    """For each row the power of two that brings its values to the grid of their sum."""
    rows, columns = x_RC.shape
    largest_R = np.zeros(rows, np.int32)
    threads.run(scan.largest_of_rows, rows, x_RC.view(np.int32), largest_R)
    shift_R: npt.NDArray[np.int32] = grids.sum_bits(columns) - grids.exponents(
        largest_R, grids.SUM_FLOOR, what
    )
    return shift_R


def of_columns(x_BRC: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float32]:
    """The sum of each column of each batch of a contiguous array, (B, C), rounded once.

    Raises:
        NotFiniteError: A column holds NaN or infinity.
    """
    batches, rows, columns = x_BRC.shape
    if not x_BRC.size:
        return np.zeros((batches, columns), np.float32)
    largest_BC = blocks.largest_of_columns(x_BRC)
    shift_BC = grids.sum_bits(rows) - grids.exponents(largest_BC, grids.SUM_FLOOR, what)
    parts = blocks.parts_of(rows)
    totals_BPC = np.empty((batches, parts, columns), np.int64)
    threads.run(sums.sum_columns, batches * parts, x_BRC, grids.powers(shift_BC), parts, totals_BPC)
    return rounded(totals_BPC.sum(axis=1), shift_BC)


def total(values: npt.NDArray[np.float32], what: str = "a sum") -> np.float32:
    """The sum of all values, rounded once.

    Raises:
        NotFiniteError: One of them is NaN or infinite.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    shift = np.int32(grids.sum_bits(len(flat)) - exponent(flat, what))
    return np.float32(rounded(np.asarray(_add_parts(sums.sum_parts, flat, shift)), shift))


def largest_of_spans(
    vectors: list[npt.NDArray[np.float32]], spans: list[slice], what: str
) -> npt.NDArray[np.int32]:
    """Bits of the largest magnitude of each span of all vectors.

    Raises:
        NotFiniteError: One of them holds NaN or infinity.
    """
    largest = np.zeros(len(spans), np.int32)
    for vector in vectors:
        here = np.array([_largest(vector[span]) for span in spans], np.int32)
        largest = np.maximum(largest, here)
    grids.exponents(largest, grids.SUM_FLOOR, what)
    return largest


def shard_shifts(largest: npt.NDArray[np.int32], shards: int, what: str) -> npt.NDArray[np.int32]:
    """For each span the power of two that brings gradients of so many shards to their grid."""
    bits = grids.sum_bits(shards, grids.SHARD_BITS)
    return (bits - grids.exponents(largest, grids.SUM_FLOOR, what)).astype(np.int32)


def add_on_grid(
    vectors: list[npt.NDArray[np.float32]], span: slice, shift: np.int32
) -> npt.NDArray[np.int64]:
    """The element-wise sum of one span of all vectors, on its grid."""
    totals = np.zeros(span.stop - span.start, np.int64)
    scale = float(grids.powers(shift))
    for vector in vectors:
        threads.run(sums.add_to_grid, len(totals), vector[span], scale, totals)
    return totals


def norm(values: npt.NDArray[np.float32], what: str = "a norm") -> float:
    """The Euclidean norm: the exact sum of squares as float64, its root rounded to float32.

    Raises:
        NotFiniteError: One of them is NaN or infinite.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    shift = np.int32(grids.sum_bits(len(flat)) - 2 * exponent(flat, what))
    total = math.ldexp(float(_add_parts(sums.sum_squares, flat, shift)), -int(shift))
    return float(np.float32(math.sqrt(total)))


def _add_parts(
    kernel: Callable[..., None], flat: npt.NDArray[np.float32], shift: np.int32
) -> np.int64:
    parts = _parts_of(flat)
    totals_P = np.zeros(parts, np.int64)
    threads.run(kernel, parts, flat, parts, float(grids.powers(shift)), totals_P)
    return np.int64(totals_P.sum())


def exponent(flat: npt.NDArray[np.float32], what: str) -> int:
    """The exponent of the grid that all values of a contiguous vector share."""
    return int(grids.exponents(np.int32(_largest(flat)), grids.SUM_FLOOR, what))


def _largest(flat: npt.NDArray[np.float32]) -> int:
    """Bits of the largest magnitude of a contiguous vector."""
    parts = _parts_of(flat)
    largest_P = np.zeros(parts, np.int32)
    threads.run(scan.largest_of_parts, parts, flat.view(np.int32), parts, largest_P)
    return int(largest_P.max(initial=0))


def _parts_of(flat: npt.NDArray[np.float32]) -> int:
    return -(-len(flat) // _PART)


def rounded(
    totals: npt.NDArray[np.int64], shift: npt.NDArray[np.int32] | np.int32
) -> npt.NDArray[np.float32]:
    """Totals * 2^-shift as float32: the conversion rounds once, the power of two is exact.

    Below 2^-126 the power of two rounds a second time; the error stays within 2^-149.
    """
    return np.ldexp(totals.astype(np.float32), -shift)
