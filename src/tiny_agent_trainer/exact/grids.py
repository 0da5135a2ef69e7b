# SPDX-License-Identifier: Apache-2.0
"""Grids: which power of two the integers of a block stand for. Equations (1) to (4) of README.md.

A block is the set of values that share a grid. Its exponent e is the smallest integer with
max|x| < 2^e, or the floor of its format if that is larger (zeros and tiny values). Exponents are
a function of the block's values alone, so no thread, worker or engine can change them.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer import errors

CONTRACTION_BITS: Final = 14
"""Significant bits of an operand of a contraction: |q| <= 2^13. Equation (1)."""

CONTRACTION_FLOOR: Final = -100
"""Smallest exponent of an operand: 2^(13 + 100) is still a float32."""

SUM_BITS: Final = 40
"""Most bits of a term of a sum: float64 rounds it to the grid by one addition. Equation (3)."""

SHARD_BITS: Final = 50
"""The same for the gradients of shards, of which there are few: float64 rounds no more bits."""

SUM_FLOOR: Final = -126
"""Smallest exponent of a sum: below it lie subnormals alone, which the grid still holds exactly."""

_NOT_FINITE: Final = 0x7F800000

_numpy = torch.Tensor.numpy
"""As it is where `escapes` does not watch it, which would cost time."""


def exponents(
    largest: npt.NDArray[np.int32] | np.int32, floor: int, what: str
) -> npt.NDArray[np.int32]:
    """Exponents of blocks from the bits of their largest magnitudes.

    Args:
        largest: The float32 bits of max|x|, sign removed, any shape.
        floor: The floor of the format.
        what: Names the tensor in an error.

    Raises:
        NotFiniteError: A block holds NaN or infinity.
    """
    if largest.size and int(largest.max()) >= _NOT_FINITE:
        raise not_finite(what)
    return np.maximum((largest >> 23) - 126, floor).astype(np.int32)


def largest_lost(exponents: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Bits of the largest float32 that the grid of an operand rounds to zero: half its unit."""
    return ((exponents - CONTRACTION_BITS + 127) << 23).astype(np.int32)


def sum_bits(count: int, most: int = SUM_BITS) -> int:
    """Bits of each of `count` terms, so that their sum stays below 2^62. Equation (3)."""
    return min(most, 62 - count.bit_length())


def powers(exponents: npt.NDArray[np.int32] | np.int32) -> npt.NDArray[np.float64]:
    """2^e as float64, exactly."""
    return np.ldexp(np.ones(np.shape(exponents)), exponents)


def not_finite(what: str) -> errors.NotFiniteError:
    """The error for a NaN or an infinity where numbers are needed."""
    return errors.NotFiniteError(
        where=what,
        expected="finite numbers",
        found="NaN or infinity",
        remedy="look at the step before: lower [optimizer] lr, set clip_norm, or mend the data",
    )


def as_float32(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """A float32 tensor's memory as an array, without a copy.

    Raises:
        UnsupportedOperationError: It is of another type.
    """
    if tensor.dtype != torch.float32:
        raise errors.UnsupportedOperationError(
            where="exact arithmetic",
            expected="float32 tensors",
            found=str(tensor.dtype),
            remedy="convert to float32 before the operation",
        )
    return as_array(tensor)


def as_array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """A tensor's memory as an array, without a copy."""
    array: npt.NDArray[np.float32] = _numpy(tensor.detach())
    return array
