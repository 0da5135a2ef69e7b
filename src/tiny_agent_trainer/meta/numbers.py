# SPDX-License-Identifier: Apache-2.0
"""Numbers as integers and back, bit for bit: order-preserving images and counted integers.

The image of a float is a signed integer in the order of IEEE 754 totalOrder: +0.0 is 0, -0.0 is
-1, and neighbouring floats have neighbouring images. Differences of images are therefore small
where a metric moves slowly, and their size is the distance in units in the last place.

Source:
    IEEE 754-2019, section 5.10 (totalOrder); zigzag as in Protocol Buffers; clauses [C-6]
    and [C-8] of docs/formats/cmeta-v1.md.
"""

import math
import struct
from collections.abc import Callable
from typing import Final

MAX_COUNTED_BYTES: Final = 9
"""Longest counted integer: a zigzag difference of two 64-bit images needs 65 bits."""

Image = Callable[[float | int], int]
Value = Callable[[int], float | int]

_pack_f64, _unpack_f64 = struct.Struct("<d").pack, struct.Struct("<d").unpack
_pack_f32, _unpack_f32 = struct.Struct("<f").pack, struct.Struct("<f").unpack
_pack_i64, _unpack_i64 = struct.Struct("<q").pack, struct.Struct("<q").unpack
_pack_i32, _unpack_i32 = struct.Struct("<i").pack, struct.Struct("<i").unpack
_LOW_63, _LOW_31 = 2**63 - 1, 2**31 - 1
_NAN_SHIFT = 29  # significand bits that binary64 has and binary32 has not


def image_of_f64(value: float | int) -> int:
    """The image of a binary64 number.

    Raises:
        TypeError: Not a float.
    """
    if not isinstance(value, float):
        message = f"{value!r} is not a float"
        raise TypeError(message)
    bits: int = _unpack_i64(_pack_f64(value))[0]
    return bits if bits >= 0 else bits ^ _LOW_63


def f64_of_image(image: int) -> float:
    """The binary64 number with this image, NaN payloads included."""
    value: float = _unpack_f64(_pack_i64(image if image >= 0 else image ^ _LOW_63))[0]
    return value


def image_of_f32(value: float | int) -> int:
    """The image of a number that binary32 holds exactly.

    Raises:
        TypeError: Not a float.
        ValueError: A float that binary32 does not hold: nothing is rounded here.
    """
    if not isinstance(value, float):
        message = f"{value!r} is not a float"
        raise TypeError(message)
    bits = _narrow_nan(value) if math.isnan(value) else _narrow(value)
    return bits if bits >= 0 else bits ^ _LOW_31


def f32_of_image(image: int) -> float:
    """The binary32 number with this image, as a float; NaN payloads included."""
    bits = image if image >= 0 else image ^ _LOW_31
    value: float = _unpack_f32(_pack_i32(bits))[0]
    return _widen_nan(bits) if math.isnan(value) else value


def image_of_i64(value: float | int) -> int:
    """The integer itself.

    Raises:
        TypeError: Not an integer.
        ValueError: More than 64 bits.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{value!r} is not an integer"
        raise TypeError(message)
    if not -(2**63) <= value < 2**63:
        message = f"{value!r} does not fit 64 bits"
        raise ValueError(message)
    return int(value)


def i64_of_image(image: int) -> int:
    """The integer itself."""
    return image


IMAGES: Final[dict[str, Image]] = {"f32": image_of_f32, "f64": image_of_f64, "i64": image_of_i64}
"""By dtype: value -> image."""

VALUES: Final[dict[str, Value]] = {"f32": f32_of_image, "f64": f64_of_image, "i64": i64_of_image}
"""By dtype: image -> value."""

BITS: Final = {"f32": 32, "f64": 64, "i64": 64}
"""By dtype: images stay within the signed integers of so many bits."""


def text_of_float(value: float, *, as_hex: bool = False) -> str:
    """A float as text that gives its bits back: shortest decimal, or `float.hex`.

    NaN is "nan" when it is the usual quiet one, and "nan:" with its 16 hex digits otherwise.
    """
    if not math.isnan(value):
        return value.hex() if as_hex else repr(value)
    bits = _pack_f64(value)[::-1].hex()
    return "nan" if bits == "7ff8000000000000" else f"nan:{bits}"


def encode_counted(number: int) -> bytes:
    """A number from zero up as a count of bytes and the bytes, little-endian.

    Raises:
        OverflowError: Negative. The caller keeps it below 2^72.
    """
    size = (number.bit_length() + 7) >> 3
    return (number << 8 | size).to_bytes(size + 1, "little")


def decode_whole(data: bytes, size: int) -> int:
    """The number in the bytes of a counted integer whose count said `size`.

    Raises:
        ValueError: More than 9 bytes, fewer than `size`, or not the shortest form.
    """
    if len(data) != size or size > MAX_COUNTED_BYTES or (size and not data[-1]):
        message = f"an integer whose bytes are {data[:MAX_COUNTED_BYTES].hex()}, counted as {size}"
        raise ValueError(message)
    return int.from_bytes(data, "little")


def decode_zigzag(data: bytes, size: int) -> int:
    """The signed difference in the bytes of a counted integer; see `decode_whole`."""
    number = decode_whole(data, size)
    return ~(number >> 1) if number & 1 else number >> 1


class Cursor:
    """Reads a frame's body from left to right and refuses whatever has two spellings.

    Every method raises `ValueError` where the body ends early or is not in its only spelling.
    """

    __slots__ = ("_body", "_place")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        start = self._place
        self._place = start + size
        if self._place > len(self._body):
            message = f"the body ends {self._place - len(self._body)} bytes early"
            raise ValueError(message)
        return self._body[start : self._place]

    def counted(self) -> int:
        """A counted integer in its shortest form."""
        size = self.take(1)[0]
        return decode_whole(self.take(size), size)

    def text(self) -> str:
        """A byte with a length, and so many bytes of UTF-8."""
        return self.take(self.take(1)[0]).decode("utf-8")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._body) - self._place)

    def require_end(self) -> None:
        """Require that nothing is left."""
        if self._place != len(self._body):
            message = f"{len(self._body) - self._place} bytes too many"
            raise ValueError(message)


def _narrow(value: float) -> int:
    try:
        packed = _pack_f32(value)
    except OverflowError:
        packed = b""
    if not packed or _unpack_f32(packed)[0] != value:
        message = f"{value!r} is not a binary32 number; round it before recording it"
        raise ValueError(message)
    bits: int = _unpack_i32(packed)[0]
    return bits


def _narrow_nan(value: float) -> int:
    """The 32 bits of a NaN, by integers: a conversion by the processor would change signalling."""
    bits: int = _unpack_i64(_pack_f64(value))[0]
    significand = bits & (2**52 - 1)
    if significand & (2**_NAN_SHIFT - 1):
        message = f"{text_of_float(value)} has a payload that binary32 does not hold"
        raise ValueError(message)
    narrow = 0x7F800000 | significand >> _NAN_SHIFT
    return narrow if bits >= 0 else narrow - 2**31


def _widen_nan(bits: int) -> float:
    wide = 0x7FF << 52 | (bits & (2**23 - 1)) << _NAN_SHIFT
    value: float = _unpack_f64(_pack_i64(wide if bits >= 0 else wide - 2**63))[0]
    return value
