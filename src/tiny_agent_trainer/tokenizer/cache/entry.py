# SPDX-License-Identifier: Apache-2.0
"""One prepared image as a file: magic, length of the header, header, its SHA-256, values.

The header is canonical JSON and holds the SHA-256 of the values, so that facts can be read and
trusted without the values.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import canonical, digests

Facts = Mapping[str, canonical.JsonValue]

_MAGIC: Final = b"TATPREP1"
_DIGEST_BYTES: Final = 64
_HEADER_LIMIT: Final = 1 << 20
"""Bytes of a header; facts are a few lines."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An image that needs no more decoding.

    Attributes:
        pixels: SHA-256 of the decoded pixels, 64 hexadecimal digits.
        facts: What a reader noted when it was decoded; no path, name or identifier.
        values: Prepared integers, shape (channels, *spatial).
    """

    pixels: str
    facts: Facts
    values: npt.NDArray[np.integer]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What is known of a prepared image without its values."""

    pixels: str
    facts: Facts


def encode(key: str, image: Prepared) -> Iterator[bytes]:
    """The pieces of the file of a key."""
    little = image.values.astype(image.values.dtype.newbyteorder("<"), copy=False)
    data = np.ascontiguousarray(little).tobytes()
    header = canonical.encode(
        {
            "key": key,
            "pixels": image.pixels,
            "facts": dict(image.facts),
            "dtype": little.dtype.str,
            "shape": list(little.shape),
            "values": digests.sha256_hex(data),
        }
    )
    yield _MAGIC + len(header).to_bytes(4, "little")
    yield header + digests.sha256_hex(header).encode()
    yield data


def read_noted(path: Path, key: str) -> Noted | None:
    """What a file says beside its values; None if it is damaged or another key's."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC) + 4)
            length = int.from_bytes(start[len(_MAGIC) :], "little")
            if length > _HEADER_LIMIT:
                return None
            header = _header(start + file.read(length + _DIGEST_BYTES), key)
    except OSError:
        return None
    return Noted(pixels=header["pixels"], facts=header["facts"]) if header else None


def decode(data: bytes, key: str) -> Prepared | None:
    """The image of a file; None if it is damaged or another key's."""
    header = _header(data, key)
    if header is None:
        return None
    length = int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 4], "little")
    values = memoryview(data)[len(_MAGIC) + 4 + length + _DIGEST_BYTES :]
    dtype, shape = np.dtype(header["dtype"]), tuple(header["shape"])
    is_whole = len(values) == math.prod(shape) * dtype.itemsize
    if not is_whole or digests.sha256_hex(values) != header["values"]:
        return None
    return Prepared(
        pixels=header["pixels"],
        facts=header["facts"],
        values=np.frombuffer(values, dtype).reshape(shape),
    )


def _header(data: bytes, key: str) -> Any:  # noqa: ANN401 (as it was written; its digest fits)
    """The header of a file, or None if its digest or key is another."""
    start = len(_MAGIC) + 4
    length = int.from_bytes(data[len(_MAGIC) : start], "little")
    header, found = data[start : start + length], data[start + length :][:_DIGEST_BYTES]
    is_sound = data.startswith(_MAGIC) and digests.sha256_hex(header).encode() == found
    values: Any = canonical.decode(header) if is_sound else None
    return values if values and values["key"] == key else None
