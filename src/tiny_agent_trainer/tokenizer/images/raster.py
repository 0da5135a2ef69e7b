# SPDX-License-Identifier: Apache-2.0
"""PNG, JPEG, TIFF and BMP as pixels, by Pillow; nothing is cut or turned without a word."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image as PilImage
from PIL import ImageOps

from tiny_agent_trainer.tokenizer.images import admission, image, refusing, sources

FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP")
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

PIXEL_LIMIT: Final = 1 << 28
"""Pixels of one image; a file that claims more is refused before it is decoded."""

_WITH_ALPHA: Final = {"P": "RGBA", "RGB": "RGBA", "L": "LA", "1": "LA"}
_WITHOUT_PALETTE: Final = {"P": "RGB", "1": "L"}
_PHOTOMETRIC: Final = 262
"""Number of the TIFF tag whose value 0 says that small values are white."""


def read_raster(root: Path, key: str) -> image.Image:
    """Read an image file.

    Raises:
        DatasetError: It is damaged, or would lose bits, colours or frames.
    """
    data, file = sources.read(root, key)
    values = decode(data, key, FORMATS)
    is_lossy = data[:2] == b"\xff\xd8"
    return image.Image(
        values=values,
        decoder=f"Pillow {PIL.__version__}",
        files=(file,),
        remarks=("lossy compression",) if is_lossy else (),
    )


def facts_of(root: Path, key: str) -> Mapping[str, str]:
    """What the header says, without decoding.

    Raises:
        DatasetError: It is no image file.
    """
    path = sources.inside(root, key)
    with refusing.foreign(key, _expected(FORMATS)), PilImage.open(path, formats=FORMATS) as opened:
        return {
            "format": str(opened.format),
            "rows": str(opened.height),
            "columns": str(opened.width),
        }


def decode(data: bytes, where: str, formats: tuple[str, ...]) -> npt.NDArray[Any]:
    """Pixels of an image file, shape (rows, columns, channels), as they are stored.

    The orientation that a camera wrote down is applied, palettes become colours, an opaque alpha
    channel is left out.

    Raises:
        DatasetError: It is none of the formats, damaged, transparent, of several frames, too large,
            or Pillow would cut it to 8 bits.
    """
    try:
        with (
            warnings.catch_warnings(action="error"),
            PilImage.open(io.BytesIO(data), formats=formats) as opened,
        ):
            _require_one_sane_image(opened, where)
            _require_all_bits(opened, where)
            return _pixels(ImageOps.exif_transpose(opened), where)
    except refusing.FOREIGN as error:
        raise refusing.refusal(where, _expected(formats), refusing.describe(error)) from error


def _expected(formats: tuple[str, ...]) -> str:
    return f"a whole {', '.join(formats[:-1])} or {formats[-1]} image"


def _require_one_sane_image(opened: PilImage.Image, where: str) -> None:
    frames = getattr(opened, "n_frames", 1)
    if frames != 1:
        raise refusing.refusal(where, "one image", f"{frames} frames")
    if opened.width * opened.height > PIXEL_LIMIT:
        found = f"{opened.width} x {opened.height} pixels, more than {PIXEL_LIMIT}"
        raise refusing.refusal(where, "an image of sane size", found)


def _require_all_bits(opened: PilImage.Image, where: str) -> None:
    """Refuse what Pillow would cut from 16 to 8 bits, or leave inverted, without a word."""
    tiles = getattr(opened, "tile", ())
    raw_modes = [str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]) for tile in tiles]
    is_deep_gray = opened.mode.startswith(("I", "F"))
    if any(";16" in mode for mode in raw_modes) and not is_deep_gray:
        expected = "colour with 8 bits, or gray with 8 or 16"
        raise refusing.refusal(where, expected, "colour with 16 bits")
    tags = getattr(opened, "tag_v2", {})
    if is_deep_gray and tags.get(_PHOTOMETRIC) == 0:
        found = "a TIFF with more than 8 bits in which 0 is white"
        raise refusing.refusal(where, "gray in which 0 is black", found)


def _pixels(opened: PilImage.Image, where: str) -> npt.NDArray[Any]:
    modes = _WITH_ALPHA if "transparency" in opened.info else _WITHOUT_PALETTE
    if opened.mode in modes:
        opened = opened.convert(modes[opened.mode])
    pixels = np.asarray(opened)
    if opened.mode in {"LA", "RGBA"}:
        if (pixels[..., -1] != 255).any():
            raise refusing.refusal(where, "an opaque image", "transparent pixels")
        pixels = pixels[..., :-1]
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    is_gray = pixels.shape[-1] == 1
    is_plain = opened.mode in {"L", "LA", "RGB", "RGBA"} or (is_gray and opened.mode[:1] in "IF")
    if not is_plain:
        raise refusing.refusal(where, "gray or RGB with 8 or 16 bits", f"mode {opened.mode}")
    return admission.admit(pixels, where)
