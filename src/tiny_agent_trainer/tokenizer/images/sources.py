# SPDX-License-Identifier: Apache-2.0
"""Files as bytes: inside their root, of bounded size, with their digest."""

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Final

from tiny_agent_trainer import digests
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.images import refusing

FILE_LIMIT_BYTES: Final = 1 << 32
"""Size of one file; the largest volumes of the formats here stay far below it."""

_AT_ONCE_BYTES: Final = 1 << 20

VALUE_LIMIT: Final = 1 << 29
"""Values of one image or volume; what claims more is refused before it is decoded."""


def read(root: Path, key: str) -> tuple[bytes, samples.SourceFile]:
    """The bytes of a file and what a manifest says of it.

    Raises:
        DatasetError: It leads out of the root, is no plain file, too large or unreadable.
    """
    path = inside(root, key)
    with refusing.foreign(key, "a readable file"):
        if not path.is_file():
            raise refusing.refusal(key, "a file", "no such file")
        with path.open("rb", buffering=0) as file:
            _require_size(file, key)
            data = file.readall()
    sha256 = digests.sha256_hex(data)
    return data, samples.SourceFile(path=key, size_bytes=len(data), sha256=sha256)


def read_start(root: Path, key: str, size_bytes: int) -> bytes:
    """The first bytes of a file.

    Raises:
        DatasetError: It leads out of the root or is unreadable.
    """
    path = inside(root, key)
    with refusing.foreign(key, "a readable file"), path.open("rb", buffering=0) as file:
        return file.read(size_bytes)


def digest(root: Path, key: str) -> tuple[bytes, samples.SourceFile]:
    """The first bytes of a file, all of a small one, and what a manifest says of it.

    Raises:
        DatasetError: It leads out of the root, is too large or unreadable.
    """
    path = inside(root, key)
    with refusing.foreign(key, "a readable file"), path.open("rb", buffering=0) as file:
        is_small = _require_size(file, key) <= _AT_ONCE_BYTES
        start = file.readall() if is_small else file.read(_AT_ONCE_BYTES)
        digest, size_bytes = hashlib.sha256(start), len(start)
        while piece := file.read(_AT_ONCE_BYTES):
            digest.update(piece)
            size_bytes += len(piece)
    return start, samples.SourceFile(path=key, size_bytes=size_bytes, sha256=digest.hexdigest())


def _require_size(file: io.FileIO, key: str) -> int:
    """The size of a file in bytes, which is within the limit."""
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes > FILE_LIMIT_BYTES:
        raise refusing.refusal(key, f"at most {FILE_LIMIT_BYTES} bytes", f"{size_bytes} bytes")
    return size_bytes


def inside(root: Path, key: str) -> Path:
    """The path of a key, unless it leads out of the root by `..`, an absolute path or a link.

    Raises:
        DatasetError: It does.
    """
    path = root / key
    if _is_below(root, key):
        return path
    with refusing.foreign(key, "a path inside the folder"):
        if not path.resolve().is_relative_to(root.resolve()):
            raise refusing.refusal(key, "a path inside the folder", "a link that leads out of it")
    return path


def _is_below(root: Path, key: str) -> bool:
    """Whether a key leads down from the root by folders alone, which a look at each part tells.

    Following every link up to the top of the file system takes as long as parsing a small file.
    """
    place = str(root)
    for part in key.split("/"):
        if part in ("", ".", ".."):
            return False
        place = f"{place}/{part}"
        try:
            is_link = stat.S_ISLNK(os.lstat(place).st_mode)
        except (OSError, ValueError):
            return False
        if is_link:
            return False
    return True


def require_values(key: str, count: int) -> None:
    """Refuse an image before memory is asked for.

    Raises:
        DatasetError: More than `VALUE_LIMIT` values, or none.
    """
    if not 0 < count <= VALUE_LIMIT:
        raise refusing.refusal(key, f"between 1 and {VALUE_LIMIT} values", f"{count} values")
