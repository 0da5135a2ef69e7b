# SPDX-License-Identifier: Apache-2.0
"""PNG whose bytes do not depend on a compressor: stored deflate blocks, no row filters."""

import base64
import struct
import zlib

from tiny_agent_trainer.reports.picture import Picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}
"""PNG (third edition) table 11.1: 0 is greyscale, 2 is truecolour."""
_STORED_BLOCK_LIMIT = 65_535
"""RFC 1951 section 3.2.4: the length of a stored block has 16 bits."""


def encode_png(picture: Picture) -> bytes:
    """Encode an 8-bit gray or RGB picture.

    Guarantees:
        The bytes follow from the pixels alone. Each pixel is kept; tested by decoding with Pillow.

    Source:
        W3C, Portable Network Graphics (third edition); RFC 1950 and 1951 for the stored stream.
    """
    row_size_bytes = picture.width * picture.channels
    starts = range(0, len(picture.pixels), row_size_bytes)
    rows = b"".join(b"\0" + picture.pixels[start : start + row_size_bytes] for start in starts)
    colour = _COLOUR_TYPES[picture.channels]
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, colour, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", _store(rows)) + _chunk(b"IEND", b"")
    return _SIGNATURE + chunks


def encode_data_uri(picture: Picture) -> str:
    """The PNG as a `data:` address, so that a page needs no second file."""
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _store(data: bytes) -> bytes:
    blocks = []
    for start in range(0, len(data), _STORED_BLOCK_LIMIT):
        block = data[start : start + _STORED_BLOCK_LIMIT]
        is_last = start + _STORED_BLOCK_LIMIT >= len(data)
        blocks.append(struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF) + block)
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(data))
