# SPDX-License-Identifier: Apache-2.0
"""NIfTI-1 and NIfTI-2, plain or gzipped, in either byte order, turned to R, A, S by moving data."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.config.images import NiftiOptions
from tiny_agent_trainer.tokenizer.images import (
    admission,
    image,
    nifti_header,
    orientation,
    refusing,
    sources,
)

ENDINGS: Final = (".nii", ".nii.gz")

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 1 << 20
_RAS: Final = "RAS"
_AXIS_OF: Final = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


def read_nifti(root: Path, key: str, options: NiftiOptions) -> image.Image:
    """Read an image or a volume, its dims turned to grow to the right, the front and the head.

    Integers without scaling keep their values. With scaling, value = stored * slope + inter in two
    operations of float64, rounded once to float32.

    Raises:
        DatasetError: It is damaged, 4-D without an index, or says two places for one voxel.
    """
    data, file = sources.read(root, key)
    header, values = _decode(data, key, options)
    if header.is_scaled:
        with np.errstate(over="ignore", invalid="ignore"):
            product = values.astype(np.float64) * header.slope
            values = product + header.inter
    return _assembled(header, admission.admit(values, key), file)


def read_label_map(root: Path, key: str, options: NiftiOptions) -> image.Image:
    """Read a volume of class numbers, turned as `read_nifti` turns its image.

    Raises:
        DatasetError: As `read_nifti`; or values are scaled, not whole, or negative.
    """
    data, file = sources.read(root, key)
    header, values = _decode(data, key, options)
    if header.is_scaled or header.channels != 1:
        found = f"scl_slope {header.slope:.6g}, scl_inter {header.inter:.6g}"
        raise refusing.refusal(key, "a label map with slope 1 and one channel", found)
    if values.dtype.kind == "f":
        admission.require_finite(values, key)
        if not (np.rint(values) == values).all():
            raise refusing.refusal(key, "a label map of whole numbers", "fractions")
        admission.require_range(values, key, admission.INT32)
        values = values.astype(np.int32)
    if int(values.min()) < 0:
        raise refusing.refusal(key, "class numbers from 0", f"{int(values.min())}")
    return _assembled(header, admission.admit(values, key), file)


def facts_of(root: Path, key: str, options: NiftiOptions) -> Mapping[str, str]:
    """What the header says, without decoding; "affine" is that of the volume turned to R, A, S.

    Raises:
        DatasetError: It is no NIfTI file that this package reads, or 4-D without an index.
    """
    path = sources.inside(root, key)
    with refusing.foreign(key, "a readable file"), path.open("rb") as stream:
        start = stream.read(_CHUNK_BYTES)
    header = nifti_header.decode(_inflated(start, nifti_header.HEADER_BYTES, key), key)
    _require_index(header, key, options)
    dims, flips = _turn(header)
    spacing = " x ".join(f"{edge:.6g}" for edge in _spacing_mm(header, dims))
    return {
        "format": "NIfTI",
        "shape": " x ".join(str(header.shape[dim]) for dim in dims),
        "volumes": str(header.shape[3] if len(header.shape) == 4 else 1),
        "spacing_mm": spacing,
        "orientation": _orientation(header, dims, flips),
        "affine": _affine_text(header, dims, flips),
    }


def _decode(
    data: bytes, key: str, options: NiftiOptions
) -> tuple[nifti_header.Header, npt.NDArray[Any]]:
    """Header and stored values, shape (*spatial, channels), of the volume that was asked for."""
    start = _inflated(data[:_CHUNK_BYTES], nifti_header.HEADER_BYTES, key)
    header = nifti_header.decode(start, key)
    _require_index(header, key, options)
    size_bytes = header.offset + header.size_bytes
    whole = _inflated(data, size_bytes + 1, key)
    if len(whole) != size_bytes:
        more = "more" if len(whole) > size_bytes else str(len(whole))
        expected = f"{size_bytes} bytes, as shape {header.shape} and type {header.dtype} say"
        raise refusing.refusal(key, expected, more)
    values = np.frombuffer(whole, header.dtype, offset=header.offset)
    channels_first = values.reshape((header.channels, *header.shape), order="F")
    values = np.moveaxis(channels_first, 0, -1)
    return header, values[:, :, :, options.index, :] if len(header.shape) == 4 else values


def _require_index(header: nifti_header.Header, key: str, options: NiftiOptions) -> None:
    if len(header.shape) < 4:
        return
    count = header.shape[3]
    if options.index is None or options.index >= count:
        remedy = f"choose a volume from 0 to {count - 1} with the option `index` for NIfTI files"
        wanted = "" if options.index is None else f", none of which is {options.index}"
        found = f"4-D data with {count} volumes{wanted}"
        raise refusing.refusal(key, "one volume", found, remedy)


def _inflated(data: bytes, limit_bytes: int, key: str) -> bytes:
    """At most so many bytes of what a gzip file holds; the checksum is compared at its end."""
    if not data.startswith(_GZIP_MAGIC):
        return data[:limit_bytes]
    parts, room = [], limit_bytes
    with refusing.foreign(key, "a whole gzip file"):
        while room > 0 and data:
            inflater = zlib.decompressobj(wbits=31)
            part = inflater.decompress(data, room)
            parts.append(part)
            room -= len(part)
            if not inflater.eof:
                break
            data = inflater.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _assembled(
    header: nifti_header.Header,
    values: npt.NDArray[Any],
    file: Any,  # noqa: ANN401
) -> image.Image:
    dims, flips = _turn(header)
    turned = values.transpose((*dims, len(dims)))
    slices = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    is_placed = header.affine is not None
    return image.Image(
        values=np.ascontiguousarray(turned[slices]),
        spacing_mm=_spacing_mm(header, dims),
        orientation=_orientation(header, dims, flips),
        decoder=f"nibabel {nibabel.__version__}",
        files=(file,),
        remarks=() if is_placed else ("neither sform nor qform: orientation unknown",),
    )


def _letters(header: nifti_header.Header, affine: nifti_header.Affine) -> str:
    """The side that each stored dim grows to."""
    directions = []
    for dim in range(min(3, len(header.shape))):
        right, front, head = nifti_header.column(affine, dim)
        length = orientation.norm((right, front, head))
        # NIfTI counts to the right and to the front, DICOM to the left and to the back.
        directions.append((-right / length, -front / length, head / length))
    return orientation.letters_of(tuple(directions))


def _turn(header: nifti_header.Header) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Stored dims in the order R, A, S, and which of them, then, to reverse."""
    count = min(3, len(header.shape))
    if header.affine is None:
        return tuple(range(count)), (False,) * count
    letters = _letters(header, header.affine)
    dims = tuple(sorted(range(count), key=lambda dim: _AXIS_OF[letters[dim]]))
    return dims, tuple(letters[dim] not in _RAS for dim in dims)


