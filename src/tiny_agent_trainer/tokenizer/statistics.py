# SPDX-License-Identifier: Apache-2.0
"""Mean and deviation of the training split, from exact integer sums."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer import tokenization
from tiny_agent_trainer.tokenizer.samples import LabelArray

_IMAGES_AT_ONCE = 1024


def measure(prepared_NCS: npt.NDArray[np.integer]) -> tokenization.Normalization:
    """Mean and deviation of every channel.

    Args:
        prepared_NCS: Training images, shape (n, channels, *spatial), integers of at most 16 bits.

    Guarantees:
        Sums are exact, so the order of images and pixels has no influence; each quotient and the
        square root are rounded once. A constant channel gets deviation 1.
    """
    pairs = [_channel(prepared_NCS[:, channel]) for channel in range(prepared_NCS.shape[1])]
    return tokenization.Normalization(
        mean=tuple(mean for mean, _ in pairs), deviation=tuple(deviation for _, deviation in pairs)
    )


def measure_targets(targets: LabelArray) -> tuple[float, float]:
    """Mean and deviation of regression targets, float32, shape (n,).

    Guarantees:
        Sums are exact, so the order has no influence; the mean, the variance and its root are each
        rounded once.
    """
    values = [Fraction(value) for value in targets.tolist()]
    count, total = len(values), sum(values, Fraction(0))
    squares = sum((value * value for value in values), Fraction(0))
    variance = (count * squares - total * total) / (count * count)
    return float(total / count), math.sqrt(variance) or 1.0


def half_range(dtype: npt.DTypeLike, channels: int) -> tokenization.Normalization:
    """Mean and deviation that map the range of an integer type to [-1, 1]."""
    limits = np.iinfo(np.dtype(dtype))
    middle = (int(limits.max) + int(limits.min)) / 2
    half = (int(limits.max) - int(limits.min)) / 2
    return tokenization.Normalization(mean=(middle,) * channels, deviation=(half,) * channels)


def _channel(values: npt.NDArray[np.integer]) -> tuple[float, float]:
    count, total, squares = values.size, 0, 0
    for start in range(0, len(values), _IMAGES_AT_ONCE):
        part = values[start : start + _IMAGES_AT_ONCE].astype(np.int64)
        total += int(part.sum())
        squares += int((part * part).sum())
    variance = (count * squares - total * total) / (count * count)
    return total / count, math.sqrt(variance) or 1.0
