# SPDX-License-Identifier: Apache-2.0
"""One spelling of tar: plain files in USTAR, without times, owners or modes of their own.

Guarantees:
    Equal names and bytes give equal tar bytes. The reader accepts exactly what the writer makes and
    raises nothing but `ArchiveError`; it takes memory for one piece of `PIECE_BYTES`, whatever the
    headers say. Any `tar` reads what is written here (tests/unit/meta/test_ustar.py).

Source:
    IEEE Std 1003.1-2024, pax, "ustar Interchange Format"; docs/formats/archive-v1.md [A-1]..[A-5].
"""

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tiny_agent_trainer import errors

BLOCK_BYTES: Final = 512
"""Headers and contents are counted in blocks of this size."""

END: Final = bytes(2 * BLOCK_BYTES)
"""Two zero blocks close the tar; it is not filled up to a record of 20 blocks [A-4]."""

MAX_MEMBER_BYTES: Final = 8**11 - 1
"""Eleven octal digits hold no more (8 GiB); a larger file needs another format."""

MAX_MEMBERS: Final = 100_000
"""Members in one tar; bounds the memory for names when reading."""

PIECE_BYTES: Final = 1 << 20
"""Contents are read in pieces of at most this size."""

_NAME_BYTES: Final = 100
_PREFIX_BYTES: Final = 155
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_OCTAL = re.compile(rb"[0-7]{11}\0")
_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"x": "a pax header",
    b"g": "a global pax header",
    b"L": "a GNU long name",
    b"K": "a GNU long link",
    b"S": "a GNU sparse file",
}


class Readable(Protocol):
    """Where tar bytes come from; `read` may return fewer bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a tar; `pieces` can be read once, before the next member is asked for."""

    name: str
    size_bytes: int
    pieces: Iterator[bytes]


