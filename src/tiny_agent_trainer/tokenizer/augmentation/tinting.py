# SPDX-License-Identifier: Apache-2.0
"""Scale, offset and noise of the normalised input, in single IEEE float32 operations."""

from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact.kernels import intensities
from tiny_agent_trainer.tokenizer.augmentation import draws

_DEVIATION: Final = float.fromhex("0x1.a20b05faa301fp+7")
"""sqrt(8 * (2^16 - 1) / 12), that of a sum of eight bytes: 209.022."""


def scale(
    tokens: npt.NDArray[np.float32], words: randomness.Words, most: float
) -> npt.NDArray[np.float32]:
    """Multiply each sample by a factor in [1 - most, 1 + most]."""
    drawn = draws.symmetric(words[:, draws.SCALE]) * np.float32(most)
    return tokens * _one_each(np.float32(1) + drawn, tokens)


def offset(
    tokens: npt.NDArray[np.float32], words: randomness.Words, most: float
) -> npt.NDArray[np.float32]:
    """Add to each sample a number in [-most, most]."""
    return tokens + _one_each(draws.symmetric(words[:, draws.OFFSET]) * np.float32(most), tokens)


def add_noise(
    tokens: npt.NDArray[np.float32], words: randomness.Words, most: float
) -> npt.NDArray[np.float32]:
    """Add to every value noise whose deviation is uniform in [0, most) for each sample.

    The noise is a sum of eight random bytes, which is nearly Gaussian: its excess kurtosis is
    -0.15, and it ends at 4.9 deviations. The i-th value of the input takes the i-th number.
    """
    word = draws.more(words, draws.CHOICES, randomness.WORDS_PER_BLOCK)[:, draws.NOISE]
    factors = (draws.share(word) * (most / _DEVIATION)).astype(np.float32)
    flat = np.ascontiguousarray(tokens).reshape(len(tokens), -1)
    grain = draws.more(words, draws.GRAIN, 2 * flat.shape[1])
    noisy = np.empty_like(flat)
    intensities.add_noise(0, len(flat), flat, grain, factors, noisy)
    return noisy.reshape(tokens.shape)


def _one_each(
    numbers: npt.NDArray[np.float32], tokens: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return numbers.reshape(-1, *(1,) * (tokens.ndim - 1))
