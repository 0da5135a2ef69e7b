# SPDX-License-Identifier: Apache-2.0
"""Flips and quarter turns in the image plane, the last two dims."""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config.augmentation import AugmentationOptions
from tiny_agent_trainer.tokenizer.augmentation import draws


def mirror_all(
    images_NCS: npt.NDArray[np.integer], words: randomness.Words, options: AugmentationOptions
) -> None:
    """Change images, shape (n, channels, *spatial), in place."""
    if options.flip_horizontal:
        chosen = draws.coin(words[:, draws.FLIP_HORIZONTAL])
        images_NCS[chosen] = images_NCS[chosen][..., ::-1]
    if options.flip_vertical:
        chosen = draws.coin(words[:, draws.FLIP_VERTICAL])
        images_NCS[chosen] = images_NCS[chosen][..., ::-1, :]
    if options.quarter_turns:
        turns = words[:, draws.TURNS] >> np.uint32(30)
        for count in (1, 2, 3):
            chosen = turns == count
            images_NCS[chosen] = np.rot90(images_NCS[chosen], count, axes=(-2, -1))
