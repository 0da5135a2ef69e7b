# SPDX-License-Identifier: Apache-2.0
"""Where two safetensors files part, found with plain Python.

Source:
    The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes.
"""

import itertools
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tiny_agent_trainer.meta.audit import TensorDifference

_CHUNK_SIZE_BYTES: Final = 1 << 16
_FLOATS: Final = {"F64": ("<d", "<q"), "F32": ("<f", "<i"), "F16": ("<e", "<h")}
_INTEGERS: Final = {
    "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B", "BOOL": "<?", "U16": "<H",
    "U32": "<I", "U64": "<Q",
}  # fmt: skip


def first_difference(a: Path, b: Path, name: str) -> TensorDifference | None:
    """The first tensor, in the byte order of names, that differs between two files.

    Args:
        a: The original.
        b: The re-run.
        name: What the file is called in the result.

    Returns:
        None when all tensors are equal (the files may still differ in their metadata).

    Raises:
        ValueError: One of them is not a safetensors file.
    """
    left, right = _Tensors(a), _Tensors(b)
    for tensor in sorted({*left.header, *right.header}, key=str.encode):
        found = _compare(left, right, tensor, name)
        if found is not None:
            return found
    return None


class _Tensors:
    """The header and the data of one file."""

    def __init__(self, path: Path) -> None:
        data = memoryview(path.read_bytes())
        (length,) = struct.unpack("<Q", data[:8])
        header: Mapping[str, Any] = json.loads(bytes(data[8 : 8 + length]))
        self.header = {k: v for k, v in header.items() if k != "__metadata__"}
        self._data = data[8 + length :]

    def data(self, tensor: str) -> memoryview:
        begin, end = self.header[tensor]["data_offsets"]
        return self._data[begin:end]

    def form(self, tensor: str) -> str:
        about = self.header.get(tensor)
        return "absent" if about is None else f"{about['dtype']} {about['shape']}"


def _compare(a: _Tensors, b: _Tensors, tensor: str, name: str) -> TensorDifference | None:
    forms = a.form(tensor), b.form(tensor)
    if forms[0] != forms[1]:
        return TensorDifference(
            checkpoint=name,
            tensor=tensor,
            index=(),
            value_a=forms[0],
            value_b=forms[1],
            ulp_distance=None,
        )
    left, right = a.data(tensor), b.data(tensor)
    if left == right:
        return None
    about = a.header[tensor]
    kind = about["dtype"]
    size = struct.calcsize(_FLOATS[kind][0] if kind in _FLOATS else _INTEGERS.get(kind, "<B"))
    start = _first_byte(left, right) // size * size
    pair = bytes(left[start : start + size]), bytes(right[start : start + size])
    return TensorDifference(
        checkpoint=name,
        tensor=tensor,
        index=_unravel(start // size, about["shape"]),
        value_a=_show(kind, pair[0]),
        value_b=_show(kind, pair[1]),
        ulp_distance=_ulp_distance(kind, *pair),
    )


def _first_byte(a: memoryview, b: memoryview) -> int:
    for start in range(0, len(a), _CHUNK_SIZE_BYTES):
        left, right = a[start : start + _CHUNK_SIZE_BYTES], b[start : start + _CHUNK_SIZE_BYTES]
        if left != right:
            pairs = itertools.zip_longest(left, right)
            return start + next(i for i, (one, other) in enumerate(pairs) if one != other)
    return min(len(a), len(b))


def _unravel(position: int, shape: list[int]) -> tuple[int, ...]:
    index: list[int] = []
    for length in reversed(shape):
        position, place = divmod(position, length)
        index.append(place)
    return tuple(reversed(index))


def _show(kind: str, data: bytes) -> str:
    if kind in _FLOATS:
        (value,) = struct.unpack(_FLOATS[kind][0], data)
        return f"{value!r} ({value.hex()})"
    if kind in _INTEGERS:
        return str(struct.unpack(_INTEGERS[kind], data)[0])
    return data.hex()


def _ulp_distance(kind: str, a: bytes, b: bytes) -> int | None:
    """How many steps from float to float lead from one value to the other; -0.0 is below 0.0."""
    if kind not in _FLOATS:
        return None
    code, bits = _FLOATS[kind][1], 8 * len(a)
    left, right = (_ordered(struct.unpack(code, data)[0], bits) for data in (a, b))
    return abs(left - right)


def _ordered(image: int, bits: int) -> int:
    """An integer that grows with the float whose bits `image` is."""
    return image if image >= 0 else -(image + (1 << (bits - 1))) - 1
