# SPDX-License-Identifier: Apache-2.0
"""`restore_archive`: an archive back into a directory, verified before it gets its name.

Guarantees:
    Either the whole, verified run stands at its place, or nothing does: files are written into a
    hidden directory beside it, which is renamed only when every check passed, and removed
    otherwise. No path, link or mode is taken from the archive: the names that can be written are
    those of `layout`.

Source:
    docs/formats/archive-v1.md [A-14], [A-15].
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.experiments.archives import archive_reader, gzip_container
from tiny_agent_trainer.experiments.archives.archive_reader import read_archive_manifest
from tiny_agent_trainer.experiments.run_directory import integrity

__all__ = ["read_archive_manifest", "restore_archive"]

SPARE_BYTES: Final = 1 << 26
"""Room that has to stay free on the disk after restoring."""


def restore_archive(archive: str | Path, directory: str | Path) -> Path:
    """Restore a run into `directory/<name of the run>`.

    Args:
        archive: The archive.
        directory: Where the run's directory goes; made when absent.

    Returns:
        The run's directory.

    Raises:
        ArchiveError: The archive is damaged, was changed, or tries to do harm; nothing is left.
        UsageError: The run's directory exists already; it stays as it is.
        StorageError: There is not enough room, or the disk refused; nothing is left.
    """
    archive, directory = Path(archive), Path(directory)
    with archive_reader.open_archive(archive) as opened:
        target = directory / opened.run_name
        _require_free(target)
        _require_space(directory, opened.declared_bytes)
        with _hidden_directory(directory) as hidden:
            run = hidden / opened.run_name
            _write_files(run, opened)
            _require_sound(run, archive)
            _require_free(target)
            durable.rename(run, target)
    return target


def _write_files(run: Path, opened: archive_reader.OpenArchive) -> None:
    with durable.refusals(run):
        run.mkdir()
        for file in opened.files():
            place = run / file.path
            place.parent.mkdir(exist_ok=True)
            _write_file(place, file.pieces)
        for folder in (run, *(path for path in run.iterdir() if path.is_dir())):
            durable.sync_directory(folder)


def _write_file(place: Path, pieces: Iterator[bytes]) -> None:
    with place.open("xb", buffering=0) as file:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())


def _require_sound(run: Path, archive: Path) -> None:
    found = integrity.verify_run(run)
    if found:
        listing = "; ".join(map(str, found))
        raise gzip_container.refusal(str(archive), "a run as it was sealed", listing)


def _require_free(target: Path) -> None:
    if os.path.lexists(target):
        raise errors.UsageError(
            where=str(target),
            expected="a name that is free",
            found="a file or directory, which is never overwritten",
            remedy="restore into another directory, or move this one away",
        )


def _require_space(directory: Path, size_bytes: int) -> None:
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < size_bytes + SPARE_BYTES:
        raise errors.StorageError(
            where=str(directory),
            expected=f"room for {size_bytes} bytes and {SPARE_BYTES} to spare",
            found=f"{free_bytes} bytes free",
            remedy="free some space or choose another directory; nothing was written",
        )


@contextmanager
def _hidden_directory(directory: Path) -> Iterator[Path]:
    """A directory to write into that goes away, with those that had to be made for it."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    durable.make_directory(directory)
    try:
        with durable.refusals(directory):
            hidden = Path(tempfile.mkdtemp(prefix=".restoring-", dir=directory))
        try:
            yield hidden
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    finally:
        for path in missing:  # only those that stayed empty
            with suppress(OSError):
                path.rmdir()
