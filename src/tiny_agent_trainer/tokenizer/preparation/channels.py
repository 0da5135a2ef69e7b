# SPDX-License-Identifier: Apache-2.0
"""Gray as colour and colour as gray, in integers."""

import numpy as np

from tiny_agent_trainer.tokenizer import samples


def convert(image: samples.StoredArray, wanted: int) -> samples.StoredArray:
    """An image with 1 or 3 channels with as many as wanted; any other is left as it is.

    Args:
        image: Stored array, shape (*spatial, channels).
        wanted: 1, 3, or 0 for as many as there are.
    """
    if wanted == 3 and image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    if wanted == 1 and image.shape[-1] == 3:
        return _gray(image)
    return image


def converted(found: int, wanted: int) -> int:
    """How many channels `convert` gives to an image with `found`."""
    return wanted if {found, wanted} == {1, 3} else found


def _gray(image: samples.StoredArray) -> samples.StoredArray:
    """Luma of ITU-R BT.601 in 16-bit integers: (19595 R + 38470 G + 7471 B + 2^15) / 2^16."""
    weights = np.array([19595, 38470, 7471], np.int64)
    luma = (image.astype(np.int64) @ weights + (1 << 15)) >> 16
    return luma.astype(image.dtype)[..., None]
