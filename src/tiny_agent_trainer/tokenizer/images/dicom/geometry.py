# SPDX-License-Identifier: Apache-2.0
"""Where images lie in the patient, and whether a stack of them is a regular grid.

Source: PS3.3 C.7.6.2.1.1. Coordinates grow to the left, the back and the head. PixelSpacing is the
distance between rows, then between columns. The first three direction cosines are those along a
row: where growing column indices go.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Final

from tiny_agent_trainer.tokenizer.images import orientation, refusing
from tiny_agent_trainer.tokenizer.images.dicom import enhanced, tags

COSINE_TOLERANCE: Final = 1e-3
"""How far direction cosines of one stack may differ: 0.06 degrees, a tenth of a millimetre at the
edge of a head."""

STEP_TOLERANCE: Final = 0.01
STEP_TOLERANCE_MM: Final = 0.02
"""How far a step between slices may be off the median: positions are written with 2 decimals."""

SHIFT_TOLERANCE_PIXELS: Final = 0.1
SHIFT_TOLERANCE_MM: Final = 0.05
"""How far slices may be shifted in their plane against the first."""

GAP_STEPS: Final = 3.0
"""A step this many times the median is a gap, which no interpolation may fill."""

_MISSING_STEPS: Final = 1.5
"""A step this many times the median tells of a slice that is missing."""

DUPLICATE_MM: Final = 1e-3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One image in the patient, in millimetres.

    Attributes:
        along_row, along_column: Unit vectors of growing column and row indices.
        position: Centre of the first pixel.
        spacing_mm: Between rows, and between columns.
    """

    along_row: orientation.Vector
    along_column: orientation.Vector
    position: orientation.Vector
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> orientation.Vector:
        """The direction of growing slice indices: along a row times along a column."""
        return orientation.cross(self.along_row, self.along_column)


def plane_of(frame: enhanced.Frame) -> Plane | None:
    """The plane of a frame; None when position, orientation or spacing is not in the file.

    Raises:
        DatasetError: They are there, but wrong.
    """
    key = frame.key
    cosines = tags.numbers(
        frame.macro("PlaneOrientationSequence"), "ImageOrientationPatient", key, 6
    )
    place = tags.numbers(frame.macro("PlanePositionSequence"), "ImagePositionPatient", key, 3)
    spacing = tags.numbers(frame.macro("PixelMeasuresSequence"), "PixelSpacing", key, 2)
    if not (cosines and place and spacing):
        return None
    along_row = (cosines[0], cosines[1], cosines[2])
    along_column = (cosines[3], cosines[4], cosines[5])
    _require_units(along_row, along_column, key)
    _require_positive(spacing, key)
    return Plane(
        along_row=along_row,
        along_column=along_column,
        position=(place[0], place[1], place[2]),
        spacing_mm=(spacing[0], spacing[1]),
    )


def missing_tags(frame: enhanced.Frame) -> str:
    """The tags without which a frame has no place, listed."""
    wanted = (
        ("PlanePositionSequence", "ImagePositionPatient", 3),
        ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        ("PixelMeasuresSequence", "PixelSpacing", 2),
    )
    absent = [
        tags.named(keyword)
        for macro, keyword, count in wanted
        if not tags.numbers(frame.macro(macro), keyword, frame.key, count)
    ]
    return ", ".join(absent)


def _require_units(first: orientation.Vector, second: orientation.Vector, key: str) -> None:
    errors = [abs(orientation.dot(vector, vector) - 1.0) for vector in (first, second)]
    errors.append(abs(orientation.dot(first, second)))
    if max(errors) > 10 * COSINE_TOLERANCE:
        where = f"{key}, {tags.named('ImageOrientationPatient')}"
        found = f"lengths or angle off by {max(errors):.3g}"
        raise refusing.refusal(where, "two perpendicular unit vectors", found)


def _require_positive(spacing: Sequence[float], key: str) -> None:
    if min(spacing) <= 0:
        where = f"{key}, {tags.named('PixelSpacing')}"
        raise refusing.refusal(where, "positive distances", f"{spacing[0]:g} and {spacing[1]:g}")


