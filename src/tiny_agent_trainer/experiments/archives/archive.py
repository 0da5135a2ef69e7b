# SPDX-License-Identifier: Apache-2.0
"""`archive_experiment`: a sealed run into one file; the directory goes only when that was proven.

Guarantees:
    The run's directory is removed only after the archive was written, synced, read back and found
    right, and only if nothing in the directory changed meanwhile. An archive that is there is never
    overwritten. What fails leaves no half archive behind.

Source:
    docs/formats/archive-v1.md.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, clock, digests, durable, errors
from tiny_agent_trainer.experiments.archives import archive_reader, gzip_container
from tiny_agent_trainer.experiments.run_directory import (
    integrity,
    journal,
    layout,
    manifest,
    status,
)
from tiny_agent_trainer.meta import ustar

SUFFIX: Final = ".tar.gz"
ARCHIVED: Final = "archived"
"""The journal's event for archiving; not written twice in a row, so that a retry gives the same."""

SYSTEM_CLOCK: Final = clock.SystemClock()

_PIECE_BYTES: Final = 16 * gzip_container.STORED_BYTES
_INCOMPRESSIBLE: Final = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRun:
    """An archive that was written and read back.

    Args:
        path: The archive.
        run_digest: What came out of the run.
        tar_digest: Digest of the tar inside, which no compressor changes.
        size_bytes: Size of the archive.
    """

    path: Path
    run_digest: str
    tar_digest: str
    size_bytes: int


def archive_experiment(
    result_path: str | Path,
    *,
    archive_dir: str | Path | None = None,
    keep: bool = False,
    clock: clock.Clock = SYSTEM_CLOCK,
) -> ArchivedRun:
    """Compress a sealed run into one file and move it there.

    Args:
        result_path: The run's directory.
        archive_dir: Where the archive goes; without it `experiments/archive` for a run in
            `experiments/results`, else `[experiment] archive_dir` of the run's configuration.
        keep: Whether the directory stays.
        clock: Where the time in the journal comes from.

    Raises:
        IntegrityError: The run is not as it was sealed, or changed meanwhile; it stays.
        UsageError: Another archive has this name already; both stay.
        ArchiveError: What was written could not be read back, or the run's name does not fit.
        StorageError: The disk is full, read-only or not permitted; the run stays.
    """
    run = Path(result_path).resolve()
    _remove_leftover(run)
    integrity.require_sound(run)
    archive_reader.require_run_name(run.name, str(run))
    sealed = manifest.read_manifest_of(run)
    directory = _default_directory(run) if archive_dir is None else Path(archive_dir)
    _note(run, clock)
    before = _snapshot(run)
    durable.make_directory(directory)
    target = directory / f"{run.name}_{digests.short(sealed.run_digest)}{SUFFIX}"
    tar_digest = _write_verified(run, sealed, target)
    if not keep:
        _remove(run, before)
    return ArchivedRun(
        path=target,
        run_digest=sealed.run_digest,
        tar_digest=tar_digest,
        size_bytes=target.stat().st_size,
    )


def _default_directory(run: Path) -> Path:
    results = run.parent
    if results.name == "results" and results.parent.name == "experiments":
        return results.parent / "archive"
    config = canonical.decode((run / layout.RESOLVED_CONFIG).read_bytes())
    section = config.get("experiment") if isinstance(config, Mapping) else None
    found = section.get("archive_dir") if isinstance(section, Mapping) else None
    if isinstance(found, str) and found:
        return Path(found)
    raise errors.UsageError(
        where=f"{run}, {layout.RESOLVED_CONFIG}",
        expected="experiment.archive_dir",
        found=repr(found),
        remedy="say with --archive-dir where the archive goes",
    )


def _remove_leftover(run: Path) -> None:
    """Delete the page that a killed process was writing; nothing else in a sealed run is."""
    leftover = run / (layout.STATUS + durable.TEMPORARY_SUFFIX)
    if not leftover.parent.is_symlink() and leftover.is_file():
        with durable.refusals(leftover):
            leftover.unlink()


