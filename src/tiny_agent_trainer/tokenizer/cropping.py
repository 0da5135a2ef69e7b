# SPDX-License-Identifier: Apache-2.0
"""Patches of images: one at random in training, at evaluation the middle one or a grid of them.

Only the voxels of a patch are read of a mapped image, unless its foreground is looked for.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.config.tokenizer import PatchesOptions

_COIN, _VOXEL, _PLACE = 0, 1, 2
"""Which word of a sample's block decides what; from the last one on, one per dim."""

Images = npt.NDArray[np.integer]
Members = npt.NDArray[np.int64]


def patch_shape(shape: Sequence[int], options: PatchesOptions) -> tuple[int, ...]:
    """Shape of one sample, (channels, *spatial), after cropping.

    Raises:
        DatasetError: Images have not as many dims as the patch, or are smaller.
    """
    channels, *spatial = shape
    if not options.size:
        return tuple(shape)
    is_too_large = any(new > old for new, old in zip(options.size, spatial, strict=False))
    if len(options.size) != len(spatial) or is_too_large:
        raise errors.DatasetError(
            where="[tokenizer.patches] size",
            expected=f"at most {' x '.join(map(str, spatial))}, the size of the images",
            found=" x ".join(map(str, options.size)),
            remedy="choose smaller patches, or pad the images with `size` under [tokenizer]",
        )
    return (channels, *options.size)


def training_crops(
    images_NCS: Images,
    chosen: Members,
    options: PatchesOptions,
    epoch: int,
    base_seed: int,
    marked_NCS: Images | None = None,
) -> Images:
    """One patch of each chosen image, shape (n, channels, *size).

    Block `sample` of the stream ("patches", epoch) decides: whether the patch holds foreground,
    which voxel of it, and where in the patch that voxel lies; otherwise where the patch lies.

    Args:
        images_NCS: Images, shape (n, channels, *spatial).
        chosen: Which of them.
        options: Size of patches and share of the foreground.
        epoch: The epoch, from 1.
        base_seed: The seed of the experiment.
        marked_NCS: What label maps mark: 1 is foreground, 0 is not; None to look for voxels above
            `foreground_above`.

    Guarantees:
        A function of `base_seed`, epoch and sample; integers throughout.
    """
    stream = randomness.stream(base_seed, "patches", epoch)
    words = stream.blocks(chosen.astype(np.uint64))
    sought = images_NCS if marked_NCS is None else marked_NCS
    above = options.foreground_above if marked_NCS is None else 0
    crops = []
    for index, row in zip(chosen.tolist(), words.tolist(), strict=True):
        image = images_NCS[index]
        voxel = None
        if row[_COIN] < options.foreground_fraction * 2.0**32:
            voxel = _foreground_voxel(sought[index], above, row[_VOXEL])
        starts = _starts(image.shape[1:], options.size, voxel, row[_PLACE:])
        crops.append(image[_slices(starts, options.size)])
    return np.stack(crops)


def centre_crops(images_NCS: Images, chosen: Members, options: PatchesOptions) -> Images:
    """The patch in the middle of each chosen image, shape (n, channels, *size)."""
    spatial = images_NCS.shape[2:]
    starts = [(old - new) // 2 for old, new in zip(spatial, options.size, strict=True)]
    middles = images_NCS[(slice(None), *_slices(starts, options.size))]
    crops: Images = middles[chosen]
    return crops


def grid_crops(images_NCS: Images, chosen: Members, options: PatchesOptions) -> Images:
    """All patches of a grid, shape (n * views, channels, *size); those of an image together."""
    places = [_slices(starts, options.size) for starts in _grid(images_NCS.shape[2:], options)]
    return np.stack([images_NCS[i][place] for i in chosen.tolist() for place in places])


def count_views(shape: Sequence[int], options: PatchesOptions) -> int:
    """Patches that an image, shape (channels, *spatial), is evaluated by."""
    if not options.size or options.evaluation == "centre":
        return 1
    pairs = zip(shape[1:], options.size, strict=True)
    return math.prod(-(-old // new) for old, new in pairs)


def _grid(spatial: Sequence[int], options: PatchesOptions) -> Iterator[tuple[int, ...]]:
    """The fewest patches that cover an image, as evenly spaced as whole pixels allow."""
    lines = []
    for old, new in zip(spatial, options.size, strict=True):
        last = -(-old // new) - 1
        lines.append([step * (old - new) // last for step in range(last + 1)] if last else [0])
    return itertools.product(*lines)


def _foreground_voxel(image: Images, above: int, word: int) -> tuple[int, ...] | None:
    """One of the voxels with a channel above the threshold, each as likely; None without any."""
    is_foreground = (image > above).any(axis=0)
    found = np.flatnonzero(is_foreground)
    if not len(found):
        return None
    place = np.unravel_index(int(found[word * len(found) >> 32]), is_foreground.shape)
    return tuple(int(index) for index in place)


def _starts(
    spatial: Sequence[int],
    size: Sequence[int],
    voxel: tuple[int, ...] | None,
    words: Sequence[int],
) -> list[int]:
    starts = []
    for dim, (old, new) in enumerate(zip(spatial, size, strict=True)):
        low, high = 0, old - new
        if voxel is not None:
            low, high = max(voxel[dim] - new + 1, 0), min(voxel[dim], old - new)
        starts.append(low + (words[dim] * (high - low + 1) >> 32))
    return starts


def _slices(starts: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    parts = (slice(start, start + length) for start, length in zip(starts, size, strict=True))
    return (slice(None), *parts)
