# SPDX-License-Identifier: Apache-2.0
"""Mean and deviation of the training split, from exact integer sums."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer import tokenization
from tiny_agent_trainer.tokenizer.cache import rows
from tiny_agent_trainer.tokenizer.samples import LabelArray

_VALUES_AT_ONCE = 1 << 22
"""Values that are int64 at the same time; no effect on the result."""


def measure(
    prepared_NCS: npt.NDArray[np.integer], members: npt.NDArray[np.int64] | None = None
) -> tokenization.Normalization:
    """Mean and deviation of every channel.

    Args:
        prepared_NCS: Images, shape (n, channels, *spatial), integers of at most 16 bits.
        members: Which of them count, such as the training split; all by default.

    Guarantees:
        Sums are exact, so the order of images and pixels has no influence; each quotient and the
        square root are rounded once. A constant channel gets deviation 1.
    """
    chosen = np.arange(len(prepared_NCS)) if members is None else members
    sums = [(0, 0)] * prepared_NCS.shape[1]
    step = max(_VALUES_AT_ONCE // max(prepared_NCS[0].size, 1), 1)
    for start in range(0, len(chosen), step):
        part = prepared_NCS[chosen[start : start + step]]
        rows.release(prepared_NCS)
        sums = [_add(pair, part[:, channel]) for channel, pair in enumerate(sums)]
    count = len(chosen) * prepared_NCS[0, 0].size
    pairs = [_mean_and_deviation(count, total, squares) for total, squares in sums]
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


def _add(sums: tuple[int, int], values: npt.NDArray[np.integer]) -> tuple[int, int]:
    wide = values.astype(np.int64)
    return sums[0] + int(wide.sum()), sums[1] + int((wide * wide).sum())


def _mean_and_deviation(count: int, total: int, squares: int) -> tuple[float, float]:
    variance = (count * squares - total * total) / (count * count)
    return total / count, math.sqrt(variance) or 1.0
