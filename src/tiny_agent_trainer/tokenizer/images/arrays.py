# SPDX-License-Identifier: Apache-2.0
"""Arrays of numpy: `.npy`, and `.npz` with one array in it; never a pickle."""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from tiny_agent_trainer.tokenizer.images import admission, image, refusing, sources

ENDINGS: Final = (".npy", ".npz")

_HEADER_LIMIT: Final = 10_000
"""Characters of a header; numpy writes fewer than 200 for arrays without fields."""


def read_array(root: Path, key: str) -> image.Image:
    """Read an array as an image or a volume.

    The last dim counts as channels if it has 1 or 3 entries and two or three dims are left without
    it: (rows, columns), (rows, columns, 3), (slices, rows, columns), (slices, rows, columns, 3).

    Raises:
        DatasetError: It is damaged, holds objects, has another shape or values that are not finite.
    """
    data, file = sources.read(root, key)
    if key.lower().endswith(".npz"):
        data = _only_member(data, key)
    values = _with_channels(admission.admit(decode(data, key), key), key)
    return image.Image(values=values, decoder=f"numpy {np.__version__}", files=(file,))


def facts_of(root: Path, key: str) -> Mapping[str, str]:
    """What is known without decoding: the format alone.

    Raises:
        DatasetError: The file lies outside of the root.
    """
    path = sources.inside(root, key)
    return {"format": path.suffix.removeprefix(".").lower()}


def decode(data: bytes, key: str) -> npt.NDArray[Any]:
    """The array of an npy file, a view of its bytes.

    Raises:
        DatasetError: The header is foreign or does not agree with the number of bytes.
    """
    with refusing.foreign(key, "an npy file of numbers"):
        stream = io.BytesIO(data)
        version = npy_format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise refusing.refusal(key, "npy version 1 or 2", f"version {version}")
        read_header = (
            npy_format.read_array_header_1_0
            if version == (1, 0)
            else npy_format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(stream, max_header_size=_HEADER_LIMIT)
        return _array(data[stream.tell() :], shape, dtype, key, order="F" if is_fortran else "C")


def _array(
    data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], key: str, order: Literal["C", "F"]
) -> npt.NDArray[Any]:
    if dtype.hasobject or dtype.kind not in "biuf" or not all(length >= 0 for length in shape):
        raise refusing.refusal(key, "an array of real numbers", f"type {dtype}, shape {shape}")
    sources.require_values(key, math.prod(shape))
    size_bytes = math.prod(shape) * dtype.itemsize
    if len(data) != size_bytes:
        expected = f"{size_bytes} bytes behind the header, as its shape {shape} says"
        raise refusing.refusal(key, expected, f"{len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _only_member(data: bytes, key: str) -> bytes:
    with (
        refusing.foreign(key, "an npz file with one array"),
        zipfile.ZipFile(io.BytesIO(data)) as archive,
    ):
        members = archive.infolist()
        if len(members) != 1:
            raise refusing.refusal(key, "one array", f"{len(members)} arrays")
        if members[0].file_size > sources.FILE_LIMIT_BYTES:
            expected = f"at most {sources.FILE_LIMIT_BYTES} bytes"
            raise refusing.refusal(key, expected, f"{members[0].file_size} bytes")
        with archive.open(members[0]) as stream:
            # zipfile stops at the length that the directory states, and compares the checksum.
            return stream.read()


def _with_channels(values: npt.NDArray[Any], key: str) -> npt.NDArray[Any]:
    has_channels = values.ndim in (3, 4) and values.shape[-1] in (1, 3)
    if not has_channels:
        values = values[..., None]
    if values.ndim not in (3, 4):
        raise refusing.refusal(key, "two or three spatial dims", f"shape {values.shape}")
    return values
