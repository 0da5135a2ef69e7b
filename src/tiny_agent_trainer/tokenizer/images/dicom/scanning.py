# SPDX-License-Identifier: Apache-2.0
"""The allowed elements of a regular file, found in one pass over its bytes.

pydicom reads files of every kind, damaged ones included, and pays for it with several calls for
each element, wanted or not. Nearly all files are regular: a whole meta group, then elements in
ascending order to the last byte. What is not, in whatever way, is left to pydicom.

Source: PS3.5 7 and A.4, PS3.10 7.1.
"""

import functools
import struct
from collections.abc import Collection
from typing import Final, TypeAlias, cast

import pydicom
from pydicom import charset, datadict, dataelem, uid, valuerep
from pydicom.dataelem import RawDataElement as Raw
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag

_START: Final = b"DICM\2\0\0\0UL\4\0"
_START_BYTE: Final = 128
_SYNTAX: Final = BaseTag(0x00020010)
_CHARACTER_SET: Final = BaseTag(0x00080005)
_PIXEL_DATA: Final = 0x7FE00010
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, _PIXEL_DATA))
_META: Final = range(0x00020000, 0x00030000)
_DATA: Final = range(0x00040000, 0xFFFE0000)
"""Numbers of elements: of group 2, and of all groups between it and the delimiters of items."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_END: Final = b"\xfe\xff\x0d\xe0\0\0\0\0"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"

_LONG: Final = frozenset(name.encode() for name in valuerep.EXPLICIT_VR_LENGTH_32)
_SHORT: Final = frozenset(name.encode() for name in valuerep.STANDARD_VR) - _LONG
"""Value representations with lengths of 4 and of 2 bytes (PS3.5 7.1.2)."""

_NATIVE_SYNTAXES: Final = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)
_COMPRESSED_SYNTAXES: Final = frozenset(
    (
        uid.RLELossless,
        *uid.JPEGTransferSyntaxes,
        *uid.JPEGLSTransferSyntaxes,
        *uid.JPEG2000TransferSyntaxes,
    )
)
_DEPTH_LIMIT: Final = 16
"""Sequences within sequences; anatomy and codes nest four or five deep."""

_explicit: Final = struct.Struct("<HH2sH").unpack_from
_implicit: Final = struct.Struct("<HHL").unpack_from
_length: Final = struct.Struct("<L").unpack_from


_Elements: TypeAlias = dict[BaseTag, dataelem.DataElement | Raw]


class _IrregularError(Exception):
    """Something that is not as in nearly all files."""


_Head: TypeAlias = tuple[int, bytes, int, int]
"""Number of an element, its representation (b"" where implicit), length and place of its value."""


def scan(data: bytes, allowed: Collection[int], *, with_pixels: bool) -> pydicom.Dataset | None:
    """The allowed elements of a file in memory; None when pydicom has to read it.

    Args:
        data: The file; without its pixels, the start of it is enough.
        allowed: Numbers of the elements that are kept.
        with_pixels: Whether to go on to the pixels and behind them.

    Guarantees:
        The data set that `pydicom.dcmread` makes: the same raw elements and character set; the
        value of pixels is a view of the file.
    """
    try:
        meta, place = _meta_of(data)
        syntax = _syntax_of(meta)
        is_implicit = syntax == uid.ImplicitVRLittleEndian
        _require_no_switch(data, place, is_implicit)
        wanted = {*allowed, int(_CHARACTER_SET)}
        found = _elements_of(data, place, _DATA, wanted, is_implicit, with_pixels)
        _require_fitting_pixels(found, syntax)
        encoding = _encoding_of(found)
    except (_IrregularError, struct.error):
        return None
    dataset = pydicom.Dataset(found)
    dataset.set_original_encoding(is_implicit, True, encoding)
    dataset.file_meta = meta
    return dataset


def _meta_of(data: bytes) -> tuple[FileMetaDataset, int]:
    """File meta information, and where it ends by its own word."""
    if not data.startswith(_START, _START_BYTE):
        raise _IrregularError
    first = _START_BYTE + 4
    end = first + 12 + _length(data, first + 8)[0]
    if end > len(data):
        raise _IrregularError
    elements = _elements_of(data[:end], first, _META, _META, False, True)
    meta = FileMetaDataset(pydicom.Dataset(elements))
    meta.set_original_encoding(False, True, charset.default_encoding)
    return meta, end


def _syntax_of(meta: FileMetaDataset) -> str:
    value: bytes | None = meta.get_item(_SYNTAX).value if _SYNTAX in meta else None
    syntax = value.rstrip(b"\0").decode("latin-1") if value else ""
    if syntax not in _NATIVE_SYNTAXES and syntax not in _COMPRESSED_SYNTAXES:
        raise _IrregularError
    return syntax


def _require_no_switch(data: bytes, place: int, is_implicit: bool) -> None:
    """Refuse implicit files whose first length looks like the letters of a representation."""
    if is_implicit and data[place + 4 : place + 6].isalpha():
        raise _IrregularError


def _require_fitting_pixels(found: _Elements, syntax: str) -> None:
    """Pixels in fragments if they are compressed, and in one piece if they are not."""
    pixels = found.get(BaseTag(_PIXEL_DATA))
    if isinstance(pixels, Raw):
        is_in_fragments = pixels.length == _UNDEFINED
        if is_in_fragments != (syntax in _COMPRESSED_SYNTAXES):
            raise _IrregularError


def _elements_of(
    data: bytes,
    place: int,
    bounds: range,
    wanted: Collection[int],
    is_implicit: bool,
    with_pixels: bool,
) -> _Elements:
    """The wanted elements of all that stand from a place to the end, or to the pixels."""
    found: _Elements = {}
    previous = bounds.start - 1
    while place < len(data):
        head = number, _, length, begin = _head(data, place, is_implicit)
        if not previous < number < bounds.stop:
            raise _IrregularError
        if number in _PIXELS and not with_pixels:
            return found
        place = begin + length if length != _UNDEFINED else _behind(data, head, is_implicit, 0)
        if number in wanted:
            element = _element(data, head, place, is_implicit)
            found[element.tag] = element
        previous = number
    if not with_pixels or place != len(data):
        raise _IrregularError
    return found


def _head(data: bytes, place: int, is_implicit: bool) -> _Head:
    if is_implicit:
        group, element, length = _implicit(data, place)
        return group << 16 | element, b"", length, place + 8
    group, element, representation, length = _explicit(data, place)
    if representation in _SHORT:
        return group << 16 | element, representation, length, place + 8
    if representation not in _LONG:
        raise _IrregularError
    return group << 16 | element, representation, _length(data, place + 8)[0], place + 12


def _element(data: bytes, head: _Head, end: int, is_implicit: bool) -> Raw:
    number, representation, length, begin = head
    name = representation.decode("ascii") or None
    return Raw(
        BaseTag(number),
        name,
        length,
        cast("bytes | None", _value(data, head, end, name)),
        begin,
        is_implicit,
        True,
    )


def _value(data: bytes, head: _Head, end: int, name: str | None) -> object:
    """The bytes of a value; of pixels in one piece, nearly all of the file, without a copy."""
    number, _, length, begin = head
    if length == _UNDEFINED:
        if number != _PIXEL_DATA:
            raise _IrregularError
        return data[begin : end - len(_SEQUENCE_END)]
    if number == _PIXEL_DATA and length:
        return memoryview(data)[begin:end]
    return data[begin:end] or dataelem.empty_value_for_VR(name, raw=True)


def _behind(data: bytes, head: _Head, is_implicit: bool, depth: int) -> int:
    """Where a value ends."""
    number, representation, length, begin = head
    if length != _UNDEFINED:
        return begin + length
    if number == _PIXEL_DATA and representation in (b"OB", b"OW"):
        return _behind_fragments(data, begin)
    if not _is_sequence(number, representation) or depth >= _DEPTH_LIMIT:
        raise _IrregularError
    return _behind_items(data, begin, is_implicit, depth)


def _is_sequence(number: int, representation: bytes) -> bool:
    if representation:
        return representation == b"SQ"
    return not datadict.dictionary_has_tag(number) or datadict.dictionary_VR(number) == "SQ"


def _behind_items(data: bytes, place: int, is_implicit: bool, depth: int) -> int:
    while not data.startswith(_SEQUENCE_END, place):
        length = _item_length(data, place)
        place = _behind_item(data, place + 8, length, is_implicit, depth)
    return place + len(_SEQUENCE_END)


def _behind_item(data: bytes, place: int, length: int, is_implicit: bool, depth: int) -> int:
    """Where an item ends, whose elements must fill it."""
    end = place + length
    while place < end:
        if length == _UNDEFINED and data.startswith(_ITEM_END, place):
            return place + len(_ITEM_END)
        head = _head(data, place, is_implicit)
        if head[0] >= _DATA.stop:
            raise _IrregularError
        place = _behind(data, head, is_implicit, depth + 1)
    if place != end:
        raise _IrregularError
    return end


def _behind_fragments(data: bytes, place: int) -> int:
    while not data.startswith(_SEQUENCE_END, place):
        length = _item_length(data, place)
        if length == _UNDEFINED:
            raise _IrregularError
        place += 8 + length
    return place + len(_SEQUENCE_END)


def _item_length(data: bytes, place: int) -> int:
    if not data.startswith(_ITEM, place):
        raise _IrregularError
    length: int = _length(data, place + 4)[0]
    return length


def _encoding_of(found: _Elements) -> str | list[str]:
    """Python's names of the character sets of a file, as pydicom holds them."""
    named = found.get(_CHARACTER_SET)
    if named is None:
        return charset.default_encoding
    try:
        return list(_encodings_of(named.value or b""))
    except (LookupError, ValueError) as error:
        raise _IrregularError from error


@functools.lru_cache(maxsize=64)
def _encodings_of(value: bytes) -> tuple[str, ...]:
    element = Raw(_CHARACTER_SET, "CS", len(value), value, 0, False, True)
    return tuple(charset.convert_encodings(dataelem.convert_raw_data_element(element).value))
