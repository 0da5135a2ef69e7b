# SPDX-License-Identifier: Apache-2.0
"""Random changes of training images, from counter-based streams keyed by sample and epoch.

The 16 words of block `sample` of the stream ("augment", epoch) decide everything about a sample in
an epoch, so the batch it is in, its place there, and who computes it have no influence.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config.tokenizer import AugmentationOptions

# Which word of a sample's block decides what.
_FLIP_HORIZONTAL, _FLIP_VERTICAL, _TURNS, _SHIFTS, _SCALE, _OFFSET = 0, 1, 2, 3, 6, 7


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
        self, prepared_NCS: npt.NDArray[np.integer], words: randomness.Words
    ) -> npt.NDArray[np.integer]:
        """Flip, rotate and shift stored integers; shape (n, channels, *spatial)."""
        moved = prepared_NCS.copy()
        options = self.options
        if options.flip_horizontal:
            chosen = _coin(words[:, _FLIP_HORIZONTAL])
            moved[chosen] = moved[chosen][..., ::-1]
        if options.flip_vertical:
            chosen = _coin(words[:, _FLIP_VERTICAL])
            moved[chosen] = moved[chosen][..., ::-1, :]
        if options.quarter_turns:
            turns = words[:, _TURNS] >> np.uint32(30)
            for count in (1, 2, 3):
                chosen = turns == count
                moved[chosen] = np.rot90(moved[chosen], count, axes=(-2, -1))
        if options.shift_pixels:
            _shift_all(moved, _shifts(words, options.shift_pixels, moved.ndim - 2))
        return moved

    def tint(
        self, tokens: npt.NDArray[np.float32], words: randomness.Words
    ) -> npt.NDArray[np.float32]:
        """Scale and offset normalised tokens, shape (n, ...); single IEEE float32 operations."""
        ones = (1,) * (tokens.ndim - 1)
        options = self.options
        if options.intensity_scale:
            factor = np.float32(1) + _symmetric(words[:, _SCALE]) * np.float32(
                options.intensity_scale
            )
            tokens = tokens * factor.reshape(-1, *ones)
        if options.intensity_offset:
            offset = _symmetric(words[:, _OFFSET]) * np.float32(options.intensity_offset)
            tokens = tokens + offset.reshape(-1, *ones)
        return tokens


def _coin(words: randomness.Words) -> npt.NDArray[np.bool_]:
    return words >= np.uint32(1 << 31)


def _symmetric(words: randomness.Words) -> npt.NDArray[np.float32]:
    """Multiples of 2^-23 in [-1, 1), exact."""
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def _shifts(words: randomness.Words, most: int, dims: int) -> npt.NDArray[np.int64]:
    """Whole pixels in [-most, most] for each sample and dim, shape (n, dims)."""
    drawn = words[:, _SHIFTS : _SHIFTS + dims].astype(np.uint64)
    return ((drawn * np.uint64(2 * most + 1)) >> np.uint64(32)).astype(np.int64) - most


def _shift_all(images: npt.NDArray[np.integer], shifts: npt.NDArray[np.int64]) -> None:
    for image, shift in zip(images, shifts.tolist(), strict=True):
        source, target = [slice(None)], [slice(None)]
        for length, step in zip(image.shape[1:], shift, strict=True):
            source.append(slice(max(-step, 0), max(length - max(step, 0), 0)))
            target.append(slice(min(max(step, 0), length), max(length + min(step, 0), 0)))
        kept = image[tuple(source)].copy()
        image[...] = 0
        if kept.size:
            image[tuple(target)] = kept
