# SPDX-License-Identifier: Apache-2.0
"""The framing of a ledger: a header, then frames that each carry their length and two checksums.

    u32 len | u32 crc32c(len) | u8 type | body of len bytes | u32 crc32c(type || body)

All numbers are little-endian. The length has a checksum of its own, so a reader can tell a file
that stops early (a *torn tail*) from one that was damaged in the middle.

Source:
    TFRecord and leveldb frame alike; clauses [C-1] to [C-4] of docs/formats/cmeta-v1.md.
"""

import enum
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import google_crc32c

from tiny_agent_trainer import errors

VERSION: Final = 1
"""Version of the format; a reader refuses every other one [C-18]."""

HEADER: Final = b"\x89CMETA\r\n\x1a\x00" + struct.pack("<H", VERSION) + bytes(4)
"""The first 16 bytes: magic (a transfer as text breaks it), version, four zeros [C-1]."""

MAX_BODY_BYTES: Final = 1 << 20
"""Largest body; a longer one is refused, so that no file can make a reader allocate more."""

OVERHEAD_BYTES: Final = 13
"""Bytes of a frame besides its body."""

_LENGTH = struct.Struct("<II")
_U32 = struct.Struct("<I")
_PREFIX_BYTES = 8
_MAGIC_BYTES = 10


class FrameType(enum.IntEnum):
    """What a frame holds; the numbers are part of the format [C-4]."""

    GENESIS = 1
    CYCLE = 2
    STATE = 3
    SEAL = 4
    END = 5


class Frame(NamedTuple):
    """One whole frame whose checksums were right, and where it stands in the file."""

    offset_bytes: int
    kind: FrameType
    body: bytes

    @property
    def end_bytes(self) -> int:
        """Where the next frame begins."""
        return self.offset_bytes + OVERHEAD_BYTES + len(self.body)


class LedgerDamage(errors.LedgerError):
    """Damage at one place of a ledger.

    Args:
        where: The path of the file.
        offset_bytes: Where the damage begins.
        expected: What would have been right.
        found: What was there instead.
        is_torn_tail: The file only stops early; `repair_tail` can cut it back to `offset_bytes`.
    """

    def __init__(
        self,
        *,
        where: str,
        offset_bytes: int,
        expected: str,
        found: str,
        is_torn_tail: bool = False,
    ) -> None:
        self.offset_bytes = offset_bytes
        self.is_torn_tail = is_torn_tail
        remedy = _REPAIR if is_torn_tail else _RESTORE
        place = f"{where}, offset {offset_bytes}"
        super().__init__(where=place, expected=expected, found=found, remedy=remedy)


_REPAIR = "continue the run with --resume, which cuts the ledger back to its checkpoint"
_RESTORE = "fetch an undamaged copy; what stands before this place can still be shown"


def encode_frame(kind: FrameType, body: bytes) -> bytes:
    """Encode one frame.

    Raises:
        ValueError: The body is longer than a reader accepts.
    """
    size = len(body)
    if size > MAX_BODY_BYTES:
        message = f"a frame of {size} bytes is longer than {MAX_BODY_BYTES}"
        raise ValueError(message)
    payload = kind.to_bytes(1, "little") + body
    length = _U32.pack(size)
    length_check = _U32.pack(google_crc32c.value(length))
    return b"".join((length, length_check, payload, _U32.pack(google_crc32c.value(payload))))


def read_header(file: BinaryIO, where: str) -> None:
    """Read and check the header.

    Raises:
        LedgerDamage: The file is empty, foreign, damaged or of another version.
    """
    header = file.read(len(HEADER))
    if header == HEADER:
        return
    if header[:_MAGIC_BYTES] == HEADER[:_MAGIC_BYTES] and len(header) == len(HEADER):
        version = int.from_bytes(header[_MAGIC_BYTES : _MAGIC_BYTES + 2], "little")
        found = f"version {version} and reserved bytes {header[-4:].hex()}"
    else:
        found = f"a file that begins with {header.hex() or 'nothing at all'}"
    expected = f"a .cmeta ledger of version {VERSION}"
    raise LedgerDamage(where=where, offset_bytes=0, expected=expected, found=found)


def read_frames(file: BinaryIO, where: str, offset_bytes: int) -> Iterator[Frame]:
    """Read whole frames until the file ends at a frame's end.

    Args:
        file: A binary file that stands at `offset_bytes`.
        where: Its path, for the error.
        offset_bytes: Where in the file the first frame begins.

    Raises:
        LedgerDamage: A checksum, a length or a type is wrong, or the file ends inside a frame.
    """
    while (frame := read_frame(file, where, offset_bytes)) is not None:
        yield frame
        offset_bytes = frame.end_bytes


def read_frame(file: BinaryIO, where: str, offset_bytes: int) -> Frame | None:
    """Read the frame at the file's position, or None at its end; see `read_frames`."""
    size = read_length(file, where, offset_bytes)
    if size is None:
        return None
    rest = file.read(size + 5)
    if len(rest) < size + 5:
        raise _torn(where, offset_bytes, f"{len(rest) + _PREFIX_BYTES} of {size + OVERHEAD_BYTES}")
    payload = rest[:-4]
    checksum = google_crc32c.value(payload)
    if _U32.unpack_from(rest, size + 1)[0] != checksum:
        found = f"{rest[-4:].hex()} beside contents whose checksum is {_U32.pack(checksum).hex()}"
        raise LedgerDamage(
            where=where, offset_bytes=offset_bytes, expected="a frame's checksum", found=found
        )
    return Frame(offset_bytes, _frame_type(payload[0], where, offset_bytes), payload[1:])


def read_length(file: BinaryIO, where: str, offset_bytes: int) -> int | None:
    """Read the length of the next frame's body, or None at the file's end; see `read_frames`."""
    prefix = file.read(_PREFIX_BYTES)
    if not prefix:
        return None
    if len(prefix) < _PREFIX_BYTES:
        raise _torn(where, offset_bytes, f"{len(prefix)} of at least {OVERHEAD_BYTES}")
    size, checksum = _LENGTH.unpack(prefix)
    if google_crc32c.value(prefix[:4]) != checksum or size > MAX_BODY_BYTES:
        found = f"{size} with checksum {prefix[4:].hex()}"
        expected = f"a length up to {MAX_BODY_BYTES} with its checksum"
        raise LedgerDamage(where=where, offset_bytes=offset_bytes, expected=expected, found=found)
    return int(size)


def _frame_type(value: int, where: str, offset_bytes: int) -> FrameType:
    try:
        return FrameType(value)
    except ValueError:
        raise LedgerDamage(
            where=where,
            offset_bytes=offset_bytes,
            expected=f"a frame type of version {VERSION} (1 to {len(FrameType)})",
            found=f"type {value}",
        ) from None


def _torn(where: str, offset_bytes: int, share: str) -> LedgerDamage:
    return LedgerDamage(
        where=where,
        offset_bytes=offset_bytes,
        expected="a whole frame",
        found=f"a torn tail: the file ends after {share} bytes of its last frame",
        is_torn_tail=True,
    )
