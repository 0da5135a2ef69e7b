# SPDX-License-Identifier: Apache-2.0
"""Whether a run is still what was sealed: every file, nothing more, nothing less.

Guarantees:
    A change to any byte of any file, a file or directory that is missing, added, renamed or swapped
    is found, and the file is named; for text and ledgers the place is, where it can be derived
    (tests/tamper/test_run_tamper.py). Damage is a finding, never an exception; links and devices
    are never opened. Needs no torch and no numpy. Not claimed: protection against someone who seals
    a changed run anew; then its `run_digest` is another.

Source:
    docs/formats/run-v1.md [R-10].
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, digests, durable, errors
from tiny_agent_trainer.experiments.run_directory import journal, layout, manifest, status
from tiny_agent_trainer.meta import chronicle_reader, chronicle_scan, records

_WHOLE: Final = "the whole file"
_JSON: Final = (layout.RESOLVED_CONFIG, layout.DATA_MANIFEST)
_LOCATED_BYTES: Final = 1 << 26
"""A damaged text file is searched for the place of the damage up to this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Args:
        path: The file, relative to the run.
        problem: What is wrong with it.
        place: Where in the file: a byte, a line, or that it can only be said of the whole.
    """

    path: str
    problem: str
    place: str = _WHOLE

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.problem}"


def verify_run(run: Path) -> list[Finding]:
    """Check a sealed run against its manifest.

    Returns:
        Everything that is wrong, in the order of the paths; nothing when the run is sound.
    """
    try:
        present, found = _walk(run)
        sealed = manifest.read_manifest_of(run)
    except errors.IntegrityError as error:
        found += [Finding(path=layout.MANIFEST, problem=error.fault)]
        found += _check_unsealed(run, present)
    except OSError as error:
        return [Finding(path=".", problem=f"not a directory that can be read: {error.strerror}")]
    else:
        found += _check_presence(sealed, present)
        found += _check_files(run, sealed, present)
        found += _check_growing_files(run, sealed, present)
    return sorted(found, key=lambda finding: finding.path.encode(errors="surrogateescape"))


def require_sound(run: Path) -> None:
    """Require a run without findings.

    Raises:
        UsageError: There is no such directory.
        IntegrityError: Lists all findings.
    """
    if not run.exists():
        raise errors.UsageError(
            where=str(run),
            expected="the directory of a finished run",
            found="no such directory",
            remedy="name one that `tiny-agent-trainer list` shows",
        )
    found = verify_run(run)
    if found:
        listing = "".join(f"\n  {finding}" for finding in found)
        raise errors.IntegrityError(
            where=str(run),
            expected="every file as the manifest says, and nothing else",
            found=f"{len(found)} {'fault' if len(found) == 1 else 'faults'}:{listing}\n",
            remedy="restore the run from its archive, or run the experiment again",
        )


def check_journal(
    data: bytes, sealed: manifest.Manifest
) -> tuple[list[journal.Entry], list[Finding]]:
    """Hold the bytes of a journal against its chain and the manifest.

    Returns:
        The entries (none when the chain is broken) and the findings.
    """
    try:
        entries = journal.decode(data, layout.JOURNAL)
    except errors.IntegrityError as error:
        place = error.where.removeprefix(f"{layout.JOURNAL}, ")
        return [], [Finding(path=layout.JOURNAL, problem=error.found, place=place)]
    length_bytes = sealed.journal_length_bytes
    prefix = data[:length_bytes]
    if len(prefix) < length_bytes or digests.sha256_hex(prefix) != sealed.journal_sha256:
        problem = f"not the part that was sealed; the file has {len(data)} bytes"
        place = f"bytes 0 to {length_bytes}"
        return entries, [Finding(path=layout.JOURNAL, problem=problem, place=place)]
    return entries, []


def check_status(
    data: bytes, sealed: manifest.Manifest, entries: Sequence[journal.Entry]
) -> list[Finding]:
    """Hold the bytes of status.html against the manifest and the journal.

    The page may lack the journal's last line: a process can be killed between the two writes.
    """
    right = status.render_status(sealed, entries)
    if data in (right, status.render_status(sealed, entries[:-1])):
        return []
    place = _first_difference(right, data)
    return [Finding(path=layout.STATUS, problem="not the page of this run", place=place)]


def _walk(run: Path) -> tuple[dict[str, os.stat_result], list[Finding]]:
    """All plain files, and findings for everything else; nothing is opened, no link followed."""
    files: dict[str, os.stat_result] = {}
    found: list[Finding] = []
    for folder in ("", *layout.DIRECTORIES):
        place = run / folder
        if folder and (place.is_symlink() or not place.is_dir()):
            continue  # told by the entry itself, or by the files that are missing
        with os.scandir(place) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}".lstrip("/")
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    files[path] = about
                elif not (stat.S_ISDIR(about.st_mode) and path in layout.DIRECTORIES):
                    found.append(Finding(path=path, problem=_kind_of(about.st_mode)))
    return files, found


def _kind_of(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link; a run holds only plain files"
    if stat.S_ISDIR(mode):
        return "an added directory"
    return "a device, socket or FIFO; a run holds only plain files"


def _check_unsealed(run: Path, present: Iterable[str]) -> list[Finding]:
    """What can be said without a manifest."""
    names = set(present)
    found = [
        Finding(path=path, problem="an added file")
        for path in names - {layout.MANIFEST}
        if layout.classify(path) == layout.UNKNOWN
    ]
    missing = {*layout.REQUIRED, layout.JOURNAL, layout.STATUS} - names
    found += [Finding(path=path, problem="missing") for path in missing]
    if layout.CHRONICLE in names:
        found += _check_ledger(run / layout.CHRONICLE)
    return found


def _check_presence(sealed: manifest.Manifest, present: dict[str, os.stat_result]) -> list[Finding]:
    listed = {layout.MANIFEST, *layout.GROWING, *(entry.path for entry in sealed.files)}
    missing = [Finding(path=path, problem="missing") for path in listed - present.keys()]
    folded = {path.casefold(): path for path in listed}
    for path in present.keys() - listed:
        twin = folded.get(path.casefold())
        told = f", whose name differs from {twin} only in case" if twin else ""
        missing.append(Finding(path=path, problem=f"an added file{told}"))
    return missing


def _check_files(
    run: Path, sealed: manifest.Manifest, present: dict[str, os.stat_result]
) -> list[Finding]:
    found: list[Finding] = []
    for entry in sealed.files:
        if entry.path in present:
            place = run / entry.path
            try:
                found += _check_file(place, entry, present[entry.path].st_size, sealed)
            except OSError as error:
                problem = f"cannot be read: {error.strerror}"
                found.append(Finding(path=entry.path, problem=problem))
    return found


def _check_file(
    place: Path, entry: manifest.FileEntry, size_bytes: int, sealed: manifest.Manifest
) -> list[Finding]:
    if size_bytes != entry.size_bytes:
        problem = f"{size_bytes} bytes where {entry.size_bytes} were sealed"
        return [Finding(path=entry.path, problem=problem, place=_locate(place, entry.path))]
    sha256 = digests.sha256_file(place)
    if sha256 != entry.sha256:
        problem = f"SHA-256 {sha256} where {entry.sha256} was sealed"
        return [Finding(path=entry.path, problem=problem, place=_locate(place, entry.path))]
    if entry.path in _JSON:
        return _check_json(place, entry.path)
    if entry.path == layout.CHRONICLE:
        return _check_ledger(place, sealed.experiment_digest)
    return []


def _check_json(place: Path, path: str) -> list[Finding]:
    try:
        canonical.decode_canonical(place.read_bytes())
    except (ValueError, RecursionError) as error:
        problem = f"not canonical JSON: {error}"
        return [Finding(path=path, problem=problem, place=_locate(place, path))]
    return []


def _check_ledger(place: Path, experiment_digest: str | None = None) -> list[Finding]:
    verdict = chronicle_reader.verify(place)
    path = layout.CHRONICLE
    if not verdict.is_sound:
        where = _WHOLE if verdict.offset_bytes is None else f"byte {verdict.offset_bytes}"
        return [Finding(path=path, problem=verdict.problem or "not sound", place=where)]
    found = []
    if not verdict.is_ended:
        found.append(Finding(path=path, problem="no END: records may be missing", place="the end"))
    recorded = _experiment_of(place)
    if experiment_digest not in (None, recorded):
        problem = f"it belongs to {recorded}, the manifest to {experiment_digest}"
        found.append(Finding(path=path, problem=problem, place="GENESIS"))
    return found


def _experiment_of(place: Path) -> str | None:
    with chronicle_scan.open_ledger(place) as file:
        first = next(chronicle_scan.Scanner(file, str(place)).entries())
    return first.noun.experiment_digest if isinstance(first.noun, records.Genesis) else None


def _check_growing_files(
    run: Path, sealed: manifest.Manifest, present: dict[str, os.stat_result]
) -> list[Finding]:
    if layout.JOURNAL not in present:
        return []
    with durable.shared(run / layout.JOURNAL):
        return _check_held_files(run, sealed, present)


def _check_held_files(
    run: Path, sealed: manifest.Manifest, present: dict[str, os.stat_result]
) -> list[Finding]:
    data, found = _read_bounded(run, layout.JOURNAL, present)
    if data is None:
        return found
    entries, found = check_journal(data, sealed)
    if layout.STATUS not in present:
        return found
    if data and not entries:
        problem = "cannot be checked while the journal is damaged"
        return [*found, Finding(path=layout.STATUS, problem=problem)]
    page, unread = _read_bounded(run, layout.STATUS, present)
    return found + (unread if page is None else check_status(page, sealed, entries))


def _read_bounded(
    run: Path, path: str, present: dict[str, os.stat_result]
) -> tuple[bytes | None, list[Finding]]:
    limit_bytes = layout.GROWING_BYTES
    try:
        if present[path].st_size <= limit_bytes:
            return (run / path).read_bytes(), []
        problem = f"{present[path].st_size} bytes, more than {limit_bytes}"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    return None, [Finding(path=path, problem=problem)]


def _locate(place: Path, path: str) -> str:
    """Where a damaged file can be seen to be damaged; the whole file when it cannot."""
    if path == layout.CHRONICLE:
        offset_bytes = chronicle_reader.verify(place).offset_bytes
        return _WHOLE if offset_bytes is None else f"byte {offset_bytes}"
    is_text = path.endswith((".json", ".toml", ".md", ".html", ".csv", ".txt"))
    if not is_text or place.stat().st_size > _LOCATED_BYTES:
        return _WHOLE
    data = place.read_bytes()
    try:
        data.decode()
        value = canonical.decode(data) if path.endswith(".json") else None
        right = canonical.encode_line(value) if path.endswith(".json") else data
    except UnicodeDecodeError as error:
        return _line_and_byte(data, error.start)
    except RecursionError:
        return _WHOLE
    except ValueError as error:
        position = getattr(error, "pos", None)  # json.JSONDecodeError has one
        return _WHOLE if position is None else f"line {data.decode()[:position].count(chr(10)) + 1}"
    return _WHOLE if right == data else _first_difference(right, data)


def _first_difference(right: bytes, found: bytes) -> str:
    ends = min(len(right), len(found))
    offset = next((i for i in range(ends) if right[i] != found[i]), ends)
    return _line_and_byte(found, offset)


def _line_and_byte(data: bytes, offset_bytes: int) -> str:
    return f"line {data[:offset_bytes].count(10) + 1}, byte {offset_bytes}"
