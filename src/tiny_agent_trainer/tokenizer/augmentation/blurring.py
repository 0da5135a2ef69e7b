# SPDX-License-Identifier: Apache-2.0
"""Blur by binomial filters: each pass is (1, 2, 1) / 4 along every spatial dim."""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.tokenizer.augmentation import draws


def blur_all(images_NCS: npt.NDArray[np.integer], words: randomness.Words, most: int) -> None:
    """Blur each image, shape (channels, *spatial), by 0 to `most` passes, in place."""
    word = draws.more(words, draws.CHOICES, randomness.WORDS_PER_BLOCK)[:, draws.BLUR]
    passes = draws.up_to(word, most)
    for number in range(1, most + 1):
        chosen = passes >= number
        if chosen.any():
            images_NCS[chosen] = blur_once(images_NCS[chosen])


def blur_once(images_NCS: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """One pass; the border is continued.

    Guarantees:
        The exact weighted mean of 9 or 27 values, rounded once, half to even.
    """
    total = images_NCS.astype(np.int32)  # 16 bits and three times 2 bits of weights
    for dim in range(2, total.ndim):
        places = np.arange(total.shape[dim])
        before = np.take(total, np.maximum(places - 1, 0), axis=dim)
        behind = np.take(total, np.minimum(places + 1, len(places) - 1), axis=dim)
        total = before + 2 * total + behind
    bits = 2 * (total.ndim - 2)
    quotient, rest, half = total >> bits, total & ((1 << bits) - 1), 1 << (bits - 1)
    up = (rest > half) | ((rest == half) & ((quotient & 1) == 1))
    blurred: npt.NDArray[np.integer] = (quotient + up).astype(images_NCS.dtype)
    return blurred
