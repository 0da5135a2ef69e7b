# SPDX-License-Identifier: Apache-2.0
"""Gamma: brightness to a power between the darkest and the brightest value of an image."""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact.kernels import intensities
from tiny_agent_trainer.tokenizer.augmentation import draws


def bend_all(
    images_NCS: npt.NDArray[np.integer], words: randomness.Words, gamma: float
) -> npt.NDArray[np.integer]:
    """Images, shape (n, channels, *spatial), of one stored type, with other middle tones.

    The exponent e is uniform in [1, 1 + gamma]; for half of the samples it is 1 / e.

    Guarantees:
        low + span * c((x - low) / span) in integers, where c is a polygon of 256 pieces through
        points of the power; darkest and brightest value stay as they are.
    """
    word = draws.more(words, draws.CHOICES, randomness.WORDS_PER_BLOCK)[:, draws.GAMMA]
    exponents = 1.0 + np.abs(draws.symmetric(word)).astype(np.float64) * gamma
    exponents = np.where(draws.coin(word), exponents, 1.0 / exponents)
    return apply(images_NCS, exponents)


def apply(
    images_NCS: npt.NDArray[np.integer], exponents: npt.NDArray[np.float64]
) -> npt.NDArray[np.integer]:
    """Each image to its own power."""
    flat = np.ascontiguousarray(images_NCS).reshape(len(images_NCS), -1)
    curves = np.empty((len(flat), intensities.PIECES + 1), np.int64)
    intensities.power_curves(0, len(flat), exponents, curves)
    lows = flat.min(axis=1).astype(np.int64)
    spans = np.maximum(flat.max(axis=1).astype(np.int64) - lows, 1)
    curved = np.empty_like(flat)
    intensities.apply_curves(0, len(flat), flat, lows, spans, curves, curved)
    return curved.reshape(images_NCS.shape)
