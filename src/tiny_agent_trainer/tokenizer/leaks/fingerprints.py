# SPDX-License-Identifier: Apache-2.0
"""What tells images apart: a digest of their pixels, and hashes that survive small changes.

A difference hash cuts an image into a grid of cells and keeps, for each pair of neighbours, whether
the second one is clearly brighter. Noise, another brightness, another size and mild compression
leave most of these bits alone.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer import pixels
from tiny_agent_trainer.tokenizer.preparation import intensity
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

_VALUES_AT_ONCE: Final = 1 << 18
"""Values of small images that are hashed together; more would not be faster."""


def take(image: StoredArray) -> Fingerprint:
    """The fingerprint of a stored image, shape (*spatial, channels)."""
    (mark,) = take_all([image])
    return mark


def take_all(images: Iterable[StoredArray]) -> Iterator[Fingerprint]:
    """The fingerprints of images in their order; many small ones of one shape are hashed at once.

    Memory holds as many images as have `_VALUES_AT_ONCE` values, at least one.
    """
    waiting: list[StoredArray] = []
    for image in images:
        if waiting and not _fits(waiting, image):
            yield from _take_alike(waiting)
            waiting = []
        waiting.append(image)
    if waiting:
        yield from _take_alike(waiting)


def looks_of(values: npt.NDArray[Any]) -> bytes:
    """The perceptual hash of one image of any type, shape (*spatial, channels), finite."""
    return hash_looks(_at_most_16_bits(values)[None])[0]


def hash_looks(images_NSC: npt.NDArray[np.integer]) -> list[bytes]:
    """Of each image the small hash, then the large one; b"" where it is too small or too plain.

    Args:
        images_NSC: Stored images of one shape, (n, *spatial, channels). Channels are added up, and
            so are the slices of a volume.

    Guarantees:
        Integers only: cell sums are exact, and so is their comparison. They stay in int64 for up
        to 2^40 values of 16 bits in an image.
    """
    if min(images_NSC.shape[-3:-1]) <= LARGE_EDGE:
        return [b""] * len(images_NSC)
    planes_NHW = _flatten(images_NSC)
    edges = (SMALL_EDGE, LARGE_EDGE)
    rows = sum_rows(planes_NHW, [count for edge in edges for count in (edge, edge + 1)])
    small, large = (_difference_bits(rows, edge) for edge in edges)
    is_plain = large.sum(axis=1) * _LEAST_SHARE_OF_BITS < large.shape[1]
    packed = np.packbits(np.concatenate([small, large], axis=1), axis=1)
    return [b"" if plain else row.tobytes() for plain, row in zip(is_plain, packed, strict=True)]


def _fits(waiting: Sequence[StoredArray], image: StoredArray) -> bool:
    first = waiting[0]
    is_alike = image.shape == first.shape and image.dtype == first.dtype
    return is_alike and (len(waiting) + 1) * image.size <= _VALUES_AT_ONCE


def _take_alike(images: Sequence[StoredArray]) -> Iterator[Fingerprint]:
    if len(images) == 1:
        hashed = [looks_of(images[0])]
    else:
        hashed = hash_looks(np.stack([_at_most_16_bits(image) for image in images]))
    for image, looks in zip(images, hashed, strict=True):
        yield Fingerprint(pixels=pixels.digest_pixels(image), looks=looks)


def _at_most_16_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.integer]:
    """Values whose sums are exact: those of a wider type are brought to the range of uint16."""
    if values.dtype.kind != "f" and values.dtype.itemsize <= 2:
        return values
    return intensity.apply_window(values, float(values.min()), float(values.max()))


def _flatten(images_NSC: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """One plane per image; gray images as they are, which saves a copy."""
    if images_NSC.ndim == 4 and images_NSC.shape[-1] == 1:
        return images_NSC[..., 0]
    dims = (*range(1, images_NSC.ndim - 3), images_NSC.ndim - 1)
    planes: npt.NDArray[np.int64] = images_NSC.sum(axis=dims, dtype=np.int64)
    return planes


def _difference_bits(rows: Mapping[int, npt.NDArray[np.int64]], edge: int) -> npt.NDArray[np.bool_]:
    """Right neighbours, then lower ones, from `sum_rows`; shape (n, 2 * edge * edge)."""
    wide, high = sum_columns(rows[edge], edge + 1), sum_columns(rows[edge + 1], edge)
    parts = [_is_brighter(wide, 2), _is_brighter(high, 1)]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _is_brighter(cells: npt.NDArray[np.int64], dim: int) -> npt.NDArray[np.bool_]:
    spans = cells.max(axis=(1, 2), keepdims=True) - cells.min(axis=(1, 2), keepdims=True)
    brighter: npt.NDArray[np.bool_] = np.diff(cells, axis=dim) * _DEAD_BAND > spans
    return brighter


def sum_rows(
    planes_NHW: npt.NDArray[np.integer], counts: Sequence[int]
) -> dict[int, npt.NDArray[np.int64]]:
    """For each count the sums over so many equal stretches of rows, times the count, exactly.

    A border between two stretches may cut a row, which then counts on either side by its parts.
    Every value is read once: rows between neighbouring borders of all counts are added first.

    Returns:
        Arrays of shape (n, count, width).
    """
    height = planes_NHW.shape[1]
    borders = np.unique(np.concatenate([np.arange(c + 1) * height // c for c in counts]))
    strips = _sum_strips(planes_NHW, borders)
    below = np.concatenate([np.zeros_like(strips[:, :1]), strips], axis=1).cumsum(axis=1)
    found = {}
    for count in counts:
        whole, part = np.divmod(np.arange(count + 1) * height, count)
        cut = planes_NHW[:, np.minimum(whole, height - 1)] * part[:, None]
        until = below[:, np.searchsorted(borders, whole)] * count + cut
        found[count] = np.diff(until, axis=1)
    return found


def _sum_strips(
    planes_NHW: npt.NDArray[np.integer], borders: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Sums over the rows between neighbouring borders.

    Strip by strip where the type changes, for which `reduceat` is slow.
    """
    if planes_NHW.dtype == np.int64:
        summed: npt.NDArray[np.int64] = np.add.reduceat(planes_NHW, borders[:-1], axis=1)
        return summed
    pairs = itertools.pairwise(borders.tolist())
    strips = [planes_NHW[:, low:high].sum(axis=1, dtype=np.int64) for low, high in pairs]
    return np.stack(strips, axis=1)


def sum_columns(sums_NHW: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The same for columns; shape (n, height, count)."""
    turned = sum_rows(sums_NHW.transpose(0, 2, 1), (count,))[count]
    return turned.transpose(0, 2, 1)
