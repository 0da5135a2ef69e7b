# SPDX-License-Identifier: Apache-2.0
"""The compressed container of an archive: one gzip member of which every byte is covered.

gzip's own sum covers only the decompressed bytes; padding bits, block borders and the header can be
changed unseen. So a field in the header, which other readers pass over, holds the SHA-256 of
everything behind the header, and the header itself is fixed.

Guarantees:
    Any `gzip -d` reads what is written here. The reader raises nothing but `ArchiveError`, holds a
    few MiB at most, whatever the file says, and gives nothing out before the SHA-256 was checked.
    Not claimed: that another zlib compresses to the same bytes; the tar inside is what is compared.

Source:
    RFC 1952 (gzip), RFC 1951 (deflate); docs/formats/archive-v1.md [A-6]..[A-9].
"""

import hashlib
import struct
import zlib
from typing import BinaryIO, Final

from tiny_agent_trainer import errors

DIGEST_OFFSET: Final = 16
HEADER_BYTES: Final = 48
"""10 bytes of RFC 1952, the length of the extra field, its name and length, the 32 of SHA-256."""

STORED_BYTES: Final = 65_535
"""Largest stored block of deflate; stored pieces are best a multiple of it."""

_START: Final = bytes.fromhex("1f8b0804 00000000 00ff 2400") + b"TA" + bytes.fromhex("2000")
_LAST_BLOCK: Final = bytes.fromhex("01 0000 ffff")
_TRAILER: Final = struct.Struct("<II")
_LEVEL: Final = 6
_CHUNK_BYTES: Final = 1 << 18
_OUTPUT_BYTES: Final = 1 << 20


class Encoder:
    """Compresses pieces one after the other; `digest` belongs at `DIGEST_OFFSET` at the end."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._crc = 0
        self._size_bytes = 0
        self._deflate: zlib._Compress | None = None

    @staticmethod
    def header() -> bytes:
        """The header, with zeros where the digest belongs."""
        return _START + bytes(HEADER_BYTES - DIGEST_OFFSET)

    def encode(self, piece: bytes, *, is_compressible: bool) -> bytes:
        """The next bytes of the file; pieces that are not compressible become stored blocks."""
        self._crc = zlib.crc32(piece, self._crc)
        self._size_bytes += len(piece)
        if not is_compressible:
            return self._out(self._flush() + _stored(piece))
        if self._deflate is None:
            self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return self._out(self._deflate.compress(piece))

    def finish(self) -> bytes:
        """The last bytes of the file."""
        trailer = _TRAILER.pack(self._crc, self._size_bytes & 0xFFFFFFFF)
        return self._out(self._flush() + _LAST_BLOCK + trailer)

    @property
    def digest(self) -> bytes:
        """SHA-256 of everything behind the header so far."""
        return self._sha256.digest()

    def _flush(self) -> bytes:
        if self._deflate is None:
            return b""
        out, self._deflate = self._deflate.flush(zlib.Z_FULL_FLUSH), None
        return out

    def _out(self, data: bytes) -> bytes:
        self._sha256.update(data)
        return data


class Decoder:
    """Decompresses a container whose bytes were checked; a source of bytes for `ustar`.

    Args:
        file: The container, positioned behind its header.
        where: What it is called in errors.
        limit_bytes: How many bytes may come out at most; can be changed between reads.
    """

    def __init__(self, file: BinaryIO, where: str, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._file = file
        self._where = where
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ready = b""
        self._place = 0
        self._crc = 0
        self._size_bytes = 0
        self._is_finished = False

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none only when the container ended as it has to.

        Raises:
            ArchiveError: Damaged deflate data, a wrong sum, more than `limit_bytes`, or anything
                behind the end.
        """
        if self._place == len(self._ready) and not self._is_finished:
            self._refill()
        piece = self._ready[self._place : self._place + size]
        self._place += len(piece)
        return piece

    def _refill(self) -> None:
        self._ready, self._place = b"", 0
        while not self._ready and not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            if not data:
                raise refusal(self._where, "a whole gzip file", "an end inside the deflate data")
            try:
                self._ready = self._inflate.decompress(data, _OUTPUT_BYTES)
            except zlib.error as error:
                raise refusal(self._where, "deflate data", str(error)) from None
        self._crc = zlib.crc32(self._ready, self._crc)
        self._size_bytes += len(self._ready)
        if self._size_bytes > self.limit_bytes:
            raise refusal(self._where, f"at most {self.limit_bytes} bytes inside", "more (a bomb)")
        if not self._ready:
            self._finish()

    def _finish(self) -> None:
        behind = self._inflate.unused_data
        behind += self._file.read(max(0, _TRAILER.size + 1 - len(behind)))
        right = _TRAILER.pack(self._crc, self._size_bytes & 0xFFFFFFFF)
        if behind[: _TRAILER.size] != right:
            raise refusal(self._where, "the sum and the length of gzip", "other values")
        if len(behind) > _TRAILER.size:
            raise refusal(self._where, "the end behind the first gzip member", "more bytes")
        self._is_finished = True


def require_header(file: BinaryIO, where: str) -> bytes:
    """Read the fixed header and return the digest in it.

    Raises:
        ArchiveError: Not gzip, or gzip that another program wrote.
    """
    header = file.read(HEADER_BYTES)
    if header[:2] != _START[:2]:
        raise refusal(where, "an archive (.tar.gz)", "a file that is not gzip")
    if len(header) != HEADER_BYTES or header[:DIGEST_OFFSET] != _START:
        raise refusal(f"{where}, byte 0", "the header of this package's archives", "another one")
    return header[DIGEST_OFFSET:]


def require_untouched(file: BinaryIO, where: str) -> None:
    """Check header and SHA-256 of a whole container and leave it positioned behind its header.

    Raises:
        ArchiveError: Another header, or bytes that are not those that were written.
    """
    file.seek(0)
    digest = require_header(file, where)
    found = hashlib.sha256()
    while piece := file.read(_OUTPUT_BYTES):
        found.update(piece)
    if found.digest() != digest:
        raise refusal(where, f"bytes with the SHA-256 {digest.hex()}", found.hexdigest())
    file.seek(HEADER_BYTES)


def refusal(where: str, expected: str, found: str) -> errors.ArchiveError:
    """The error for an archive that is not as it has to be."""
    return errors.ArchiveError(
        where=where,
        expected=expected,
        found=found,
        remedy="do not use this archive; get it anew from who made it",
    )


def _stored(data: bytes) -> bytes:
    pieces = []
    for place in range(0, len(data), STORED_BYTES):
        block = data[place : place + STORED_BYTES]
        pieces += [struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block]
    return b"".join(pieces)
