# SPDX-License-Identifier: Apache-2.0
"""Palettes and YBR to RGB, in integers.

Source: PS3.3 C.7.6.3.1.2 and C.7.9. YBR_FULL has the matrix of ITU-R BT.601 at full range; the
coefficients are rounded to 16 fractional bits, and each sum is rounded once, half up.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.processing import apply_color_lut

from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import tags

_BITS: Final = 16
_HALF: Final = 1 << (_BITS - 1)
_RED_CR: Final = 91881
_GREEN_CB: Final = 22554
_GREEN_CR: Final = 46802
_BLUE_CB: Final = 116130
"""1.402, 0.344136, 0.714136 and 1.772 times 2^16."""


def to_rgb(
    stored: npt.NDArray[Any], photometric: str, dataset: pydicom.Dataset, key: str
) -> npt.NDArray[Any]:
    """One frame as RGB, shape (rows, columns, 3), uint8 or uint16.

    Raises:
        DatasetError: A palette that is damaged or segmented, or a colour space that is not known.
    """
    if photometric == "PALETTE COLOR":
        return _by_palette(stored, dataset, key)
    if stored.ndim != 3 or stored.dtype not in (np.uint8, np.uint16):
        found = f"{photometric} with {stored.dtype.name}, shape {stored.shape}"
        raise refusing.refusal(key, "three unsigned samples of 8 or 16 bits", found)
    if photometric == "RGB":
        return stored
    if photometric in ("YBR_FULL", "YBR_FULL_422") and stored.dtype == np.uint8:
        return ybr_full_to_rgb(stored)
    where = f"{key}, {tags.named('PhotometricInterpretation')}"
    raise refusing.refusal(where, "RGB, PALETTE COLOR, or YBR_FULL with 8 bits", photometric)


def ybr_full_to_rgb(ybr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """YBR_FULL with 8 bits to RGB."""
    wide = ybr.astype(np.int64)
    y, cb, cr = (wide[..., 0] << _BITS) + _HALF, wide[..., 1] - 128, wide[..., 2] - 128
    red = y + _RED_CR * cr
    green = y - _GREEN_CB * cb - _GREEN_CR * cr
    blue = y + _BLUE_CB * cb
    rgb: npt.NDArray[np.int64] = np.stack([red, green, blue], axis=-1) >> _BITS
    return np.clip(rgb, 0, 255).astype(np.uint8)


def _by_palette(stored: npt.NDArray[Any], dataset: pydicom.Dataset, key: str) -> npt.NDArray[Any]:
    for colour in ("Red", "Green", "Blue"):
        keyword = f"{colour}PaletteColorLookupTableData"
        if not tags.binary(dataset, keyword, key):
            raise refusing.refusal(key, tags.named(keyword), "none, or a segmented one")
    with refusing.foreign(key, "a palette that fits its descriptor"):
        rgb: npt.NDArray[Any] = apply_color_lut(stored, dataset)
    if rgb.dtype not in (np.uint8, np.uint16) or rgb.shape != (*stored.shape, 3):
        raise refusing.refusal(key, "a palette of 8 or 16 bits", f"{rgb.dtype}")
    return rgb
