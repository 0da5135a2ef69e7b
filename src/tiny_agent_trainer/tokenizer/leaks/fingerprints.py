# SPDX-License-Identifier: Apache-2.0
"""What tells images apart: a digest of their pixels, and hashes that survive small changes.

A difference hash cuts an image into a grid of cells and keeps, for each pair of neighbours, whether
the second one is clearly brighter. Noise, another brightness, another size and mild compression
leave most of these bits alone.
"""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer.samples import Fingerprint, StoredArray

SMALL_EDGE: Final = 8
LARGE_EDGE: Final = 16
"""Cells along an edge; a hash has 2 * edge * edge bits, for right and for lower neighbours."""

SMALL_BYTES: Final = 2 * SMALL_EDGE * SMALL_EDGE // 8
LARGE_BYTES: Final = 2 * LARGE_EDGE * LARGE_EDGE // 8

_DEAD_BAND: Final = 32
"""A neighbour is brighter from 1/32 of the range of all cells on; less may be noise on a plain."""

_LEAST_SHARE_OF_BITS: Final = 16
"""At least 1/16 of the large hash's bits must be set, or the image is too plain to be known."""


def take(image: StoredArray) -> Fingerprint:
    """The fingerprint of a stored image, shape (*spatial, channels)."""
    return Fingerprint(pixels=digest_pixels(image), looks=hash_looks(image))


def digest_pixels(image: StoredArray) -> str:
    """SHA-256 of an image's type, shape and values (little endian, row-major), as 64 hex digits."""
    little = image.astype(image.dtype.newbyteorder("<"), copy=False)
    header = f"pixels-v1 {little.dtype.str} {little.shape}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(little).tobytes()).hexdigest()


def hash_looks(image: StoredArray) -> bytes:
    """The small hash, then the large one; b"" for an image that is too small or too plain.

    Channels are added up, and so are the slices of a volume.

    Guarantees:
        Integers only: cell sums are exact, and so is their comparison. They stay in int64 for up
        to 2^40 values of 16 bits.
    """
    if min(image.shape[-3:-1]) <= LARGE_EDGE:
        return b""
    plane = _flatten(image)
    small, large = _difference_bits(plane, SMALL_EDGE), _difference_bits(plane, LARGE_EDGE)
    if int(large.sum()) * _LEAST_SHARE_OF_BITS < large.size:
        return b""
    return np.packbits(small).tobytes() + np.packbits(large).tobytes()


def _flatten(image: StoredArray) -> npt.NDArray[np.integer]:
    """One plane; a gray image as it is, which saves a copy."""
    if image.ndim == 3 and image.shape[-1] == 1:
        return image[..., 0]
    plane: npt.NDArray[np.int64] = image.sum(
        axis=(*range(image.ndim - 3), image.ndim - 1), dtype=np.int64
    )
    return plane


def _difference_bits(plane: npt.NDArray[np.integer], edge: int) -> npt.NDArray[np.bool_]:
    """Right neighbours, then lower ones; shape (2 * edge * edge,)."""
    wide, high = _cells(plane, edge, edge + 1), _cells(plane, edge + 1, edge)
    parts = [_is_brighter(wide, 1), _is_brighter(high, 0)]
    return np.concatenate([part.reshape(-1) for part in parts])


def _is_brighter(cells: npt.NDArray[np.int64], dim: int) -> npt.NDArray[np.bool_]:
    span = int(cells.max()) - int(cells.min())
    brighter: npt.NDArray[np.bool_] = np.diff(cells, axis=dim) * _DEAD_BAND > span
    return brighter


def _cells(plane: npt.NDArray[np.integer], rows: int, columns: int) -> npt.NDArray[np.int64]:
    return _sum_cells(_sum_cells(plane, rows).T, columns).T


def _sum_cells(values: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.int64]:
    """Sums over `count` equal stretches of the first dim, times `count`, exactly.

    A border between two stretches may cut a value, which then counts on either side by its parts.
    There are at least as many values as stretches.
    """
    whole, part = np.divmod(np.arange(count + 1) * len(values), count)
    sums = np.add.reduceat(values, whole[:-1], axis=0, dtype=np.int64) * count
    before_border = values[whole[1:-1]] * part[1:-1, None]
    sums[:-1] += before_border
    sums[1:] -= before_border
    return sums
