# SPDX-License-Identifier: Apache-2.0
"""DICOMDIR: a list of files, checked against what is there."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from tiny_agent_trainer.tokenizer.images import image, refusing, sources
from tiny_agent_trainer.tokenizer.images.dicom import files, tags

_SHOWN: Final = 20
_PARTS_LIMIT: Final = 8
"""Components of a file ID (PS3.10 8.2)."""


def missing_files(root: Path, key: str) -> Iterator[image.Refusal]:
    """A refusal that names the files which a DICOMDIR lists and which are not there, if any.

    Raises:
        DatasetError: The DICOMDIR cannot be parsed.
    """
    dataset = files.read_directory(sources.inside(root, key), key)
    absent, listed = [], 0
    for record in tags.items(dataset, "DirectoryRecordSequence", key):
        parts = tags.words(record, "ReferencedFileID", key)
        if parts:
            listed += 1
            if not _is_there(root, PurePosixPath(key).parent, parts):
                absent.append("/".join(parts))
    if absent:
        shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        reason = f"a DICOMDIR that lists {listed} files, of which {len(absent)} are missing"
        yield image.Refusal(key=key, reason=f"{reason}: {shown}")


def _is_there(root: Path, folder: PurePosixPath, parts: tuple[str, ...]) -> bool:
    """Whether there is such a file; capital and small letters are the same, as on a CD."""
    if len(parts) > _PARTS_LIMIT or any(part in ("", ".", "..") or "/" in part for part in parts):
        return False
    with refusing.foreign(str(folder), "a folder that can be listed"):
        place = root / folder
        for part in parts:
            if not place.is_dir():
                return False
            exact = place / part
            alike = [entry for entry in place.iterdir() if entry.name.lower() == part.lower()]
            if not exact.exists() and not alike:
                return False
            place = exact if exact.exists() else min(alike)
        return place.is_file()
