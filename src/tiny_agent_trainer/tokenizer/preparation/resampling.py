# SPDX-License-Identifier: Apache-2.0
"""Area and linear resampling in integers: one rounding per pixel, at the end of each dim."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.exact.kernels import resample
from tiny_agent_trainer.tokenizer import samples


@dataclasses.dataclass(frozen=True, slots=True)
class Taps:
    """Which old pixels a new one is made of, along one dim.

    Attributes:
        indices: Old pixels of each new one, shape (new length, taps).
        weights: Their shares, integers that sum to `total` in every row.
        total: What every row sums to.
    """

    indices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]
    total: int


def resample_area(image: samples.StoredArray, edge: int | Sequence[int]) -> samples.StoredArray:
    """Resample every spatial dim by the areas that old and new pixels share.

    Args:
        image: Stored array, shape (*spatial, channels).
        edge: New number of pixels along every spatial dim, or along each of them.

    Returns:
        An array of the same dtype. A dim that already has its length is left as it is.

    Guarantees:
        Each new value is the exact area-weighted mean along a dim, rounded once, half to even.
    """
    lengths = (edge,) * (image.ndim - 1) if isinstance(edge, int) else edge
    for dim, length in enumerate(lengths):
        if image.shape[dim] != length:
            image = _apply(image, dim, area_taps(image.shape[dim], length))
    return image


def resample_spacing(image: samples.StoredArray, lengths: Sequence[int]) -> samples.StoredArray:
    """Resample each spatial dim over its whole extent: by area to fewer pixels, linearly to more.

    Args:
        image: Stored array, shape (*spatial, channels).
        lengths: New number of pixels along each spatial dim.

    Guarantees:
        Each new value is the exact weighted mean along a dim, rounded once, half to even.
    """
    for dim, length in enumerate(lengths):
        old = image.shape[dim]
        if length != old:
            taps = area_taps(old, length) if length < old else linear_taps(old, length)
            image = _apply(image, dim, taps)
    return image


def area_taps(old: int, new: int) -> Taps:
    """Shared lengths of new and old pixels, in units of 1/(old * new) of the whole."""
    starts = np.arange(new, dtype=np.int64) * old
    first = starts // new
    count = int(((starts + old - 1) // new - first).max()) + 1
    indices = first[:, None] + np.arange(count)
    shared = np.minimum(starts[:, None] + old, (indices + 1) * new)
    shared = shared - np.maximum(starts[:, None], indices * new)
    return Taps(np.minimum(indices, old - 1), np.maximum(shared, 0), old)


def linear_taps(old: int, new: int) -> Taps:
    """The two old pixels whose centres enclose a new centre; the border is continued."""
    centres = (2 * np.arange(new, dtype=np.int64) + 1) * old - new  # in units of 1/(2 * new)
    first, share = np.divmod(centres, 2 * new)
    indices = np.clip(np.stack([first, first + 1], axis=1), 0, old - 1)
    return Taps(indices, np.stack([2 * new - share, share], axis=1), 2 * new)


def _apply(image: samples.StoredArray, dim: int, taps: Taps) -> samples.StoredArray:
    """One dim of an image as the middle one of three."""
    before, behind = image.shape[:dim], image.shape[dim + 1 :]
    shape = (math.prod(before), image.shape[dim], math.prod(behind))
    means = np.empty((shape[0], len(taps.indices), shape[2]), image.dtype)
    values = np.ascontiguousarray(image).reshape(shape)
    resample.weighted_means(0, len(values), values, taps.indices, taps.weights, taps.total, means)
    return means.reshape(*before, len(taps.indices), *behind)
