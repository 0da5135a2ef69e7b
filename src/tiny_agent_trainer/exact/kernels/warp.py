# SPDX-License-Identifier: Apache-2.0
"""Linear interpolation of integers at places in fixed point.

Bounds: lengths below 2^16, values of 16 bits, factors of matrices below 2^5, displacements below
2^16 pixels. Then a place stays below 2^53 before it is shifted and a weighted sum below 2^62.
"""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel

PLACE_BITS: Final = 15
"""Fractional bits of a place; three weights of so many bits and a value fit into int64."""

MATRIX_BITS: Final = 30

MATRIX_LIMIT: Final = 32
"""Factors of matrices lie below it."""

_ONE: Final = 1 << PLACE_BITS
_SHIFT: Final = MATRIX_BITS + 1 - PLACE_BITS  # places are counted in halves of a pixel
_HALF: Final = 1 << (_SHIFT - 1)


@inlined
def _between(low: Any, high: Any, share: Any) -> Any:
    return (low * (_ONE - share) + high * share) >> PLACE_BITS


@inlined
def _clamp(place: Any, length: int) -> Any:
    return min(max(place, 0), (length - 1) << PLACE_BITS)


@inlined
def _round_shift(total: Any, bits: int) -> Any:
    """Total / 2^bits, halves to even."""
    quotient, rest, half = total >> bits, total & ((1 << bits) - 1), 1 << (bits - 1)
    if rest > half or (rest == half and quotient & 1):
        quotient += 1
    return quotient


@kernel
def warp_images(
    start: int, stop: int, images_NCHW: Any, matrices_N5: Any, grids_N2PQ: Any,
    cells_H: Any, shares_H: Any, cells_W: Any, shares_W: Any, warped_NCHW: Any,
) -> None:  # fmt: skip
    """Each pixel from where its matrix and its grid say."""
    _, channels, height, width = images_NCHW.shape
    row = np.empty((2, grids_N2PQ.shape[3]), np.int64)
    for n in range(start, stop):
        a, b, c, d = matrices_N5[n, 0], matrices_N5[n, 1], matrices_N5[n, 2], matrices_N5[n, 3]
        for y in range(height):
            for part in range(2):
                for q in range(row.shape[1]):
                    row[part, q] = _between(
                        grids_N2PQ[n, part, cells_H[y], q],
                        grids_N2PQ[n, part, cells_H[y] + 1, q],
                        shares_H[y],
                    )
            v = 2 * y - (height - 1)
            for x in range(width):
                u, q, f = 2 * x - (width - 1), cells_W[x], shares_W[x]
                sy = ((a * v + b * u + _HALF) >> _SHIFT) + ((height - 1) << (PLACE_BITS - 1))
                sx = ((c * v + d * u + _HALF) >> _SHIFT) + ((width - 1) << (PLACE_BITS - 1))
                sy = _clamp(sy + _between(row[0, q], row[0, q + 1], f), height)
                sx = _clamp(sx + _between(row[1, q], row[1, q + 1], f), width)
                y0, x0 = sy >> PLACE_BITS, sx >> PLACE_BITS
                y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                fy, fx = sy & (_ONE - 1), sx & (_ONE - 1)
                for k in range(channels):
                    upper = (
                        np.int64(images_NCHW[n, k, y0, x0]) * (_ONE - fx)
                        + np.int64(images_NCHW[n, k, y0, x1]) * fx
                    )
                    lower = (
                        np.int64(images_NCHW[n, k, y1, x0]) * (_ONE - fx)
                        + np.int64(images_NCHW[n, k, y1, x1]) * fx
                    )
                    total = upper * (_ONE - fy) + lower * fy
                    warped_NCHW[n, k, y, x] = _round_shift(total, 2 * PLACE_BITS)


@kernel
def warp_volumes(
    start: int, stop: int, images_NCDHW: Any, matrices_N5: Any, grids_N3OPQ: Any,
    cells_D: Any, shares_D: Any, cells_H: Any, shares_H: Any, cells_W: Any, shares_W: Any,
    warped_NCDHW: Any,
) -> None:  # fmt: skip
    """Each voxel from where its matrix and its grid say; the matrix turns within a slice."""
    _, channels, depth, height, width = images_NCDHW.shape
    rows, columns = grids_N3OPQ.shape[3], grids_N3OPQ.shape[4]
    plane = np.empty((3, rows, columns), np.int64)
    row = np.empty((3, columns), np.int64)
    for n in range(start, stop):
        a, b, c, d = matrices_N5[n, 0], matrices_N5[n, 1], matrices_N5[n, 2], matrices_N5[n, 3]
        e = matrices_N5[n, 4]
        for z in range(depth):
            for part in range(3):
                for p in range(rows):
                    for q in range(columns):
                        plane[part, p, q] = _between(
                            grids_N3OPQ[n, part, cells_D[z], p, q],
                            grids_N3OPQ[n, part, cells_D[z] + 1, p, q],
                            shares_D[z],
                        )
            middle = (depth - 1) << (PLACE_BITS - 1)
            of_slice = ((e * (2 * z - (depth - 1)) + _HALF) >> _SHIFT) + middle
            for y in range(height):
                for part in range(3):
                    for q in range(columns):
                        row[part, q] = _between(
                            plane[part, cells_H[y], q], plane[part, cells_H[y] + 1, q], shares_H[y]
                        )
                v = 2 * y - (height - 1)
                for x in range(width):
                    u, q, f = 2 * x - (width - 1), cells_W[x], shares_W[x]
                    sy = ((a * v + b * u + _HALF) >> _SHIFT) + ((height - 1) << (PLACE_BITS - 1))
                    sx = ((c * v + d * u + _HALF) >> _SHIFT) + ((width - 1) << (PLACE_BITS - 1))
                    sz = _clamp(of_slice + _between(row[0, q], row[0, q + 1], f), depth)
                    sy = _clamp(sy + _between(row[1, q], row[1, q + 1], f), height)
                    sx = _clamp(sx + _between(row[2, q], row[2, q + 1], f), width)
                    z0, y0, x0 = sz >> PLACE_BITS, sy >> PLACE_BITS, sx >> PLACE_BITS
                    z1, y1, x1 = (
                        min(z0 + 1, depth - 1), min(y0 + 1, height - 1), min(x0 + 1, width - 1),
                    )  # fmt: skip
                    fz, fy, fx = sz & (_ONE - 1), sy & (_ONE - 1), sx & (_ONE - 1)
                    for k in range(channels):
                        total = np.int64(0)
                        for at_z, weight_z in ((z0, _ONE - fz), (z1, fz)):
                            for at_y, weight_y in ((y0, _ONE - fy), (y1, fy)):
                                line = (
                                    np.int64(images_NCDHW[n, k, at_z, at_y, x0]) * (_ONE - fx)
                                    + np.int64(images_NCDHW[n, k, at_z, at_y, x1]) * fx
                                )
                                total += line * weight_y * weight_z
                        warped_NCDHW[n, k, z, y, x] = _round_shift(total, 3 * PLACE_BITS)
