# SPDX-License-Identifier: Apache-2.0
"""An irregular or sheared stack -> a regular grid, by linear interpolation in integers.

Positions become multiples of 1/1024 of a slice step, a row and a column. A value is the sum of up
to eight neighbours times whole weights that add up to 2^30: exact for integers, rounded once, half
up. Floats are added in the order of the loops, in float64, and rounded once to float32. Outside of
a slice its edge is repeated. Nothing is said of how well interpolated slices serve a diagnosis.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer.images import refusing, sources
from tiny_agent_trainer.tokenizer.images.dicom import geometry

_PART_BITS: Final = 10
_PARTS: Final = 1 << _PART_BITS
_TOTAL_BITS: Final = 3 * _PART_BITS
"""Values of 32 bits times weights of 30 stay inside int64."""


def to_regular(
    slices: Sequence[npt.NDArray[Any]],
    stack: geometry.Stack,
    spacing_mm: tuple[float, float],
    key: str,
) -> npt.NDArray[Any]:
    """Interpolate slices to a grid with the step of the stack, in the plane of the first slice.

    Args:
        slices: In the order of the stack, shape (rows, columns, channels), of one type.
        stack: Where they lie.
        spacing_mm: Between rows and between columns.
        key: For messages.

    Returns:
        Shape (slices, rows, columns, channels), of the same type.

    Raises:
        DatasetError: The grid would be too large.
    """
    count = int(stack.positions_mm[-1] / stack.step_mm + 1e-6) + 1
    sources.require_values(key, count * slices[0].size)
    grid = np.empty((count, *slices[0].shape), slices[0].dtype)
    below = 0
    for number in range(count):
        place_mm = number * stack.step_mm
        while below < len(slices) - 2 and stack.positions_mm[below + 1] <= place_mm:
            below += 1
        grid[number] = _between(slices, stack, spacing_mm, below, place_mm)
    return grid


def _between(
    slices: Sequence[npt.NDArray[Any]],
    stack: geometry.Stack,
    spacing_mm: tuple[float, float],
    below: int,
    place_mm: float,
) -> npt.NDArray[Any]:
    start, end = stack.positions_mm[below], stack.positions_mm[below + 1]
    part = min(_PARTS, max(0, round((place_mm - start) / (end - start) * _PARTS)))
    is_float = slices[0].dtype.kind == "f"
    total: npt.NDArray[Any] = np.zeros(slices[0].shape, np.float64 if is_float else np.int64)
    for index, weight in ((below, _PARTS - part), (below + 1, part)):
        if weight:
            total += _shifted(slices[index], stack.shifts_mm[index], spacing_mm, total) * weight
    if is_float:
        return (total / float(1 << _TOTAL_BITS)).astype(np.float32)
    rounded: npt.NDArray[Any] = (total + (1 << (_TOTAL_BITS - 1))) >> _TOTAL_BITS
    return rounded.astype(slices[0].dtype)


def _shifted(
    plane: npt.NDArray[Any],
    shift_mm: tuple[float, float],
    spacing_mm: tuple[float, float],
    like: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """A slice seen from the grid of the first, times 2^20."""
    rows = list(_neighbours(plane.shape[0], shift_mm[0] / spacing_mm[0]))
    columns = list(_neighbours(plane.shape[1], shift_mm[1] / spacing_mm[1]))
    wide = plane.astype(like.dtype)
    total = np.zeros_like(like)
    for row_places, row_weight in rows:
        for column_places, column_weight in columns:
            moved = wide[row_places][:, column_places]
            total += moved * (row_weight * column_weight)
    return total


def _neighbours(length: int, shift: float) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Where a pixel of the grid lies in a slice that is shifted: two indices with weights."""
    whole, part = divmod(round(-shift * _PARTS), _PARTS)
    places = np.arange(length, dtype=np.int64) + max(-length, min(length, whole))
    for step, weight in ((0, _PARTS - part), (1, part)):
        if weight:
            yield np.clip(places + step, 0, length - 1), weight


def remark(stack: geometry.Stack) -> str:
    """What a report must say of the grid."""
    return f"resampled to slices {stack.step_mm:.3f} mm apart: {stack.irregular}"


def stack_of(planes: Sequence[geometry.Plane], key: str, *, may_resample: bool) -> geometry.Stack:
    """Order planes to a stack that is a regular grid, or may be made one.

    Raises:
        DatasetError: They are none, with the steps and shifts in millimetres.
    """
    if not all(geometry.is_parallel(planes[0], plane) for plane in planes):
        raise refusing.refusal(key, "parallel slices", "mixed orientation")
    stack = geometry.stack(planes)
    if stack.hopeless:
        raise refusing.refusal(key, "one slice at every step of a regular grid", stack.hopeless)
    if stack.irregular and not may_resample:
        remedy = 'set on_irregular = "resample" to interpolate, or leave the series out'
        raise refusing.refusal(key, "slices on a regular grid", stack.irregular, remedy)
    return stack
