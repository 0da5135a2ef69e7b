# SPDX-License-Identifier: Apache-2.0
"""A new run directory: complete with its inputs before anyone can see it, and never shared.

Everything is written into a hidden directory, which is then renamed; a run that can be seen can be
continued. Two runs that start in the same second get different names. What a killed start leaves
is removed by the next one.
"""

import dataclasses
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tiny_agent_trainer import canonical, clock, digests, durable, errors
from tiny_agent_trainer.config.trainer_config import LoadedConfig
from tiny_agent_trainer.experiments import identity
from tiny_agent_trainer.experiments.archives import archive_reader
from tiny_agent_trainer.experiments.run_directory import journal, layout
from tiny_agent_trainer.meta import ustar

_SUFFIX_LIMIT = 10_000
"""Runs of one configuration in one second."""

_HIDDEN_NAME = re.compile(r"\..+_\d{8}T\d{6}Z\.\d+" + re.escape(durable.TEMPORARY_SUFFIX))
"""A run's name between a dot and the number of the process that makes it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What says what ran."""

    loaded: LoadedConfig
    data_manifest: bytes
    source: Mapping[str, bytes]
    identity: Mapping[str, Any]
    experiment_digest: str


class RunLock:
    """Holds a run directory for this process until it is closed or the process ends.

    Raises:
        ResumeError: Another process holds it.
    """

    def __init__(self, run: Path) -> None:
        self._descriptor = _try_lock(run / layout.CONFIG)
        if self._descriptor is None:
            raise errors.ResumeError(
                where=str(run),
                expected="a run that nobody is working on",
                found="another process is training it",
                remedy="wait for that process, or stop it",
            )

    def close(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def start_run(results: Path, inputs: Inputs, now: clock.Clock) -> tuple[Path, RunLock]:
    """Make a run directory with all inputs in it; `results` exists.

    Returns:
        The directory and the lock on it.

    Raises:
        StorageError: The disk is full, read-only or not permitted.
    """
    name = f"{inputs.loaded.stem}_{clock.compact(now.now_utc())}"
    _require_archivable(name, inputs.loaded.stem)
    with _hidden_directory(results, name) as hidden:
        lock = _fill(hidden, inputs, now)
        return _claim(hidden, results, name), lock


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds a file or directory until it is closed; None if that fails."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _hidden_directory(results: Path, name: str) -> Iterator[Path]:
    """A new directory that nobody sees; it is gone if it could not be filled and renamed.

    It is made and locked while `results` is held: one that is not locked has no living owner.
    """
    hidden = results / f".{name}.{os.getpid()}{durable.TEMPORARY_SUFFIX}"
    with durable.exclusive(results):
        _sweep(results)
        durable.make_directory(hidden)
        descriptor = _try_lock(hidden)
    try:
        yield hidden
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _sweep(results: Path) -> None:
    """Delete hidden directories whose makers were killed; the caller holds `results`."""
    for path in results.iterdir():
        if not _HIDDEN_NAME.fullmatch(path.name):
            continue
        with suppress(OSError):  # renamed meanwhile, or not ours to open
            descriptor = _try_lock(path)
            if descriptor is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)


def _require_archivable(name: str, stem: str) -> None:
    try:
        archive_reader.require_run_name(name, stem)
    except errors.ArchiveError as error:
        raise errors.UsageError(
            where=f"the configuration file {stem!r}",
            expected=error.expected,
            found=error.found,
            remedy="give the file a shorter name of plain characters",
        ) from error


def encode_inputs(inputs: Inputs) -> dict[str, bytes]:
    """The input files of a run: path -> bytes."""
    return {
        layout.CONFIG: inputs.loaded.text,
        layout.RESOLVED_CONFIG: canonical.encode_line(inputs.loaded.config.resolved()),
        layout.DATA_MANIFEST: inputs.data_manifest,
        layout.SOURCE: ustar.encode_tar(inputs.source),
    }


def require_inputs(run: Path, inputs: Inputs) -> None:
    """Hold the input files of an unfinished run against what it began with.

    Raises:
        ResumeError: The configuration, data, code, libraries or CPU are others, or an input file
            was changed; all are named.
    """
    entries = journal.read(run / layout.JOURNAL)
    began: Mapping[str, Any] = entries[0].facts if entries else {}
    found = identity.describe_differences(began.get("identity") or {}, inputs.identity)
    files = encode_inputs(inputs)
    if digests.sha256_hex(inputs.loaded.text) != began.get("config_sha256"):
        found.append(f"{layout.CONFIG} is not the file that it began with")
    found += [f"{path} was changed" for path, data in files.items() if _read(run / path) != data]
    if found:
        raise errors.ResumeError(
            where=str(run),
            expected="the code, data, libraries, CPU and input files that the run began with",
            found="; ".join(found),
            remedy="bring back what it began with, or start a new run",
        )


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _fill(hidden: Path, inputs: Inputs, now: clock.Clock) -> RunLock:
    """Write all inputs into a new directory and lock it."""
    for folder in layout.DIRECTORIES:
        durable.make_directory(hidden / folder)
    for path, data in encode_inputs(inputs).items():
        durable.write_atomic(hidden / path, data)
    book = journal.Journal(hidden / layout.JOURNAL, now)
    book.append(
        "started",
        identity=inputs.identity,
        experiment_digest=inputs.experiment_digest,
        config_sha256=digests.sha256_hex(inputs.loaded.text),
    )
    return RunLock(hidden)


def _claim(hidden: Path, results: Path, name: str) -> Path:
    """Rename the hidden directory to the first name that is free."""
    for count in range(1, _SUFFIX_LIMIT):
        target = results / (name if count == 1 else f"{name}_{count}")
        if target.exists():
            continue
        try:
            durable.rename(hidden, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                continue
            raise
        return target
    raise errors.StorageError(
        where=str(results / name),
        expected="a free name",
        found=f"{_SUFFIX_LIMIT} runs of this second",
        remedy="start again in a second",
    )
