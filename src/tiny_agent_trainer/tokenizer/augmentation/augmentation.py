# SPDX-License-Identifier: Apache-2.0
"""Random changes of training images, from counter-based streams keyed by sample and epoch.

The 16 words of block `sample` of the stream ("augment", epoch) decide everything about a sample in
an epoch, so the batch it is in, its place there, and who computes it have no influence.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config.augmentation import AugmentationOptions
from tiny_agent_trainer.tokenizer.augmentation import (
    blurring,
    gamma,
    mirroring,
    shifting,
    tinting,
    warping,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Augmentation:
    """The configured changes, for one experiment."""

    options: AugmentationOptions
    base_seed: int

    @property
    def is_active(self) -> bool:
        """Whether anything is changed at all."""
        return self.options != AugmentationOptions()

    def draw(self, epoch: int, samples: npt.NDArray[np.int64]) -> randomness.Words:
        """The words of chosen samples in an epoch, shape (n, 16)."""
        stream = randomness.stream(self.base_seed, "augment", epoch)
        return stream.blocks(samples.astype(np.uint64))

    def move(
        self,
        prepared_NCS: npt.NDArray[np.integer],
        words: randomness.Words,
        plane_ratios: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.integer]:
        """Change prepared integers, shape (n, channels, *spatial).

        Flips, turns, shifts, then rotation, scale and deformation at once, blur and gamma.

        Args:
            prepared_NCS: The images.
            words: What decides, one block per image.
            plane_ratios: Distance of columns over that of rows, shape (n,); None for square pixels.

        Raises:
            DatasetError: Pixels are too long to be rotated.
        """
        moved, options = prepared_NCS.copy(), self.options
        mirroring.mirror_all(moved, words, options)
        if options.shift_pixels:
            shifting.shift_all(moved, words, options.shift_pixels)
        if warping.is_wanted(options):
            moved = warping.warp_all(moved, words, options, plane_ratios)
        if options.blur_passes:
            blurring.blur_all(moved, words, options.blur_passes)
        if options.gamma:
            moved = gamma.bend_all(moved, words, options.gamma)
        return moved

    def tint(
        self, tokens: npt.NDArray[np.float32], words: randomness.Words
    ) -> npt.NDArray[np.float32]:
        """Scale, offset and noise of normalised tokens, shape (n, ...)."""
        options = self.options
        if options.intensity_scale:
            tokens = tinting.scale(tokens, words, options.intensity_scale)
        if options.intensity_offset:
            tokens = tinting.offset(tokens, words, options.intensity_offset)
        if options.noise:
            tokens = tinting.add_noise(tokens, words, options.noise)
        return tokens
