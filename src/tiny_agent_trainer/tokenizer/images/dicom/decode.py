# SPDX-License-Identifier: Apache-2.0
"""Encoded pixels -> stored values, by the one decoder that is chosen for each transfer syntax."""

import dataclasses
import functools
import importlib.util
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import config, encaps, uid
from pydicom.pixels.decoders.base import get_decoder

from tiny_agent_trainer.tokenizer.images import refusing, sources
from tiny_agent_trainer.tokenizer.images.dicom import (
    codestream,
    enhanced,
    files,
    native,
    run_length,
    tags,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Syntax:
    """How one transfer syntax is decoded.

    Attributes:
        plugin: pydicom's name of the decoder; "" where pydicom itself decodes.
        package: The distribution whose version is recorded.
        is_lossy: Whether files in it have always lost something.
    """

    plugin: str
    package: str
    is_lossy: bool = False


_NATIVE: Final = Syntax("", "pydicom")
_OPENJPEG: Final = Syntax("pylibjpeg", "pylibjpeg-openjpeg")
_GDCM: Final = Syntax("gdcm", "python-gdcm")

_SYNTAXES: Final[Mapping[str, Syntax]] = {
    uid.ImplicitVRLittleEndian: _NATIVE,
    uid.ExplicitVRLittleEndian: _NATIVE,
    uid.DeflatedExplicitVRLittleEndian: _NATIVE,
    uid.ExplicitVRBigEndian: _NATIVE,
    uid.RLELossless: Syntax("pylibjpeg", "pylibjpeg-rle"),
    uid.JPEGBaseline8Bit: Syntax("pillow", "Pillow", is_lossy=True),
    uid.JPEGExtended12Bit: Syntax("pillow", "Pillow", is_lossy=True),
    uid.JPEGLossless: _GDCM,
    uid.JPEGLosslessSV1: _GDCM,
    uid.JPEGLSLossless: Syntax("pyjpegls", "pyjpegls"),
    uid.JPEGLSNearLossless: Syntax("pyjpegls", "pyjpegls", is_lossy=True),
    uid.JPEG2000Lossless: _OPENJPEG,
    uid.JPEG2000: dataclasses.replace(_OPENJPEG, is_lossy=True),
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: dataclasses.replace(_OPENJPEG, is_lossy=True),
}
"""One decoder each, so that a second one that is installed by chance never changes a pixel."""

_CORRECTED_BY_PYDICOM: Final = {*uid.JPEG2000TransferSyntaxes, *uid.JPEGLSTransferSyntaxes}
"""Syntaxes whose codestream has its own precision; pydicom matches signs and unused bits."""

_UID_LENGTH: Final = 64

_OPTIONS: Final[Mapping[str, Any]] = {"correct_unused_bits": False}
_NATIVE_OPTIONS: Final[Mapping[str, Any]] = {**_OPTIONS, "view_only": True}
"""Unused bits are cleared here, where HighBit is known."""

_BITS_ALLOCATED: Final = (1, 8, 16, 32)

EXCESS: Final = "more bytes than pixels"
OTHER_COLOURS: Final = "colour space taken from the codestream, not from the data set"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The image pixel attributes of a file.

    Attributes:
        rows, columns, samples: Of one frame.
        photometric: Of the values as stored.
        bits_allocated, bits_stored, high_bit, is_signed: Of one cell.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    def is_as_large_as(self, other: "Layout") -> bool:
        """Whether frames of both have the same shape."""
        mine = (self.rows, self.columns, self.samples)
        return mine == (other.rows, other.columns, other.samples)

    @property
    def stored_range(self) -> tuple[int, int]:
        """The smallest and the largest value that a cell can hold."""
        if self.is_signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Decoded frames.

    Attributes:
        stored: One array per frame, shape (rows, columns) or (rows, columns, samples).
        photometric: After decoding, which may already have changed the colour space.
        decoder: Name and version.
        remarks: What a report must say.
    """

    stored: tuple[npt.NDArray[Any], ...]
    photometric: str
    decoder: str
    remarks: tuple[str, ...]


def layout_of(dataset: pydicom.Dataset, key: str) -> Layout:
    """Read and check the image pixel attributes.

    Raises:
        DatasetError: One is missing or impossible.
    """
    allocated = tags.integer(dataset, "BitsAllocated", key)
    stored = tags.integer(dataset, "BitsStored", key, default=allocated)
    layout = Layout(
        rows=tags.integer(dataset, "Rows", key),
        columns=tags.integer(dataset, "Columns", key),
        samples=tags.integer(dataset, "SamplesPerPixel", key, default=1),
        photometric=tags.text(dataset, "PhotometricInterpretation", key),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=tags.integer(dataset, "HighBit", key, default=stored - 1),
        is_signed=tags.integer(dataset, "PixelRepresentation", key, default=0) == 1,
    )
    if layout.samples not in (1, 3):
        where = f"{key}, {tags.named('SamplesPerPixel')}"
        raise refusing.refusal(where, "1 or 3", f"{layout.samples}")
    if allocated not in _BITS_ALLOCATED or not 1 <= stored <= layout.high_bit + 1 <= allocated:
        found = f"{stored} bits stored up to bit {layout.high_bit} of {allocated} allocated"
        raise refusing.refusal(key, "bits that fit into 1, 8, 16 or 32", found)
    sources.require_values(key, layout.rows * layout.columns * layout.samples)
    return layout


def require_decodable(name: str, bits_stored: int, key: str) -> Syntax:
    """The decoder of a transfer syntax.

    Raises:
        DatasetError: There is none here; the message names the syntax and, if there is one, the
            extra that adds the decoder.
    """
    known = uid.UID(name, validation_mode=config.IGNORE)
    listed = f"{name} ({known.name})" if known.name != name else repr(name[:_UID_LENGTH])
    syntax = _SYNTAXES.get(name)
    if syntax is None or (name == uid.JPEGExtended12Bit and bits_stored > 8):
        found = f"transfer syntax {listed} with {bits_stored} bits, for which there is no decoder"
        raise refusing.refusal(key, "pixels in a transfer syntax that can be decoded", found)
    if syntax.plugin == "gdcm" and importlib.util.find_spec("gdcm") is None:
        found = f"transfer syntax {listed}, whose decoder is not installed"
        remedy = "install the extra [gdcm]: pip install 'tiny-agent-trainer[gdcm]'"
        raise refusing.refusal(key, "an installed decoder", found, remedy)
    return syntax


def decode_frames(
    dataset: pydicom.Dataset, layout: Layout, key: str, indices: Sequence[int]
) -> Frames:
    """Decode some frames of a file whose layout is known.

    Raises:
        DatasetError: There are no pixels, they are damaged, or there is no decoder.
    """
    name = files.syntax_of(dataset, key)
    syntax = require_decodable(name, layout.bits_stored, key)
    _require_integer_pixels(dataset, layout, key)
    sources.require_values(key, layout.rows * layout.columns * layout.samples * len(indices))
    stored, seen = [], dict[str, None]()
    photometric = layout.photometric
    for index in indices:
        pixels, photometric, warned = _decode(dataset, layout, syntax, name, key, index)
        stored.append(_corrected(pixels, layout, name))
        seen.update(dict.fromkeys(warned))
    is_lossy = syntax.is_lossy or tags.text(dataset, "LossyImageCompression", key) == "01"
    return Frames(
        stored=tuple(stored),
        photometric=photometric,
        decoder=f"{syntax.package} {_version(syntax.package)}",
        remarks=(("lossy compression",) if is_lossy else ()) + tuple(seen),
    )


@functools.cache
def _version(package: str) -> str:
    return metadata.version(package)


def _require_integer_pixels(dataset: pydicom.Dataset, layout: Layout, key: str) -> None:
    for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
        if tags.is_there(dataset, keyword):
            raise refusing.refusal(key, "integer pixels", tags.named(keyword))
    if not (tags.raw_bytes(dataset, "PixelData") or tags.binary(dataset, "PixelData", key)):
        raise refusing.refusal(key, tags.named("PixelData"), "a file without pixels")
    if layout.bits_allocated == 32 and layout.samples != 1:
        raise refusing.refusal(key, "colour with 8 or 16 bits", "colour with 32 bits")


def _decode(
    dataset: pydicom.Dataset, layout: Layout, syntax: Syntax, name: str, key: str, index: int
) -> tuple[npt.NDArray[Any], str, list[str]]:
    """One frame with its photometric interpretation and what is to be remarked."""
    transformed = False
    with refusing.foreign(key, f"pixels that {syntax.package} decodes"):
        encoded = _encoded(dataset, index, key) if syntax.plugin else b""
        if name == uid.RLELossless:
            run_length.require_runs(encoded, layout.rows * layout.columns, key)
        elif syntax.plugin:
            codestream.require_size(encoded, layout.rows, layout.columns, key)
            if name in uid.JPEGLSTransferSyntaxes:
                codestream.require_end(encoded, key)
            transformed = (
                syntax.plugin == "pillow"
                and layout.samples == 3
                and codestream.is_transformed_by_pillow(encoded)
            )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            source, options = _source(dataset, syntax, name, key)
            pixels, known = get_decoder(name).as_array(
                source, index=index, raw=True, decoding_plugin=syntax.plugin, **options
            )
    photometric = "RGB" if transformed else str(known["photometric_interpretation"])
    return pixels, photometric, _remarks(str(one.message) for one in caught)


def _source(
    dataset: pydicom.Dataset, syntax: Syntax, name: str, key: str
) -> tuple[pydicom.Dataset | bytes, Mapping[str, Any]]:
    """What pydicom is to decode, and how."""
    if syntax.plugin:
        return dataset, _OPTIONS
    told = None if name == uid.ExplicitVRBigEndian else native.source_of(dataset, key)
    if told is None:
        return dataset, _NATIVE_OPTIONS
    data, options = told
    return data, {**options, **_NATIVE_OPTIONS}


def _encoded(dataset: pydicom.Dataset, index: int, key: str) -> bytes:
    count = enhanced.count_frames(dataset, key)
    return encaps.get_frame(dataset.PixelData, index, number_of_frames=count)


def _remarks(messages: Iterable[str]) -> list[str]:
    """Warnings of pydicom in words without values of the file."""
    found = []
    for message in messages:
        if "excess" in message:
            found.append(EXCESS)
        elif "Photometric" in message:
            found.append(OTHER_COLOURS)
        else:
            found.append("pydicom warned while decoding")
    return found


def _corrected(pixels: npt.NDArray[Any], layout: Layout, name: str) -> npt.NDArray[Any]:
    """Clear what stands in unused bits, such as overlays, and extend the sign.

    Source: PS3.5 8.1.1. Native and run-length coded cells are as HighBit says; what JPEG returns
    begins at bit 0.
    """
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    unused = layout.bits_allocated - layout.bits_stored
    if name in _CORRECTED_BY_PYDICOM or unused == 0 or layout.bits_allocated == 1:
        return native
    is_cell = _SYNTAXES[name] is _NATIVE or name == uid.RLELossless
    high_bit = layout.high_bit if is_cell else layout.bits_stored - 1
    if native.dtype.kind == "u" and high_bit == layout.bits_stored - 1:
        mask = native.dtype.type((1 << layout.bits_stored) - 1)
        # To look takes half as long as to copy, and seldom is there anything to clear.
        return native & mask if native.max() > mask else native
    shifted: npt.NDArray[Any] = np.left_shift(native, layout.bits_allocated - 1 - high_bit)
    np.right_shift(shifted, unused, out=shifted)
    return shifted