def is_parallel(first: Plane, second: Plane) -> bool:
    """Whether two planes have the same directions, sign included."""
    pairs = zip(
        (*first.along_row, *first.along_column),
        (*second.along_row, *second.along_column),
        strict=True,
    )
    return all(abs(a - b) <= COSINE_TOLERANCE for a, b in pairs)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Parallel planes in their order along the normal.

    Attributes:
        order: Indices of the planes, by growing position.
        positions_mm: Of the planes in that order, along the normal, from the first.
        shifts_mm: How far each lies off the first in its plane: along a column, along a row.
        step_mm: The lower median of the steps.
        hopeless: What nothing can mend, in words; "" if nothing.
        irregular: What resampling can mend, in words; "" if nothing.
    """

    order: tuple[int, ...]
    positions_mm: tuple[float, ...]
    shifts_mm: tuple[tuple[float, float], ...]
    step_mm: float
    hopeless: str
    irregular: str


def stack(planes: Sequence[Plane]) -> Stack:
    """Order two or more parallel planes and say whether they are a regular grid."""
    first = planes[0]
    along = [orientation.dot(plane.position, first.normal) for plane in planes]
    order = sorted(range(len(planes)), key=lambda index: along[index])
    lowest = planes[order[0]]
    positions = tuple(along[index] - along[order[0]] for index in order)
    shifts = tuple(_shift(planes[index], lowest) for index in order)
    steps = [after - before for before, after in itertools.pairwise(positions)]
    step_mm = sorted(steps)[(len(steps) - 1) // 2]
    return Stack(
        order=tuple(order),
        positions_mm=positions,
        shifts_mm=shifts,
        step_mm=step_mm,
        hopeless=_spacing_fault(planes) or _hopeless(steps, step_mm),
        irregular="; ".join(filter(None, (_uneven(steps, step_mm), _tilt(shifts, steps, first)))),
    )


def _shift(plane: Plane, lowest: Plane) -> tuple[float, float]:
    offset = orientation.minus(plane.position, lowest.position)
    return (
        orientation.dot(offset, lowest.along_column),
        orientation.dot(offset, lowest.along_row),
    )


def _spacing_fault(planes: Sequence[Plane]) -> str:
    found = sorted({plane.spacing_mm for plane in planes})
    for spacing in found:
        for a, b in zip(spacing, found[0], strict=True):
            if abs(a - b) > STEP_TOLERANCE * b:
                listed = ", ".join(f"{row:g} x {column:g}" for row, column in found[:4])
                return f"pixel spacings differ within the series: {listed} mm"
    return ""


def _hopeless(steps: Sequence[float], step_mm: float) -> str:
    doubles = sum(step <= DUPLICATE_MM for step in steps)
    if doubles:
        return (
            f"{doubles} of {len(steps) + 1} slices at the position of another: "
            "several volumes in one series (time, echo or diffusion), or copies of one file"
        )
    gap = max(steps)
    if gap > GAP_STEPS * step_mm:
        return f"a gap of {gap:.2f} mm between slices that are {step_mm:.2f} mm apart"
    return ""


def _uneven(steps: Sequence[float], step_mm: float) -> str:
    allowed = max(STEP_TOLERANCE * step_mm, STEP_TOLERANCE_MM)
    if all(abs(step - step_mm) <= allowed for step in steps):
        return ""
    sizes = dict.fromkeys(f"{step:.2f}" for step in steps)
    listed = ", ".join(list(sizes)[:6]) + (", ..." if len(sizes) > 6 else "")
    hint = ", as where a slice is missing" if max(steps) > _MISSING_STEPS * step_mm else ""
    return f"irregular spacing: steps of {listed} mm along the normal{hint}"


def _tilt(shifts: Sequence[tuple[float, float]], steps: Sequence[float], plane: Plane) -> str:
    allowed = max(SHIFT_TOLERANCE_PIXELS * min(plane.spacing_mm), SHIFT_TOLERANCE_MM)
    largest = max(max(abs(down), abs(right)) for down, right in shifts)
    if largest <= allowed:
        return ""
    length = 0.0
    for step in steps:
        length += step
    return (
        f"gantry tilt or shear: slices shifted in their plane by up to {largest:.2f} mm "
        f"over {length:.2f} mm"
    )
