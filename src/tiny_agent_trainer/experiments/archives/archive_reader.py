# SPDX-License-Identifier: Apache-2.0
"""Reading an archive file by file, each held against the manifest that comes first.

Guarantees:
    Nothing is written to disk here. Raises `ArchiveError` for whatever stands in the file. Memory:
    the manifest (16 MiB at most), the journal and the page when `verify_archive` asks for them, and
    a few MiB. A file is complete and right only when its pieces came to their end.

Source:
    docs/formats/archive-v1.md [A-10]..[A-14].
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.archives import gzip_container
from tiny_agent_trainer.experiments.run_directory import integrity, layout, manifest
from tiny_agent_trainer.meta import ustar

EXPANSION: Final = 200
FREE_EXPANSION_BYTES: Final = 1 << 26
"""An archive may hold 200 times its own size and 64 MiB; more is a bomb [A-13]."""

MAX_RUN_NAME_BYTES: Final = 128
"""Length of a run's name in UTF-8; with `checkpoints` it fits a prefix of USTAR [A-3]."""

_TAR_NAME: Final = "ustar-v1"
_START_BYTES: Final = ustar.BLOCK_BYTES + manifest.MAX_BYTES + (1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """One file in an archive; `path` is relative to the run, `pieces` can be read once."""

    path: str
    size_bytes: int
    pieces: Iterator[bytes]


class OpenArchive:
    """An archive whose manifest was read; made by `open_archive`."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._where = where
        self._decoder = gzip_container.Decoder(file, where, _START_BYTES)
        self._members = ustar.read_members(self._decoder, where)
        first = next(self._members, None)
        self.run_name = _require_first(first, where)
        assert first is not None  # `_require_first` refuses that
        self.manifest_bytes = b"".join(first.pieces)
        self.manifest = _decode_manifest(self.manifest_bytes, where)

    @property
    def declared_bytes(self) -> int:
        """What the files take according to the manifest, with room for those that still grow."""
        listed = sum(entry.size_bytes for entry in self.manifest.files)
        return listed + len(self.manifest_bytes) + len(layout.GROWING) * layout.GROWING_BYTES

    def files(self) -> Iterator[ArchivedFile]:
        """Every file, the manifest first, the others in the order of their paths' bytes.

        Raises:
            ArchiveError: While iterating: a file that the manifest does not list, that is missing,
                of another size or with other bytes, or anything that the formats do not allow.
        """
        size_bytes = len(self.manifest_bytes)
        pieces = iter((self.manifest_bytes,))
        yield ArchivedFile(path=layout.MANIFEST, size_bytes=size_bytes, pieces=pieces)
        num_blocks = 2 * (len(self.manifest.files) + 4)  # header and padding of every member
        self._decoder.limit_bytes = self.declared_bytes + num_blocks * ustar.BLOCK_BYTES
        entries = {entry.path: entry for entry in self.manifest.files}
        wanted = sorted([*entries, *layout.GROWING], key=str.encode)
        for path in wanted:
            member = self._next_member(path)
            yield self._checked(path, member, entries.get(path))
        if (more := next(self._members, None)) is not None:
            raise self._refusal(more.name, "no file that the manifest does not list", "one more")

    def _next_member(self, path: str) -> ustar.Member:
        member = next(self._members, None)
        if member is None:
            raise self._refusal(path, "every file that the manifest lists", "a missing file")
        if member.name != f"{self.run_name}/{path}":
            raise self._refusal(member.name, f"{self.run_name}/{path} in this place", "this file")
        return member

    def _checked(
        self, path: str, member: ustar.Member, entry: manifest.FileEntry | None
    ) -> ArchivedFile:
        if entry is None:
            if member.size_bytes > layout.GROWING_BYTES:
                expected = f"at most {layout.GROWING_BYTES} bytes"
                raise self._refusal(path, expected, f"{member.size_bytes}")
            return ArchivedFile(path=path, size_bytes=member.size_bytes, pieces=member.pieces)
        if member.size_bytes != entry.size_bytes:
            raise self._refusal(path, f"{entry.size_bytes} bytes", f"{member.size_bytes}")
        pieces = self._hashed(member.pieces, entry)
        return ArchivedFile(path=path, size_bytes=member.size_bytes, pieces=pieces)

    def _hashed(self, pieces: Iterator[bytes], entry: manifest.FileEntry) -> Iterator[bytes]:
        found = hashlib.sha256()
        for piece in pieces:
            found.update(piece)
            yield piece
        if found.hexdigest() != entry.sha256:
            raise self._refusal(entry.path, f"SHA-256 {entry.sha256}", found.hexdigest())

    def _refusal(self, path: str, expected: str, found: str) -> errors.ArchiveError:
        return gzip_container.refusal(f"{self._where}, member {path!r}", expected, found)


@contextmanager
def open_archive(path: Path, *, is_digest_checked: bool = True) -> Iterator[OpenArchive]:
    """Open an archive and read its manifest.

    Args:
        path: The archive.
        is_digest_checked: Whether the whole container is held against its SHA-256 first.

    Raises:
        ArchiveError: Not an archive, damaged, a bomb, or one that cannot be read.
    """
    where = str(path)
    with _open_plain(path) as file:
        if is_digest_checked:
            gzip_container.require_untouched(file, where)
        else:
            gzip_container.require_header(file, where)
        opened = OpenArchive(file, where)
        size_bytes = path.stat().st_size
        limit_bytes = EXPANSION * size_bytes + FREE_EXPANSION_BYTES
        if opened.declared_bytes > limit_bytes:
            found = f"{opened.declared_bytes} declared by its manifest (a bomb)"
            raise gzip_container.refusal(where, f"at most {limit_bytes} bytes inside", found)
        yield opened


def read_archive_manifest(path: Path) -> manifest.Manifest:
    """The manifest of an archive; nothing behind it is read, and so nothing behind it is checked.

    Raises:
        ArchiveError: Not an archive, or no sound manifest at its start.
    """
    with open_archive(path, is_digest_checked=False) as opened:
        return opened.manifest


def verify_archive(path: Path) -> manifest.Manifest:
    """Check an archive from its first byte to its last, without writing anything.

    The ledger and the JSON inputs are not taken apart; their digests are checked. Restoring does
    both.

    Raises:
        ArchiveError: Anything is wrong.
    """
    with open_archive(path) as opened:
        kept: dict[str, bytes] = {}
        for file in opened.files():
            if file.path in layout.GROWING:
                kept[file.path] = b"".join(file.pieces)
            else:
                for _ in file.pieces:
                    pass
        _require_growing(kept, opened.manifest, str(path))
        return opened.manifest


def tar_digest_of(path: Path) -> str:
    """Digest of the tar inside an archive, which no compressor changes.

    Raises:
        ArchiveError: Not an archive, or the container is damaged.
    """
    found = hashlib.sha256()
    with _open_plain(path) as file:
        limit_bytes = EXPANSION * path.stat().st_size + FREE_EXPANSION_BYTES
        gzip_container.require_untouched(file, str(path))
        decoder = gzip_container.Decoder(file, str(path), limit_bytes)
        while piece := decoder.read(ustar.PIECE_BYTES):
            found.update(piece)
    return name_tar(found.hexdigest())


def name_tar(sha256: str) -> str:
    """The named digest of a tar from its SHA-256; the same as `digests.named` over its bytes."""
    return f"sha256:{_TAR_NAME}:{sha256}"


def require_run_name(name: str, where: str) -> None:
    """Require a name that one directory can have and that hides nothing.

    Raises:
        ArchiveError: More than one part, too long, hidden, or as in `ustar.require_name`.
    """
    ustar.require_name(f"{name}/{layout.MANIFEST}", where)
    if "/" in name or name.startswith(".") or len(name.encode()) > MAX_RUN_NAME_BYTES:
        expected = f"the name of a run, of at most {MAX_RUN_NAME_BYTES} bytes"
        raise gzip_container.refusal(where, expected, repr(name))


@contextmanager
def _open_plain(path: Path) -> Iterator[BinaryIO]:
    try:
        if not path.is_file():
            raise gzip_container.refusal(str(path), "an archive", "no such file")
        file = path.open("rb")
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise gzip_container.refusal(str(path), "an archive that can be read", found) from error
    with file:
        yield file


def _require_first(first: ustar.Member | None, where: str) -> str:
    name, _, path = ("", "", "") if first is None else first.name.partition("/")
    if first is None or path != layout.MANIFEST:
        found = "no member" if first is None else repr(first.name)
        raise gzip_container.refusal(where, "<run>/manifest.json as the first member", found)
    if first.size_bytes > manifest.MAX_BYTES:
        expected = f"a manifest of at most {manifest.MAX_BYTES} bytes"
        raise gzip_container.refusal(where, expected, f"{first.size_bytes}")
    require_run_name(name, where)
    return name


def _decode_manifest(data: bytes, where: str) -> manifest.Manifest:
    try:
        return manifest.read_manifest(data, f"{where}, {layout.MANIFEST}")
    except errors.IntegrityError as error:
        raise gzip_container.refusal(error.where, error.expected, error.found) from None


def _require_growing(kept: dict[str, bytes], sealed: manifest.Manifest, where: str) -> None:
    entries, found = integrity.check_journal(kept[layout.JOURNAL], sealed)
    if not found:
        found = integrity.check_status(kept[layout.STATUS], sealed, entries)
    if found:
        expected = "the journal and the status page of the manifest"
        raise gzip_container.refusal(where, expected, "; ".join(map(str, found)))
