# SPDX-License-Identifier: Apache-2.0
"""From decoded values to integers of at most 16 bits: as stored, as shown, by a range of values."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import samples

BRIGHTEST: Final = 65535
"""What the upper end of a window becomes."""

_STEP_OF_8_BITS: Final = 257
"""65535 / 255: black stays black, white becomes white, steps between stay equal."""

_STORED: Final = (np.uint8, np.uint16, np.int16)
_VALUES_AT_ONCE: Final = 1 << 14
"""Values that are float64 at the same time, so few that they stay in the cache of a core; no effect
on the result."""


def rescale(values: npt.NDArray[Any], options: TokenizerSection, key: str) -> samples.StoredArray:
    """Values of an image as integers of at most 16 bits.

    Wider integers and floats count as stored ones where every value is a whole number that int16 or
    uint16 holds, such as Hounsfield units.

    Args:
        values: Integers or floats, finite, any shape.
        options: `intensity`, `window` and `percentiles`.
        key: The image, for messages.

    Raises:
        DatasetError: Values are to be kept as stored and some is no integer of at most 16 bits;
            or they are to be displays and have another type than uint8 or uint16.
    """
    if options.intensity == "stored":
        return _as_stored(values, key)
    if options.intensity == "display":
        return _as_display(values, key)
    if options.intensity == "window":
        low, high = options.window
    else:
        low, high = percentiles_of(values, options.percentiles)
    return apply_window(values, low, high)


def prepared_dtype(dtype: npt.DTypeLike, options: TokenizerSection) -> np.dtype[Any]:
    """The type that `rescale` gives to values of a type, or one of its size."""
    is_kept = options.intensity == "stored" and np.dtype(dtype) in _STORED
    return np.dtype(dtype if is_kept else np.uint16)


def apply_window(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Map [low, high] to [0, 65535]; values outside become the nearer end.

    Guarantees:
        rint((x - low) / (high - low) * 65535), three float64 operations, each rounded once. With
        low == high, values above become 65535 and all others 0.
    """
    flat = values.reshape(-1)
    found = np.empty(flat.shape, np.uint16)
    for start in range(0, flat.size, _VALUES_AT_ONCE):
        part = flat[start : start + _VALUES_AT_ONCE].astype(np.float64)
        part -= np.float64(low)
        if high > low:
            part /= np.float64(high - low)
            part *= np.float64(BRIGHTEST)
        else:
            part = np.where(part > 0, np.float64(BRIGHTEST), np.float64(0))
        np.rint(part, out=part)
        np.minimum(part, BRIGHTEST, out=part)
        np.maximum(part, 0, out=part)
        found[start : start + _VALUES_AT_ONCE] = part
    return found.reshape(values.shape)


def percentiles_of(values: npt.NDArray[Any], shares: Sequence[float]) -> list[float]:
    """Percentiles by nearest rank: values of the image itself, never between two of them.

    Args:
        values: Integers or floats, finite, any shape, at least one.
        shares: In percent, each in [0, 100].

    Guarantees:
        Of n values in ascending order the one with number ceil(share * n / 100), computed exactly,
        and the first for share 0.
    """
    count = values.size
    ranks = [max(math.ceil(Fraction(share) * count / 100), 1) - 1 for share in shares]
    ends = {0: values.min, count - 1: values.max}
    inner = sorted(set(ranks) - set(ends))
    ordered = np.partition(values.reshape(-1), inner) if inner else values
    return [float(ends[rank]() if rank in ends else ordered[rank]) for rank in ranks]


def _as_stored(values: npt.NDArray[Any], key: str) -> samples.StoredArray:
    if values.dtype in _STORED:
        return values
    low, high = values.min(), values.max()
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        # NaN fails both comparisons, so that nothing is cast that has no integer.
        if low >= limits.min and high <= limits.max:
            whole = values.astype(kind)
            if (whole == values).all():
                return whole
    raise errors.DatasetError(
        where=key,
        expected="whole numbers of at most 16 bits",
        found=f"{values.dtype} from {low} to {high}",
        remedy='write intensity = "window" with window = [low, high], or intensity = "percentile", '
        "under [tokenizer]",
    )


def _as_display(values: npt.NDArray[Any], key: str) -> npt.NDArray[np.uint16]:
    if values.dtype == np.uint16:
        return values
    if values.dtype == np.uint8:
        return values.astype(np.uint16) * np.uint16(_STEP_OF_8_BITS)
    raise errors.DatasetError(
        where=key,
        expected="a display: 8 or 16 bits, from black to white",
        found=f"values of {values.dtype}",
        remedy='write intensity = "window" with window = [low, high], or intensity = "percentile", '
        "under [tokenizer]",
    )
