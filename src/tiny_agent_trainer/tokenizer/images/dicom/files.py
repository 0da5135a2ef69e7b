# SPDX-License-Identifier: Apache-2.0
"""DICOM files as datasets of allowed elements: recognised by content, with or without preamble."""

import functools
import io
import logging
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom import filereader

from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import privacy, scanning, tags

# pydicom repeats values of elements in its log, where they may name a person.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

PREAMBLE_BYTES: Final = 132
START_BYTES: Final = 1 << 16
"""How much of a file is looked at to recognise it; file meta information is far shorter."""

_MAGIC: Final = b"DICM"
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_INFLATED_LIMIT_BYTES: Final = 1 << 31
_VRS: Final = {b"UL", b"UI", b"CS", b"DA", b"TM", b"SH", b"LO", b"OB", b"US", b"SQ", b"UN"}
_LARGEST_FIRST_VALUE: Final = 1024

EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"


def is_dicom(start: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM.

    Either "DICM" behind a preamble; or, as old archives write files, a first element of group 2 or
    8 at once, with a value representation or a length that such an element can have.
    """
    if start[128:PREAMBLE_BYTES] == _MAGIC:
        return True
    if len(start) < 12:
        return False
    for order in "<>":
        group, element = struct.unpack(order + "HH", start[:4])
        if group not in (0x0002, 0x0008) or element > 0x0100:
            continue
        if start[4:6] in _VRS:
            return True
        (length,) = struct.unpack("<I", start[4:8])
        if order == "<" and length <= _LARGEST_FIRST_VALUE:
            return True
    return False


def read_header(path: Path, key: str) -> pydicom.Dataset:
    """The allowed elements before the pixels.

    Raises:
        DatasetError: The file cannot be parsed.
    """
    with refusing.foreign(key, "a DICOM file"), path.open("rb") as stream:
        start = stream.read(START_BYTES)
        found = scanning.scan(start, _numbers(privacy.HEADER), with_pixels=False)
        if found is not None:
            return found
        if _DEFLATED in start:
            return _parse_whole(start + stream.read(), key, privacy.HEADER, with_pixels=False)
        stream.seek(0)
        return _parse(stream, privacy.HEADER, with_pixels=False)


def scan_start(data: bytes, key: str) -> pydicom.Dataset | None:
    """The allowed elements before the pixels, from a file's first bytes; None if those will not do.

    Raises:
        DatasetError: The file cannot be parsed.
    """
    with refusing.foreign(key, "a DICOM file"):
        return scanning.scan(data[:START_BYTES], _numbers(privacy.HEADER), with_pixels=False)


def decode(data: bytes, key: str) -> pydicom.Dataset:
    """The allowed elements of a whole file, with its pixels, still encoded.

    Raises:
        DatasetError: The file cannot be parsed.
    """
    with refusing.foreign(key, "a DICOM file"):
        allowed = privacy.HEADER + privacy.DATA
        found = scanning.scan(data, _numbers(allowed), with_pixels=True)
        return found or _parse_whole(data, key, allowed, with_pixels=True)


def decode_uptake(data: bytes, key: str) -> pydicom.Dataset:
    """The elements of a whole PET file from which standardised uptake values follow.

    Raises:
        DatasetError: The file cannot be parsed.
    """
    with refusing.foreign(key, "a DICOM file"):
        return _parse_whole(data, key, privacy.UPTAKE, with_pixels=False)


def read_directory(path: Path, key: str) -> pydicom.Dataset:
    """The records of a DICOMDIR.

    Raises:
        DatasetError: The file cannot be parsed.
    """
    with refusing.foreign(key, "a DICOMDIR"), path.open("rb") as stream:
        return _parse_whole(stream.read(), key, privacy.DIRECTORY, with_pixels=False)


def is_directory(dataset: pydicom.Dataset, key: str) -> bool:
    """Whether a file is a DICOMDIR, which lists files and holds no image.

    Raises:
        DatasetError: Its class cannot be read.
    """
    meta = getattr(dataset, "file_meta", None)
    return meta is not None and tags.text(meta, "MediaStorageSOPClassUID", key) == DIRECTORY_CLASS


def syntax_of(dataset: pydicom.Dataset, key: str) -> str:
    """The transfer syntax; for files that name none, the one that pydicom found them written in.

    Raises:
        DatasetError: The name cannot be read.
    """
    meta = getattr(dataset, "file_meta", None)
    named = tags.text(meta, "TransferSyntaxUID", key) if meta is not None else ""
    if named:
        return named
    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if is_little else EXPLICIT_BIG


@functools.cache
def _numbers(allowed: tuple[str, ...]) -> frozenset[int]:
    return frozenset(int(tags.tag_of(keyword)) for keyword in allowed)


def _parse_whole(
    data: bytes, key: str, allowed: Sequence[str], *, with_pixels: bool
) -> pydicom.Dataset:
    """Parse a file that is in memory, which may be deflated."""
    if data.find(_DEFLATED, 0, START_BYTES) >= 0:
        meta_bytes = _end_of_meta(data[:START_BYTES], key)
        meta = pydicom.dcmread(io.BytesIO(data[:meta_bytes]), force=True).file_meta
        if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED.decode():
            wanted = list(map(tags.tag_of, allowed))
            return _parse_deflated(data, meta, meta_bytes, key, wanted, with_pixels)
    return _parse(io.BytesIO(data), allowed, with_pixels=with_pixels)


def _parse(stream: BinaryIO, allowed: Sequence[str], *, with_pixels: bool) -> pydicom.Dataset:
    wanted = list(map(tags.tag_of, allowed))
    return pydicom.dcmread(
        stream, stop_before_pixels=not with_pixels, force=True, specific_tags=wanted
    )


def _end_of_meta(start: bytes, key: str) -> int:
    """Where file meta information ends, by its group length."""
    element = start[PREAMBLE_BYTES : PREAMBLE_BYTES + 12]
    if start[128:PREAMBLE_BYTES] != _MAGIC or element[:8] != b"\2\0\0\0UL\4\0":
        raise refusing.refusal(key, "a group length in front of a deflated data set", "none")
    end = PREAMBLE_BYTES + 12 + int.from_bytes(element[8:12], "little")
    if end > len(start):
        raise refusing.refusal(key, f"at most {START_BYTES} bytes of file meta", f"{end}")
    return end


def _parse_deflated(
    data: bytes,
    meta: pydicom.dataset.FileMetaDataset,
    offset: int,
    key: str,
    wanted: Sequence[int],
    with_pixels: bool,
) -> pydicom.Dataset:
    """Inflate no more than the limit, which pydicom itself would not mind."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[offset:], _INFLATED_LIMIT_BYTES)
    if not inflater.eof:
        found = f"an end that is missing, or more than {_INFLATED_LIMIT_BYTES} bytes"
        raise refusing.refusal(key, "a whole deflated data set", found)
    dataset = filereader.read_dataset(
        io.BytesIO(inflated),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=None if with_pixels else _at_pixels,
        specific_tags=list(wanted),
    )
    dataset.file_meta = meta
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return dataset


def _at_pixels(tag: pydicom.tag.BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)
