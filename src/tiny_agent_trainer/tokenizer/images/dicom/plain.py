# SPDX-License-Identifier: Apache-2.0
"""Values of elements that are written as usual, without the way through pydicom's conversion.

pydicom makes an object of each element, which takes longer for all of them than reading a small
file. Nearly all elements are plain: two bytes per number, digits, letters. What is not, in whatever
way, is left to pydicom.
"""

import functools
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from pydicom import datadict
from pydicom.dataelem import RawDataElement as Raw

Values: TypeAlias = tuple[str, ...] | tuple[int, ...] | tuple[float, ...]

_Decode: TypeAlias = Callable[[bytes, bool], Values | None]

_DIGITS: Final = b"0123456789"
_INTEGER_BYTES: Final = 12
"""Of an integer string (PS3.5 6.2); longer ones may not be exact as float64."""


def values_of(element: Raw, keyword: str) -> Values | None:
    """The values of an element, () for an empty one; None where pydicom has to look at it.

    Args:
        element: As it stands in a file, all of its bytes read.
        keyword: The element's name in the standard, whose representation its bytes must have; of
            an element of a vendor its number, which pydicom looks at.

    Guarantees:
        What pydicom makes of it: the same texts without the padding behind them, the same
        integers, the same float64.
    """
    decode = _decoders_of(keyword).get(element.VR)
    if decode is None:
        return None
    data = element.value
    return decode(data, element.is_little_endian) if data else ()


@functools.cache
def _decoders_of(keyword: str) -> Mapping[str | None, _Decode]:
    """By the representation that a file gives; None where it gives none and there is but one."""
    if not datadict.dictionary_has_tag(keyword):
        return {}  # of a vendor
    names = datadict.dictionary_VR(keyword).split(" or ")
    found: dict[str | None, _Decode] = {
        name: _DECODERS[name] for name in names if name in _DECODERS
    }
    if len(names) == 1 and found:
        found[None] = found[names[0]]
    return found


def _texts(data: bytes, _: bool) -> Values | None:
    """Code strings: any byte is a character of Latin-1; blanks in front stay."""
    text = data.decode("latin-1").rstrip(" \0")
    return tuple(text.split("\\")) if text else ()


def _one_text(data: bytes, _: bool) -> Values | None:
    """An identifier of letters and digits, which every character set writes alike."""
    text = data.rstrip(b" \0")
    if not text:
        return ()
    is_plain = text.isascii() and text.replace(b"-", b"").replace(b"_", b"").isalnum()
    return (text.decode("ascii"),) if is_plain else None


def _unique_identifier(data: bytes, _: bool) -> Values | None:
    text = data.rstrip(b" \0")
    if not text:
        return ()
    return None if text.translate(None, _DIGITS + b".") else (text.decode("ascii"),)


def _decimals(data: bytes, _: bool) -> Values | None:
    if data.translate(None, _DIGITS + b"+-.eE \\"):
        return None
    try:
        return tuple(map(float, data.split(b"\\")))
    except ValueError:
        return None


def _integers(data: bytes, _: bool) -> Values | None:
    if data.translate(None, _DIGITS + b"+- ") or len(data) > _INTEGER_BYTES:
        return None
    try:
        return (int(data),)
    except ValueError:
        return None


def _unsigned_shorts(data: bytes, is_little: bool) -> Values | None:
    if len(data) % 2:
        return None
    return struct.unpack(f"{'<' if is_little else '>'}{len(data) // 2}H", data)


def _signed_short(data: bytes, is_little: bool) -> Values | None:
    """One value; of a descriptor of a lookup table, pydicom corrects the first of three."""
    return struct.unpack("<h" if is_little else ">h", data) if len(data) == 2 else None


_DECODERS: Final[Mapping[str, _Decode]] = {
    "CS": _texts,
    "DS": _decimals,
    "IS": _integers,
    "LO": _one_text,
    "SS": _signed_short,
    "UI": _unique_identifier,
    "US": _unsigned_shorts,
}
