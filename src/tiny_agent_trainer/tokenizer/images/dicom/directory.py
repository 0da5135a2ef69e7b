# SPDX-License-Identifier: Apache-2.0
"""DICOMDIR: a list of files, checked against what is there."""

import collections
from collections.abc import Iterator, Mapping, Sequence
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
    folders, folder = _Folders(root), PurePosixPath(key).parent.as_posix()
    for record in tags.items(dataset, "DirectoryRecordSequence", key):
        parts = tags.words(record, "ReferencedFileID", key)
        if parts:
            listed += 1
            if not folders.holds(folder, parts):
                absent.append("/".join(parts))
    if absent:
        shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        reason = f"a DICOMDIR that lists {listed} files, of which {len(absent)} are missing"
        yield image.Refusal(key=key, reason=f"{reason}: {shown}")


class _Folders:
    """Folders below a root, each of them listed once: a DICOMDIR may name thousands of files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, Mapping[str, tuple[str, ...]]] = {}

    def holds(self, folder: str, parts: Sequence[str]) -> bool:
        """Whether there is such a file; capital and small letters are the same, as on a CD."""
        if len(parts) > _PARTS_LIMIT or any(p in ("", ".", "..") or "/" in p for p in parts):
            return False
        with refusing.foreign(folder, "a folder that can be listed"):
            for part in parts:
                alike = self._list(folder).get(part.lower(), ())
                if not alike:
                    return False
                folder = f"{folder}/{part if part in alike else alike[0]}"
            return (self._root / folder).is_file()

    def _list(self, folder: str) -> Mapping[str, tuple[str, ...]]:
        """The names in a folder by their small letters; none in what is no folder."""
        if folder not in self._names:
            place = self._root / folder
            found = collections.defaultdict[str, list[str]](list)
            for entry in sorted(place.iterdir()) if place.is_dir() else ():
                found[entry.name.lower()].append(entry.name)
            self._names[folder] = {lower: tuple(names) for lower, names in found.items()}
        return self._names[folder]
