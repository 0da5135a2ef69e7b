# SPDX-License-Identifier: Apache-2.0
"""All prepared images of a dataset as one file, mapped into memory and let go page by page.

The file is magic, length of the header, header (canonical JSON), zeros up to a page's border, the
images one after the other, and a CRC-32C of all before it.
"""

import math
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import google_crc32c
import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.tokenizer.cache.store import Store

_MAGIC: Final = b"TATROWS1"
_PAGE: Final = 4096
_CRC_BYTES: Final = 4
_PIECE_BYTES: Final = 1 << 20


def keep_rows(
    store: Store, key: str, count: int, images: Iterable[npt.NDArray[np.integer]]
) -> npt.NDArray[np.integer]:
    """The images of a key as one read-only array, from the store, or made and put there.

    Args:
        store: Where they are kept.
        key: Names all of them.
        count: How many there are.
        images: All of one shape and type; asked for only when they are not kept.

    Returns:
        Shape (n, channels, *spatial), mapped; it stays readable when the file is removed.

    Raises:
        StorageError: The disk is full, read-only or not permitted.
        DatasetError: What `images` raises.
    """
    found = _open(store.find(key, "rows"), key)
    if found is None:
        found = _open(store.write(key, "rows", _encode(key, count, images)), key)
    if found is None:
        raise errors.StorageError(
            where=str(store.path(key, "rows")),
            expected="the bytes that were just written",
            found="other ones",
            remedy='check the disk, or name another one with `cache` under [data] ("": none)',
        )
    store.trim({store.path(key, "rows")})
    return found


def release(array: npt.NDArray[Any]) -> None:
    """Give the pages of a mapped array back; they are read again when they are needed."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)


def _encode(
    key: str, count: int, images: Iterable[npt.NDArray[np.integer]]
) -> Iterator[bytes | memoryview]:
    crc = 0
    is_first = True
    for image in images:
        if is_first:
            start = _start(key, count, image)
            crc, is_first = google_crc32c.extend(crc, start), False
            yield start
        data = np.ascontiguousarray(image).tobytes()
        crc = google_crc32c.extend(crc, data)
        yield data
    yield crc.to_bytes(_CRC_BYTES, "little")


def _start(key: str, count: int, first: npt.NDArray[np.integer]) -> bytes:
    about = {"key": key, "dtype": first.dtype.str, "shape": [count, *first.shape]}
    header = canonical.encode(about)
    start = _MAGIC + len(header).to_bytes(4, "little") + header
    return start + bytes(-len(start) % _PAGE)


def _open(path: Path | None, key: str) -> npt.NDArray[np.integer] | None:
    """The array of a file, after all of it was checked; None if it is damaged."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            header = _header(file.read(_PAGE), key) if _is_sound(path) else None
            if header is None:
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    dtype, shape = np.dtype(header["dtype"]), tuple(header["shape"])
    if len(mapped) != _PAGE + math.prod(shape) * dtype.itemsize + _CRC_BYTES:
        return None
    return np.ndarray(shape, dtype, mapped, _PAGE)


def _header(start: bytes, key: str) -> Any:  # noqa: ANN401 (as it was written; checked below)
    length = int.from_bytes(start[len(_MAGIC) : len(_MAGIC) + 4], "little")
    end = len(_MAGIC) + 4 + length
    if not start.startswith(_MAGIC) or end > _PAGE:
        return None
    header: Any = canonical.decode(start[len(_MAGIC) + 4 : end])
    return header if header["key"] == key else None


def _is_sound(path: Path) -> bool:
    """Whether the checksum at the end fits; read in pieces, so that nothing stays in memory."""
    crc, last = 0, b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            data = last + piece
            crc = google_crc32c.extend(crc, data[:-_CRC_BYTES])
            last = data[-_CRC_BYTES:]
    return bool(crc == int.from_bytes(last, "little"))
