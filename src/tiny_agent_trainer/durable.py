# SPDX-License-Identifier: Apache-2.0
"""Files that survive a crash: written beside their place, synced, renamed into it.

Rules: (1) a reader never sees half a file; (2) when a function returns, its effect survives the
loss of power; (3) every write, sync and rename of a run goes through the primitives `_write`,
`_fsync` and `_replace`, so that a test can kill the process at each of them; (4) a refusal of the
disk becomes a `StorageError` that names the path, and what was there before stays.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from tiny_agent_trainer import errors

TEMPORARY_SUFFIX: Final = ".part"
"""Ending of a file that is being written; a leftover is deleted when a run is continued."""

_REFUSALS = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "a file system mounted read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EFBIG: "a file larger than this file system allows",
    errno.EIO: "an input/output error of the device",
    errno.ENOENT: "no such directory",
    errno.ENOTDIR: "a file where a directory should be",
    errno.EISDIR: "a directory where a file should be",
    errno.ENAMETOOLONG: "a name that is too long",
    errno.ELOOP: "links that lead in a circle",
}


def _write(descriptor: int, data: memoryview) -> int:
    return os.write(descriptor, data)


def _fsync(descriptor: int) -> None:
    os.fsync(descriptor)


def _replace(source: Path, target: Path) -> None:
    source.replace(target)


PUBLIC_MODE = 0o644
PRIVATE_MODE = 0o600
"""Permissions of a new file: to be read by all, and by its owner alone."""


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, mode: int = PUBLIC_MODE) -> None:
    """Write a whole file so that at any moment either the old or the new one is there.

    Args:
        path: Where the file belongs; its directory exists.
        data: The contents, or pieces of them in order.
        mode: The new file's permissions.

    Raises:
        StorageError: The disk is full, read-only or not permitted, or something other than a file
            has this name; what was there stays.
    """
    pieces = (data,) if isinstance(data, bytes) else data
    with refusals(path):
        _require_replaceable(path)
        beside = path.with_name(path.name + TEMPORARY_SUFFIX)
        try:
            _write_new(beside, pieces, mode)
            _replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def _require_replaceable(path: Path) -> None:
    """Refuse what a rename would fail on, and what it would destroy, such as `/dev/stdout`."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise _refusal(path, "a device, socket or FIFO, which is never replaced by a file")


def _write_new(path: Path, pieces: Iterable[bytes], mode: int = PUBLIC_MODE) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        if mode == PRIVATE_MODE:
            os.fchmod(descriptor, mode)  # what a killed process left may be open to all
        for piece in pieces:
            _write_all(descriptor, piece)
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[_write(descriptor, view) :]


def rename(source: Path, target: Path) -> None:
    """Move a file or directory within one file system and sync the directory that receives it."""
    with refusals(target):
        _replace(source, target)
        sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive the loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory with its parents; one that exists is left as it is.

    Raises:
        StorageError: The file system is read-only, full or not permitted.
    """
    with refusals(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, str(error), str(path)) from error


def remove_leftovers(root: Path) -> None:
    """Delete files that a killed process was still writing under `root`."""
    with refusals(root):
        for path in sorted(root.rglob("*" + TEMPORARY_SUFFIX)):
            path.unlink()


class Appender:
    """A file that only grows, from a given length on.

    Args:
        path: The file; created when absent.
        length_bytes: Where to go on; anything behind it is cut off first. None keeps all.
    """

    def __init__(self, path: Path, length_bytes: int | None = None) -> None:
        self._path = path
        with refusals(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)
            if length_bytes is not None:
                os.ftruncate(self._descriptor, length_bytes)
            self.length_bytes = os.fstat(self._descriptor).st_size
            sync_directory(path.parent)

    def append(self, data: bytes) -> None:
        """Add bytes at the end; they survive a crash of the process, but not yet of the machine."""
        with refusals(self._path):
            _write_all(self._descriptor, data)
        self.length_bytes += len(data)

    def sync(self) -> None:
        """Make what was appended survive the loss of power."""
        with refusals(self._path):
            _fsync(self._descriptor)

    def close(self) -> None:
        """Release the file; appending afterwards is an error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Appender":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep every other process that asks for this file or directory waiting.

    The lock is advisory and ends with the process. A file system that knows no locks keeps nobody
    away; what is written there is as safe as without this function.

    Raises:
        StorageError: There is no such file, or it may not be written to.
    """
    with refusals(path):
        access = os.O_RDONLY if path.is_dir() else os.O_RDWR
        descriptor = os.open(path, access | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep those waiting who ask for a file with `exclusive`, if it can be opened and locked."""
    descriptor = -1
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn a refusal of the disk into a `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        reason = _REFUSALS.get(error.errno or 0)
        if reason is None:
            raise
        raise _refusal(path, reason + _culprit(path, error.errno)) from error


def _refusal(path: Path, found: str) -> errors.StorageError:
    return errors.StorageError(
        where=str(path),
        expected="to write here",
        found=found,
        remedy="mend that or choose another directory; what was written before is kept",
    )


def _culprit(path: Path, number: int | None) -> str:
    """Which part of a path is no directory, if that is what was refused."""
    if number not in (errno.ENOENT, errno.ENOTDIR):
        return ""
    outermost = next((part for part in reversed(path.parents) if not part.is_dir()), None)
    return f": {outermost}" if outermost else ""
