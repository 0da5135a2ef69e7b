# SPDX-License-Identifier: Apache-2.0
"""Headers of NIfTI-1 and NIfTI-2: shape, type, scaling and affine, checked before data are read."""

import dataclasses
import io
import math
from typing import Any, Final

import nibabel
import numpy as np

from tiny_agent_trainer.tokenizer.images import orientation, refusing, sources

HEADER_BYTES: Final = 540
"""Bytes of the longer header, that of NIfTI-2."""

_SIZES: Final = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_UNITS: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in a unit of space: unknown (taken for millimetres), metre, millimetre, micron."""

_TYPES: Final = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8",
}  # fmt: skip
"""Codes of types that hold real numbers; 128 is RGB with 8 bits each."""

_RGB: Final = 128

AGREEMENT_VOXELS: Final = 0.01
"""How far sform and qform may put the far corner apart, as a part of the smallest voxel edge."""

Affine = tuple[tuple[float, float, float, float], ...]
"""Three rows: from (i, j, k, 1) to millimetres to the right, to the front and to the head."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a NIfTI file says of its data.

    Attributes:
        shape: Without trailing dims of length 1 beyond the third.
        dtype: As stored, with its byte order.
        channels: 3 for RGB, else 1.
        slope, inter: Scaling; (1, 0) when there is none.
        offset: Where the data begin.
        affine: None when neither sform nor qform is set.
        zooms_mm: Spacing as the header lists it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int
    slope: float
    inter: float
    offset: int
    affine: Affine | None
    zooms_mm: tuple[float, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.channels * self.dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether stored values are not the values that are meant."""
        return (self.slope, self.inter) != (1.0, 0.0)


def decode(data: bytes, key: str) -> Header:
    """Read the header at the beginning of a file.

    Raises:
        DatasetError: It is no NIfTI header, or says what this package does not read.
    """
    with refusing.foreign(key, "a NIfTI header"):
        kind = _SIZES.get(int.from_bytes(data[:4], "little")) or _SIZES.get(
            int.from_bytes(data[:4], "big")
        )
        if kind is None:
            raise refusing.refusal(key, "a NIfTI-1 or NIfTI-2 header", "another beginning")
        raw = kind.from_fileobj(io.BytesIO(data), check=False)  # type: ignore[no-untyped-call]
        if bytes(raw["magic"].tobytes())[:2] != b"n+":
            found = "a header whose data stand elsewhere (magic is not n+1 or n+2)"
            raise refusing.refusal(key, "header and data in one file", found)
        return _checked(raw, key)


def _checked(raw: Any, key: str) -> Header:  # noqa: ANN401 -- nibabel's headers have no types
    shape = _shape(raw, key)
    code = int(raw["datatype"])
    if code not in _TYPES:
        raise refusing.refusal(key, "real numbers of at most 64 bits", f"datatype {code}")
    offset = float(raw["vox_offset"])
    if not min(_SIZES) <= offset < sources.FILE_LIMIT_BYTES or offset != int(offset):
        raise refusing.refusal(key, "data behind the header", f"vox_offset {offset}")
    slope, inter = _scaling(raw, key)
    unit_mm = _UNITS.get(int(raw["xyzt_units"]) & 7, 1.0)
    return Header(
        shape=shape,
        dtype=np.dtype(raw.endianness + _TYPES[code]),
        channels=3 if code == _RGB else 1,
        slope=slope,
        inter=inter,
        offset=int(offset),
        affine=_affine(raw, shape, unit_mm, key),
        zooms_mm=tuple(abs(float(zoom)) * unit_mm for zoom in raw["pixdim"][1 : 1 + len(shape)]),
    )


def _shape(raw: Any, key: str) -> tuple[int, ...]:  # noqa: ANN401
    count = int(raw["dim"][0])
    if not 2 <= count <= 7:
        raise refusing.refusal(key, "between 2 and 7 dims", f"dim[0] = {count}")
    shape = [int(length) for length in raw["dim"][1 : count + 1]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if min(shape) < 1:
        raise refusing.refusal(key, "positive lengths of dims", f"shape {tuple(shape)}")
    sources.require_values(key, math.prod(shape))
    if len(shape) > 4:
        raise refusing.refusal(key, "at most 4 dims", f"shape {tuple(shape)}")
    return tuple(shape)


def _scaling(raw: Any, key: str) -> tuple[float, float]:  # noqa: ANN401
    """A slope of 0, or one that is not finite, means that nothing is scaled (nifti1.h)."""
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise refusing.refusal(key, "a finite scl_inter", f"scl_slope {slope}, scl_inter {inter}")
    return slope, inter


def _affine(raw: Any, shape: tuple[int, ...], unit_mm: float, key: str) -> Affine | None:  # noqa: ANN401
    """The sform if it is set, else the qform; refused where both are set and do not agree."""
    found = [
        _affine_of(matrix, unit_mm)
        for matrix, code in ((raw.get_sform(), "sform_code"), (raw.get_qform(), "qform_code"))
        if int(raw[code]) > 0
    ]
    for affine in found:
        _require_sane(affine, key)
    if len(found) == 2:
        _require_agreement(found[0], found[1], shape, key)
    return found[0] if found else None


def _affine_of(matrix: Any, unit_mm: float) -> Affine:  # noqa: ANN401
    rows = ([float(value) * unit_mm for value in row] for row in matrix[:3])
    return tuple((row[0], row[1], row[2], row[3]) for row in rows)


def column(affine: Affine, dim: int) -> orientation.Vector:
    """Where one step along a dim leads, in millimetres."""
    return (affine[0][dim], affine[1][dim], affine[2][dim])


def _require_sane(affine: Affine, key: str) -> None:
    columns = [column(affine, dim) for dim in range(3)]
    edges = [orientation.norm(step) for step in columns]
    volume = abs(orientation.dot(orientation.cross(columns[0], columns[1]), columns[2]))
    is_finite = all(math.isfinite(value) for row in affine for value in row)
    if not is_finite or not min(edges) > 0 or not volume > 1e-3 * edges[0] * edges[1] * edges[2]:
        raise refusing.refusal(key, "an affine with three directions", f"{affine}")


def _require_agreement(sform: Affine, qform: Affine, shape: tuple[int, ...], key: str) -> None:
    """Compare where both put the far corner, each difference counted in full."""
    apart_mm = 0.0
    for row in range(3):
        there = abs(sform[row][3] - qform[row][3])
        for dim, length in enumerate(shape[:3]):
            there += abs(sform[row][dim] - qform[row][dim]) * (length - 1)
        apart_mm = max(apart_mm, there)
    edge_mm = min(orientation.norm(column(sform, dim)) for dim in range(3))
    if apart_mm > AGREEMENT_VOXELS * edge_mm:
        found = f"sform and qform up to {apart_mm:.4g} mm apart, voxels of {edge_mm:.4g} mm"
        remedy = "clear the wrong one (set its code to 0), then run again"
        raise refusing.refusal(key, "one place for every voxel", found, remedy)
