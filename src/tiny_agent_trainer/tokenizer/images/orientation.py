# SPDX-License-Identifier: Apache-2.0
"""Which sides of the patient the dims of an array go to."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Final

Vector = tuple[float, float, float]

_POSITIVE: Final = "LPS"
_NEGATIVE: Final = "RAI"


@functools.lru_cache(maxsize=1 << 12)
def letters_of(directions: tuple[Vector, ...]) -> str:
    """One letter per direction: the side of the patient that it goes to, each axis at most once.

    Args:
        directions: Unit vectors in DICOM's patient coordinates, in which x grows to the left, y to
            the back and z to the head.

    Guarantees:
        Of all assignments of axes the one with the largest sum of cosines; the first of equals.
    """
    assignments = itertools.permutations(range(3), len(directions))
    axes = max(assignments, key=lambda axes: _alignment(directions, axes))
    return "".join(
        (_POSITIVE if direction[axis] > 0 else _NEGATIVE)[axis]
        for direction, axis in zip(directions, axes, strict=True)
    )


def _alignment(directions: Sequence[Vector], axes: Sequence[int]) -> float:
    total = 0.0
    for direction, axis in zip(directions, axes, strict=True):
        total += abs(direction[axis])
    return total


def cross(first: Vector, second: Vector) -> Vector:
    """The vector product, each component rounded in the order written here."""
    return (
        first[1] * second[2] - first[2] * second[1],
        first[2] * second[0] - first[0] * second[2],
        first[0] * second[1] - first[1] * second[0],
    )


def dot(first: Vector, second: Vector) -> float:
    """The scalar product, added from the left."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def norm(vector: Vector) -> float:
    """The length of a vector."""
    return math.sqrt(dot(vector, vector))


def scaled(vector: Vector, factor: float) -> Vector:
    """A vector times a number."""
    return (vector[0] * factor, vector[1] * factor, vector[2] * factor)


def minus(first: Vector, second: Vector) -> Vector:
    """The difference of two vectors."""
    return (first[0] - second[0], first[1] - second[1], first[2] - second[2])
