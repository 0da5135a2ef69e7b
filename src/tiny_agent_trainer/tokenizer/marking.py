# SPDX-License-Identifier: Apache-2.0
"""Which voxels of prepared images their label maps mark as foreground."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import memory, pixels
from tiny_agent_trainer.tokenizer.cache import keys, rows
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.preparation import prepare
from tiny_agent_trainer.tokenizer.samples import LabelMap

_MARKED: Final = 65535
"""What a voxel of foreground is while it is prepared: a share of 1 / 131070 of a new voxel still
rounds to 1."""

_PLAIN: Final = {"intensity": "stored", "window": (), "pad_value": 0, "channels": 0}
"""Options of the image that mean nothing for its label map."""


def mark_all(
    label_maps: Sequence[LabelMap], options: TokenizerSection, store: Store | None
) -> npt.NDArray[np.uint8]:
    """Turn, resample and cut label maps as their images were.

    Args:
        label_maps: Those of all samples, in the order of these.
        options: How images are prepared; `patches.foreground_above` says what is foreground.
        store: Where the result is kept, as one mapped file; without one, memory holds it.

    Returns:
        Shape (n, channels, *spatial), the spatial dims of the prepared images: 1 where any part of
        a voxel is foreground, else 0.

    Raises:
        DatasetError: A label map is not any more what it was, or memory does not hold all.
    """
    made = (_mark(one, options) for one in label_maps)
    if store is not None:
        kept = rows.keep_rows(store, keys.of_marks(label_maps, options), len(label_maps), made)
        return kept.astype(np.uint8, copy=False)
    first = next(made)
    memory.require_room(len(label_maps), np.moveaxis(first, 0, -1), TokenizerSection())
    return np.stack([first, *made])


def _mark(label_map: LabelMap, options: TokenizerSection) -> npt.NDArray[np.uint8]:
    image = _read(label_map)
    is_foreground = image.values > options.patches.foreground_above
    whole = Image(
        values=is_foreground.astype(np.uint16) * np.uint16(_MARKED),
        spacing_mm=image.spacing_mm,
        orientation=image.orientation,
    )
    plain = options.model_copy(update=_PLAIN)
    return (prepare.prepare(whole, plain, label_map.file.path) > 0).astype(np.uint8)


def _read(label_map: LabelMap) -> Image:
    image: Image = label_map.read()
    if pixels.digest_pixels(image.values) != label_map.pixels:
        raise errors.DatasetError(
            where=label_map.file.path,
            expected="the class numbers that were digested before",
            found="other ones",
            remedy="leave the files alone while they are read, then run again",
        )
    return image
