# SPDX-License-Identifier: Apache-2.0
"""Area resampling in integers: one rounding per pixel, at the end of each dim."""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer import samples


def resample_area(image: samples.StoredArray, edge: int) -> samples.StoredArray:
    """Resample every spatial dim to `edge` by the areas that old and new pixels share.

    Args:
        image: Stored array, shape (*spatial, channels).
        edge: New number of pixels along every spatial dim.

    Returns:
        An array of the same dtype, shape (edge, ..., edge, channels). A dim that already has this
        length is left as it is.

    Guarantees:
        Each new value is the exact area-weighted mean along a dim, rounded once, half to even.
    """
    dtype = image.dtype
    values = image.astype(np.int64)
    for dim in range(image.ndim - 1):
        if values.shape[dim] != edge:
            values = _resample_dim(values, dim, edge)
    return values.astype(dtype)


def _resample_dim(values: npt.NDArray[np.int64], dim: int, edge: int) -> npt.NDArray[np.int64]:
    length = values.shape[dim]
    weights = _overlaps(length, edge)
    total = np.tensordot(weights, np.moveaxis(values, dim, 0), axes=(1, 0))
    resampled: npt.NDArray[np.int64] = np.moveaxis(_divide_half_even(total, length), 0, dim)
    return resampled


def _overlaps(length: int, edge: int) -> npt.NDArray[np.int64]:
    """Shared lengths of new pixel i and old pixel j in units of 1/(length * edge): (edge, length).

    Every row sums to `length`, because a new pixel is `length` such units wide.
    """
    new, old = np.arange(edge)[:, None] * length, np.arange(length)[None, :] * edge
    shared: npt.NDArray[np.int64] = np.minimum(new + length, old + edge) - np.maximum(new, old)
    return np.maximum(shared, 0)


def _divide_half_even(total: npt.NDArray[np.int64], divisor: int) -> npt.NDArray[np.int64]:
    quotient, rest = np.divmod(total, divisor)
    twice = 2 * rest
    up: npt.NDArray[np.bool_] = (twice > divisor) | ((twice == divisor) & (quotient % 2 == 1))
    rounded: npt.NDArray[np.int64] = quotient + up
    return rounded
