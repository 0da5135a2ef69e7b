# SPDX-License-Identifier: Apache-2.0
"""Which random words decide what about a sample.

A sample has 16 words of its own in each epoch. The first eight decide flips, shifts and tints; the
last eight are the key of further streams, one per purpose, for everything that needs more.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact.kernels import chacha

FLIP_HORIZONTAL: Final = 0
FLIP_VERTICAL: Final = 1
TURNS: Final = 2
SHIFTS: Final = 3
"""And the two words behind it, one per dim."""
SCALE: Final = 6
OFFSET: Final = 7

CHOICES: Final = 1
"""The stream of single decisions: words by the numbers below."""
ROTATE: Final = 0
ZOOM: Final = 1
GAMMA: Final = 2
BLUR: Final = 3
NOISE: Final = 4

ELASTIC: Final = 2
"""The stream of the points of a grid."""
GRAIN: Final = 3
"""The stream of the noise of every value."""

_CONSTANTS: Final = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"


def more(words: randomness.Words, purpose: int, count: int) -> randomness.Words:
    """Further words of each sample, shape (n, count).

    Args:
        words: Those of the samples in an epoch, shape (n, 16).
        purpose: One of the streams above.
        count: How many.
    """
    blocks = -(-count // randomness.WORDS_PER_BLOCK)
    drawn = np.empty((len(words), blocks, randomness.WORDS_PER_BLOCK), np.uint32)
    initial = np.zeros(16, np.uint32)
    initial[:4] = _CONSTANTS
    for row, own in zip(drawn, words, strict=True):
        initial[4:12] = own[8:]
        initial[11] ^= np.uint32(purpose)
        chacha.chacha8(0, blocks, initial, row)
    return drawn.reshape(len(words), -1)[:, :count]


def coin(words: randomness.Words) -> npt.NDArray[np.bool_]:
    """True for half of all words."""
    return words >= np.uint32(1 << 31)


def symmetric(words: randomness.Words) -> npt.NDArray[np.float32]:
    """Multiples of 2^-23 in [-1, 1), exact."""
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def share(words: randomness.Words) -> npt.NDArray[np.float64]:
    """Multiples of 2^-32 in [0, 1), exact."""
    return words.astype(np.float64) * 2.0**-32


def between(words: randomness.Words, most: int) -> npt.NDArray[np.int64]:
    """Integers in [-most, most], 0 <= most < 2^31."""
    drawn = words.astype(np.uint64) * np.uint64(2 * most + 1)
    return (drawn >> np.uint64(32)).astype(np.int64) - most


def up_to(words: randomness.Words, most: int) -> npt.NDArray[np.int64]:
    """Integers in [0, most], 0 <= most < 2^31."""
    return ((words.astype(np.uint64) * np.uint64(most + 1)) >> np.uint64(32)).astype(np.int64)
