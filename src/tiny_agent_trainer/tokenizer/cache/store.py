# SPDX-License-Identifier: Apache-2.0
"""Files by key: written whole or not at all, the longest unused removed first.

A file is written under a temporary name, on which its writer holds a lock, and then renamed. So a
temporary file without a lock belongs to a process that died. Nothing is synced: what a loss of
power destroys is found by its checksum and made anew.
"""

import contextlib
import dataclasses
import fcntl
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from tiny_agent_trainer import durable, errors

Kind = Literal["entry", "notes", "rows"]

_NAME: Final = re.compile(r"[0-9a-f]{64}\.(entry|notes|rows)")
_TEMPORARY: Final = re.compile(r"[0-9a-f]{64}\.(entry|notes|rows)\.[a-z0-9_]+\.part")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a store holds: images, whole datasets, and the bytes of both."""

    entries: int
    rows: int
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """A directory of files that can be made anew at any time.

    Attributes:
        directory: Where they are; it exists.
        limit_bytes: What `trim` leaves at most.
    """

    directory: Path
    limit_bytes: int

    def path(self, key: str, kind: Kind) -> Path:
        """Where the file of a key is, or would be."""
        return self.directory / key[:2] / f"{key}.{kind}"

    def find(self, key: str, kind: Kind) -> Path | None:
        """The file of a key, marked as used now; None without one."""
        path = self.path(key, kind)
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def read(self, key: str, kind: Kind) -> bytes | None:
        """The bytes of a key's file, marked as used now; None without one."""
        path = self.find(key, kind)
        try:
            return path.read_bytes() if path else None
        except OSError:
            return None

    def write(self, key: str, kind: Kind, pieces: Iterable[bytes | memoryview]) -> Path:
        """Write the file of a key; of several writers the last one stays.

        Raises:
            StorageError: The disk is full, read-only or not permitted.
        """
        path = self.path(key, kind)
        with durable.refusals(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor, name = _open_part(path)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
                    file.writelines(pieces)
                    file.flush()
                    Path(name).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        return path

    def keep(self, key: str, kind: Kind, pieces: Iterable[bytes | memoryview]) -> None:
        """Write the file of a key if the disk allows it."""
        with contextlib.suppress(errors.StorageError):
            self.write(key, kind, pieces)

    def discard(self, key: str, kind: Kind) -> None:
        """Remove the file of a key, if there is one."""
        _remove(self.path(key, kind))

    def contents(self) -> Contents:
        """What there is now."""
        files = list(self._files())
        return Contents(
            entries=sum(path.endswith(".entry") for path, _ in files),
            rows=sum(path.endswith(".rows") for path, _ in files),
            size_bytes=sum(about.st_size for _, about in files),
        )

    def trim(self, used: Collection[Path] = ()) -> None:
        """Remove the longest unused files beyond the limit, and what dead writers left.

        A file that another process has opened stays readable to it.

        Args:
            used: Files that stay in any case.
        """
        self._remove_leftovers()
        files = sorted(self._files(), key=lambda file: (file[1].st_mtime_ns, file[0]))
        surplus = sum(about.st_size for _, about in files) - self.limit_bytes
        kept = {os.fspath(path) for path in used}
        for path, about in files:
            if surplus <= 0:
                return
            if path not in kept:
                _remove(Path(path))
                surplus -= about.st_size

    def clear(self) -> Contents:
        """Remove every file of the store, and no other; returns what there was."""
        before = self.contents()
        self._remove_leftovers()
        for path, _ in self._files():
            _remove(Path(path))
        return before

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        for entry in self._named(_NAME):
            with contextlib.suppress(OSError):
                yield entry.path, entry.stat(follow_symlinks=False)

    def _named(self, pattern: re.Pattern[str]) -> Iterator["os.DirEntry[str]"]:
        """Every file of such a name; there may be a hundred thousand."""
        for folder in sorted(self.directory.glob("[0-9a-f][0-9a-f]")):
            with os.scandir(folder) as entries:
                yield from [entry for entry in entries if pattern.fullmatch(entry.name)]

    def _remove_leftovers(self) -> None:
        for entry in self._named(_TEMPORARY):
            with contextlib.suppress(OSError), Path(entry.path).open("rb") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()


def _open_part(path: Path) -> tuple[int, str]:
    """A descriptor and the name of a new file beside another, marked as being written.

    Until it is marked, whoever removes what dead writers left may take it for such; then another.
    """
    while True:
        descriptor, name = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
        with contextlib.suppress(OSError):  # not every file system knows locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