def encode_members(members: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Encode (name, size in bytes, pieces of the contents) in the given order.

    Raises:
        ArchiveError: While iterating: a name or size that the form cannot hold, a name that stands
            twice or is a file and a directory at once, or pieces that do not add up to the size.
    """
    names = _Names("the tar to write")
    for name, size_bytes, pieces in members:
        names.add(name)
        yield encode_header(name, size_bytes)
        num_bytes = 0
        for piece in pieces:
            num_bytes += len(piece)
            yield piece
        if num_bytes != size_bytes:
            where = f"member {name!r} of the tar to write"
            raise _refusal(where, f"{size_bytes} bytes", f"{num_bytes} bytes")
        yield padding(size_bytes)
    yield END


def encode_tar(files: Mapping[str, bytes]) -> bytes:
    """Encode files, sorted by the bytes of their names.

    Raises:
        ArchiveError: A name or size that the form cannot hold.
    """
    ordered = sorted(files.items(), key=lambda item: item[0].encode(errors="surrogatepass"))
    return b"".join(encode_members((name, len(data), (data,)) for name, data in ordered))


def decode_tar(data: bytes) -> dict[str, bytes]:
    """Decode what `encode_tar` made.

    Raises:
        ArchiveError: The bytes are not exactly those of `encode_tar` of what they say.
    """
    source = io.BytesIO(data)
    files = {m.name: b"".join(m.pieces) for m in read_members(source, "the tar")}
    for before, after in itertools.pairwise(files):
        if before.encode() > after.encode():
            raise _refusal(f"member {after!r} of the tar", "names in order", f"{before!r} before")
    return files


def read_members(source: Readable, where: str) -> Iterator[Member]:
    """Read the members of a tar one after the other; what is left of each is passed over.

    Args:
        source: The tar.
        where: What it is called in errors.

    Raises:
        ArchiveError: While iterating: anything that `encode_members` would not have written, bytes
            behind the end, or an end that is missing.
    """
    names = _Names(where)
    offset_bytes = 0
    while (block := _read_exact(source, BLOCK_BYTES, where, offset_bytes)) != END[:BLOCK_BYTES]:
        name, size_bytes = _decode_header(block, f"{where}, byte {offset_bytes}")
        names.add(name)
        body = _Body(source, f"{where}, member {name!r}", offset_bytes + BLOCK_BYTES, size_bytes)
        yield Member(name=name, size_bytes=size_bytes, pieces=body)
        offset_bytes = body.finish()
    offset_bytes += BLOCK_BYTES
    if _read_exact(source, BLOCK_BYTES, where, offset_bytes) != END[BLOCK_BYTES:]:
        raise _refusal(f"{where}, byte {offset_bytes}", "a second zero block", "something else")
    if source.read(1):
        found = "more bytes behind it"
        raise _refusal(f"{where}, byte {offset_bytes + BLOCK_BYTES}", "the end of the tar", found)


def require_name(name: str, where: str) -> None:
    """Require a relative path of plain components.

    Raises:
        ArchiveError: Absolute, with an empty, `.` or `..` component, with a backslash or a control
            character, not UTF-8, or too long for USTAR.
    """
    fault = _fault_of(name)
    if fault is not None:
        raise _refusal(where, "a relative path of plain names", f"{name!r}, {fault}")


def encode_header(name: str, size_bytes: int) -> bytes:
    """The header block of one plain file.

    Raises:
        ArchiveError: A name or size that the form cannot hold.
    """
    require_name(name, "a name to write into a tar")
    if not 0 <= size_bytes <= MAX_MEMBER_BYTES:
        raise _refusal(f"member {name!r}", f"0 to {MAX_MEMBER_BYTES} bytes", f"{size_bytes} bytes")
    prefix, rest = _split(name.encode())
    fields = (
        rest.ljust(_NAME_BYTES, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0" * 2,  # owner and group
        b"%011o\0" % size_bytes,
        b"00000000000\0",  # time of modification
        b" " * 8,  # the sum is taken with blanks in its place
        b"0".ljust(_NAME_BYTES + 1, b"\0"),  # type: plain file; no link name
        b"ustar\00000".ljust(72, b"\0"),  # magic and version; no names of owner and group
        b"0000000\0" * 2,  # device
        prefix.ljust(_PREFIX_BYTES, b"\0"),
    )
    block = b"".join(fields).ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size_bytes: int) -> bytes:
    """The zero bytes that fill up the last block of a member's contents."""
    return bytes(-size_bytes % BLOCK_BYTES)


class _Names:
    """The names so far: none twice, none both a file and a directory."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def add(self, name: str) -> None:
        parts = name.split("/")
        parents = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        where = f"{self._where}, member {name!r}"
        if name in self._files:
            raise _refusal(where, "each name once", "the same name a second time")
        if name in self._directories or parents & self._files:
            raise _refusal(where, "files only", "a name that is a file and a directory at once")
        if len(self._files) == MAX_MEMBERS:
            raise _refusal(where, f"at most {MAX_MEMBERS} members", "one more")
        self._files.add(name)
        self._directories |= parents


class _Body:
    """The contents of one member while they are read."""

    def __init__(self, source: Readable, where: str, offset_bytes: int, size_bytes: int) -> None:
        self._source = source
        self._where = where
        self._left_bytes = size_bytes
        self._padding_bytes = -size_bytes % BLOCK_BYTES
        self._end_bytes = offset_bytes + size_bytes + self._padding_bytes

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._left_bytes == 0:
            raise StopIteration
        piece = self._source.read(min(self._left_bytes, PIECE_BYTES))
        if not piece:
            found = f"the end of the tar, {self._left_bytes} bytes early"
            raise _refusal(self._where, "the whole contents", found)
        self._left_bytes -= len(piece)
        return piece

    def finish(self) -> int:
        """Pass over what is left and return the offset of the next header."""
        for _ in self:
            pass
        place = self._end_bytes - self._padding_bytes
        filling = _read_exact(self._source, self._padding_bytes, self._where, place)
        if any(filling):
            raise _refusal(f"{self._where}, byte {place}", "zero bytes as filling", "other bytes")
        return self._end_bytes


def _read_exact(source: Readable, size_bytes: int, where: str, offset_bytes: int) -> bytes:
    found = bytearray()
    while len(found) < size_bytes:
        piece = source.read(size_bytes - len(found))
        if not piece:
            place = f"{where}, byte {offset_bytes + len(found)}"
            raise _refusal(place, f"{size_bytes - len(found)} more bytes", "the end of the tar")
        found += piece
    return bytes(found)


def _decode_header(block: bytes, where: str) -> tuple[str, int]:
    rest, prefix = (_text(block[0:100]), _text(block[345:500]))
    raw = prefix + b"/" + rest if prefix else rest
    shown = f"member {raw.decode(errors='backslashreplace')!r}"
    if block[156:157] != b"0":
        found = _KINDS.get(block[156:157], f"the type {block[156:157]!r}")
        raise _refusal(f"{where}, {shown}", "a plain file", found)
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise _refusal(f"{where}, {shown}", "a name in UTF-8", "other bytes") from None
    require_name(name, where)
    if not _OCTAL.fullmatch(block[124:136]):
        raise _refusal(f"{where}, {shown}", "a size of eleven octal digits", f"{block[124:136]!r}")
    size_bytes = int(block[124:135], 8)
    right = encode_header(name, size_bytes)
    if right != block:
        place = next(i for i in range(BLOCK_BYTES) if right[i] != block[i])
        found = f"another byte at {place} of the header"
        raise _refusal(f"{where}, {shown}", "the canonical header", found)
    return name, size_bytes


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Prefix and rest; the shortest prefix that leaves a rest of at most 100 bytes [A-3]."""
    if len(name) <= _NAME_BYTES:
        return b"", name
    place = name.find(b"/", len(name) - _NAME_BYTES - 1)
    return name[:place], name[place + 1 :]


def _fault_of(name: str) -> str | None:
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return "which is not UTF-8"
    if name.startswith("/"):
        return "an absolute path"
    if "\\" in name or _CONTROL.search(name):
        return "with a backslash or a control character"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "with an empty, `.` or `..` component"
    prefix, rest = _split(raw)
    if len(prefix) > _PREFIX_BYTES or not 0 < len(rest) <= _NAME_BYTES or (raw[:1] == b"/"):
        return "too long for USTAR (a last part of at most 100 bytes, 155 before it)"
    return None


def _refusal(where: str, expected: str, found: str) -> errors.ArchiveError:
    return errors.ArchiveError(
        where=where,
        expected=expected,
        found=found,
        remedy="do not use this file; get the archive anew from who made it",
    )
