# SPDX-License-Identifier: Apache-2.0
"""Cropping and padding about the centre."""

from collections.abc import Sequence

import numpy as np

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer import samples


def fit(
    image: samples.StoredArray, lengths: Sequence[int], pad_value: int, key: str
) -> samples.StoredArray:
    """Cut off or add on both sides of each spatial dim, as evenly as possible.

    An odd pixel is cut off, or added, at the end.

    Args:
        image: Stored array, shape (*spatial, channels).
        lengths: New number of pixels along each spatial dim.
        pad_value: What is added.
        key: The image, for messages.

    Raises:
        DatasetError: The image's type does not hold `pad_value`.
    """
    _require_value(image, pad_value, key)
    fitted = np.full((*lengths, image.shape[-1]), pad_value, image.dtype)
    source, target = [], []
    for old, new in zip(image.shape, lengths, strict=False):
        kept, cut, added = min(old, new), max(old - new, 0) // 2, max(new - old, 0) // 2
        source.append(slice(cut, cut + kept))
        target.append(slice(added, added + kept))
    fitted[tuple(target)] = image[tuple(source)]
    return fitted


def _require_value(image: samples.StoredArray, pad_value: int, key: str) -> None:
    limits = np.iinfo(image.dtype)
    if not limits.min <= pad_value <= limits.max:
        raise errors.DatasetError(
            where=key,
            expected=f"a pad_value between {limits.min} and {limits.max}, as {image.dtype} holds",
            found=str(pad_value),
            remedy="choose another pad_value under [tokenizer]",
        )