def _note(run: Path, time: clock.Clock) -> None:
    entries = journal.read(run / layout.JOURNAL)
    if not entries or entries[-1].event != ARCHIVED:
        status.note(run, time, ARCHIVED)
    else:
        status.refresh_status(run)


def _write_verified(run: Path, sealed: manifest.Manifest, target: Path) -> str:
    part = target.with_name(target.name + durable.TEMPORARY_SUFFIX)
    try:
        with durable.refusals(part):
            tar_digest = _write(run, sealed, part)
        archive_reader.verify_archive(part)
        if not os.path.lexists(target):
            durable.rename(part, target)
        else:
            _require_same(target, tar_digest)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return tar_digest


def _write(run: Path, sealed: manifest.Manifest, part: Path) -> str:
    encoder, tar = gzip_container.Encoder(), hashlib.sha256()
    with durable.Appender(part, 0) as appender:
        appender.append(encoder.header())
        for piece, is_compressible in _tar_pieces(run, sealed):
            tar.update(piece)
            appender.append(encoder.encode(piece, is_compressible=is_compressible))
        appender.append(encoder.finish())
    descriptor = os.open(part, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, encoder.digest, gzip_container.DIGEST_OFFSET)
    finally:
        os.close(descriptor)
    with durable.Appender(part) as appender:
        appender.sync()
    return archive_reader.name_tar(tar.hexdigest())


def _tar_pieces(run: Path, sealed: manifest.Manifest) -> Iterator[tuple[bytes, bool]]:
    """Pieces of the canonical tar, and whether each is worth compressing."""
    rest = sorted([*(entry.path for entry in sealed.files), *layout.GROWING], key=str.encode)
    for path in (layout.MANIFEST, *rest):
        is_compressible = not path.endswith(_INCOMPRESSIBLE)
        with (run / path).open("rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            yield ustar.encode_header(f"{run.name}/{path}", size_bytes), True
            left_bytes = size_bytes
            while piece := file.read(min(left_bytes, _PIECE_BYTES)):
                left_bytes -= len(piece)
                yield piece, is_compressible
        if left_bytes:
            where = f"{run}, {path}"
            raise manifest.refusal(where, f"{size_bytes} bytes", f"{left_bytes} fewer")
        yield ustar.padding(size_bytes), True
    yield ustar.END, True


def _require_same(target: Path, tar_digest: str) -> None:
    try:
        archive_reader.verify_archive(target)
        found = archive_reader.tar_digest_of(target)
    except errors.ArchiveError as error:
        found = f"a file that is no sound archive ({error.found})"
    if found != tar_digest:
        raise errors.UsageError(
            where=str(target),
            expected=f"no file, or the archive of this run ({tar_digest})",
            found=found,
            remedy="move that file away, or choose another directory with --archive-dir",
        )


def _snapshot(run: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and number of every file, which tell whether one was written to."""
    about = {path.relative_to(run).as_posix(): path.lstat() for path in sorted(run.rglob("*"))}
    return {
        name: (of.st_size, of.st_mtime_ns, of.st_ino)
        for name, of in about.items()
        if not (run / name).is_dir()
    }


def _remove(run: Path, before: dict[str, tuple[int, int, int]]) -> None:
    hidden = run.with_name(f".{run.name}.archived")
    with durable.refusals(run):
        if hidden.exists():  # from an earlier removal that was interrupted
            shutil.rmtree(hidden)
        durable.rename(run, hidden)
        if _snapshot(hidden) != before:
            durable.rename(hidden, run)
            expected = "a run that nobody writes to while it is archived"
            raise manifest.refusal(str(run), expected, "a file that changed; nothing was removed")
        shutil.rmtree(hidden)
        durable.sync_directory(run.parent)
