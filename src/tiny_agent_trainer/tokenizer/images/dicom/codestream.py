# SPDX-License-Identifier: Apache-2.0
"""What a compressed frame says of itself, read before a decoder allocates for it.

Sources: ITU-T T.81 Annex B (JPEG), T.87 Annex C (JPEG-LS), T.800 Annexes A and I (JPEG 2000).
"""

import struct
from typing import Final

from tiny_agent_trainer.tokenizer.images import refusing

_J2K: Final = b"\xff\x4f\xff\x51"
_JP2: Final = b"\0\0\0\x0cjP  "
_BOXES_BYTES: Final = 1 << 16
"""How far into a frame the codestream of JPEG 2000 may begin: some files hold a JP2 file."""

_JPEG: Final = b"\xff\xd8"
_MARKER_LIMIT: Final = 1000
_START_OF_FRAME: Final = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN: Final = 0xDA
_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_SCAN_HEADER_BYTES: Final = 520
"""Of a start-of-scan segment, which names at most 255 components."""

_APP14: Final = 0xEE


def require_size(frame: bytes, rows: int, columns: int, key: str) -> None:
    """Refuse a frame whose codestream claims another size than the data set.

    Raises:
        DatasetError: It does, or says none.
    """
    found = jpeg2000_size(frame) if _J2K in frame[:_BOXES_BYTES] else jpeg_size(frame)
    if found != (rows, columns):
        claimed = "no size" if found is None else f"{found[0]} x {found[1]}"
        raise refusing.refusal(key, f"a frame of {rows} x {columns} pixels", claimed)


def require_end(frame: bytes, key: str) -> None:
    """Refuse a JPEG-LS frame whose scans are not followed by the end-of-image marker (C.1.1).

    CharLS 2.4.2 refuses such frames too. But where a code leads over their last byte, it first
    reads 2^31 bits that are not there, for seconds, and again at the next code: half of a CT slice
    took 160 s. A marker, which cannot stand inside of a scan, stops it.

    Raises:
        DatasetError: There is none.
    """
    end = frame.rfind(_END)
    scan = frame.rfind(_SCAN, max(end - _SCAN_HEADER_BYTES, 0), max(end, 0))
    in_header = scan >= 0 and end < scan + 2 + int.from_bytes(frame[scan + 2 : scan + 4], "big")
    if in_header or end < _walk(frame)[1]:
        raise refusing.refusal(key, "a frame up to its end-of-image marker", "a frame that is cut")


def jpeg2000_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the SIZ marker; None where tiles or components do not fit them.

    None too where the boxes of a JP2 file do not lead to it: a box of no length would be read again
    and again.
    """
    start = _codestream_in_boxes(frame) if frame.startswith(_JP2) else frame.find(_J2K)
    siz = frame[start + len(_J2K) : start + len(_J2K) + 38]
    if start < 0 or len(siz) < 38 or not frame.startswith(_J2K, start):
        return None
    _, _, right, bottom, left, top, *tiles, components = struct.unpack(">HHIIIIIIIIH", siz)
    if components > 4 or left >= right or top >= bottom or 0 in tiles[:2]:
        return None
    across, down = -(-(right - tiles[2]) // tiles[0]), -(-(bottom - tiles[3]) // tiles[1])
    return (bottom - top, right - left) if 0 < across * down <= 65535 else None


def _codestream_in_boxes(frame: bytes) -> int:
    """Where the codestream of a JP2 file begins; -1 where its boxes do not lead there."""
    place = len(_JP2) + 4
    while place + 8 <= len(frame):
        if frame[place + 4 : place + 8] == b"jp2c":
            return place + 8
        length = int.from_bytes(frame[place : place + 4], "big")
        if length < 8:
            return -1
        place += length
    return -1


def jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the first start-of-frame marker of JPEG or JPEG-LS."""
    for marker, segment in _segments(frame):
        if marker in _START_OF_FRAME and len(segment) >= 5:
            rows, columns = struct.unpack(">HH", segment[1:5])
            return rows, columns
    return None


def is_transformed_by_pillow(frame: bytes) -> bool:
    """Whether an Adobe marker stands in the frame; Pillow then returns RGB, whatever was stored."""
    return any(
        marker == _APP14 and segment.startswith(b"Adobe") for marker, segment in _segments(frame)
    )


def _segments(frame: bytes) -> list[tuple[int, bytes]]:
    """Marker segments up to the first scan."""
    return _walk(frame)[0]


def _walk(frame: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Marker segments up to the first scan, and where that begins."""
    found: list[tuple[int, bytes]] = []
    place = 2
    while frame.startswith(_JPEG) and place + 4 <= len(frame) and len(found) < _MARKER_LIMIT:
        if frame[place] != 0xFF:
            break
        marker = frame[place + 1]
        if marker == 0xFF:  # fill byte (B.1.1.2)
            place += 1
            continue
        length = int.from_bytes(frame[place + 2 : place + 4], "big")
        if marker == _START_OF_SCAN or length < 2:
            break
        found.append((marker, frame[place + 4 : place + 2 + length]))
        place += 2 + length
    return found, place
