# SPDX-License-Identifier: Apache-2.0
"""Moves by whole pixels; the border is filled with 0."""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.tokenizer.augmentation import draws


def shift_all(images_NCS: npt.NDArray[np.integer], words: randomness.Words, most: int) -> None:
    """Move each image, shape (channels, *spatial), by up to `most` pixels per dim, in place."""
    dims = images_NCS.ndim - 2
    steps = draws.between(words[:, draws.SHIFTS : draws.SHIFTS + dims], most)
    for image, shift in zip(images_NCS, steps.tolist(), strict=True):
        source, target = [slice(None)], [slice(None)]
        for length, step in zip(image.shape[1:], shift, strict=True):
            source.append(slice(max(-step, 0), max(length - max(step, 0), 0)))
            target.append(slice(min(max(step, 0), length), max(length + min(step, 0), 0)))
        kept = image[tuple(source)].copy()
        image[...] = 0
        if kept.size:
            image[tuple(target)] = kept