def _orientation(
    header: nifti_header.Header, dims: tuple[int, ...], flips: tuple[bool, ...]
) -> str:
    if header.affine is None:
        return ""
    letters = _letters(header, header.affine)
    return "".join(_RAS[_AXIS_OF[letters[dim]]] for dim in dims[: len(flips)])


def _spacing_mm(header: nifti_header.Header, dims: tuple[int, ...]) -> tuple[float, ...]:
    """Lengths of the affine's columns; an oblique grid keeps its spacing."""
    if header.affine is None:
        return tuple(header.zooms_mm[dim] for dim in dims) if min(header.zooms_mm) > 0 else ()
    return tuple(orientation.norm(nifti_header.column(header.affine, dim)) for dim in dims)


def _affine_text(
    header: nifti_header.Header, dims: tuple[int, ...], flips: tuple[bool, ...]
) -> str:
    """The affine of the turned volume: 4 numbers for each of three rows, "" when unknown."""
    if header.affine is None:
        return ""
    numbers = []
    for row in header.affine:
        steps = []
        origin = row[3]
        for dim, flip in zip(dims, flips, strict=True):
            steps.append(-row[dim] if flip else row[dim])
            origin += row[dim] * (header.shape[dim] - 1) if flip else 0.0
        numbers += [*steps, origin]
    return " ".join(f"{number!r}" for number in numbers)
