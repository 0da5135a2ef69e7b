# SPDX-License-Identifier: Apache-2.0
"""An engine proves itself against Python's integers before it may compute anything.

Random operands pass by luck: what saturates, wraps, or rounds where it must not shows itself at the
ends of the range and at odd lengths. An engine that is wrong in one case is never used.

Guarantees:
    Cases reach the bounds of equations (5) and (6) of `README.md`: all operands at +-2^13, lengths
    around the 15 pairs of a spill and, where there is time, beyond the 2^19 pairs of a call.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact.contractions import geometry
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine
from tiny_agent_trainer.exact.contractions.oracle import OracleEngine

Compute: TypeAlias = Callable[[AbstractEngine], torch.Tensor]

_LENGTHS: Final = (29, 30, 31, 32, 33, 1023)
"""Contracted lengths: both sides of 15 pairs, the last one of a pair alone, and many spills."""

_LONGEST: Final = 2**20 + 3
"""More than the 2^19 pairs of one call of the int16 engine, with a last one alone."""

_EXTREME: Final = np.float32(1 - 2.0**-20)
"""On its grid it is rounded up to 2^13, the largest integer there is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One computation with the answer of Python's integers.

    Attributes:
        name: As an error says it.
        compute: The same computation on any engine.
        expected: Its result, bit for bit.
    """

    name: str
    compute: Compute
    expected: torch.Tensor


def find_fault(engine: AbstractEngine, *, is_thorough: bool = False) -> str | None:
    """The first case in which an engine is wrong, in words; None if it is right in all.

    Args:
        engine: Any.
        is_thorough: Include the longest product, which takes as long as all others.
    """
    for case in (*_cases(), *((_longest_product(),) if is_thorough else ())):
        try:
            found = case.compute(engine)
        except Exception as error:  # noqa: BLE001  # whatever it raises, it did not compute
            return f"{case.name}: {type(error).__name__}: {error}"
        fault = _difference(found, case.expected)
        if fault is not None:
            return f"{case.name}: {fault}"
    return None


@functools.cache
def _cases() -> tuple[Case, ...]:
    """All cases; the oracle computes each once."""
    oracle = OracleEngine()
    computations = {**_products(), **_convolutions()}
    return tuple(Case(name, compute, compute(oracle)) for name, compute in computations.items())


def _products() -> dict[str, Compute]:
    computations = {
        f"a product of length {length}, all operands at 2^13": _multiply(
            np.stack([_extremes(length, 1), _extremes(length, 2)]),
            np.stack([_extremes(length, period) for period in (1, 2, 3)]).T,
        )
        for length in _LENGTHS
    }
    left = np.concatenate([_mixture(3, 35, spread=4), _mixture(2, 35), _halves(35)[None]])
    right = np.concatenate([_mixture(35, 9, spread=4), _mixture(35, 8)], axis=1)
    computations["a product of tiny and huge numbers"] = _multiply(left, right)
    return computations


def _multiply(left_MK: npt.NDArray[np.float32], right_KN: npt.NDArray[np.float32]) -> Compute:
    left, right = torch.from_numpy(left_MK)[None], torch.from_numpy(right_KN.copy())[None]
    return lambda engine: engine.multiply(left, right)


def _longest_product() -> Case:
    """The longest one, whose answer is known without an oracle."""
    left = torch.full((1, 1, _LONGEST), float(_EXTREME))
    right = torch.full((1, _LONGEST, 1), float(_EXTREME))
    return Case(
        f"a product of length {_LONGEST}, all operands at 2^13",
        lambda engine: engine.multiply(left, right),
        torch.full((1, 1, 1), float(_LONGEST)),
    )


def _convolutions() -> dict[str, Compute]:
    """Forward and both gradients: stride 2 with samples and channels that fill no pair; groups."""
    return {
        **_contract("stride 2", x=(3, 3, 6, 6), weight=(5, 3, 3, 3), stride=2, groups=1),
        **_contract("two groups", x=(1, 6, 3, 4), weight=(4, 3, 3, 3), stride=1, groups=2),
    }


def _contract(
    name: str, *, x: tuple[int, ...], weight: tuple[int, ...], stride: int, groups: int
) -> dict[str, Compute]:
    of_x, of_weight = _hard(*x), _hard(*weight)
    shape = geometry.of_convolution(of_x, of_weight, [stride], [1], [1], groups)
    inside = geometry.channels_innermost(of_x)
    outside = _hard(shape.samples, *shape.out, shape.outputs)
    return {
        f"a convolution with {name}": lambda engine: engine.convolve(inside, of_weight, shape),
        f"the input gradient with {name}": lambda engine: engine.input_gradient(
            outside, of_weight, shape
        ),
        f"the weight gradient with {name}": lambda engine: engine.weight_gradient(
            inside, outside, shape
        ),
    }


def _hard(*shape: int) -> torch.Tensor:
    """The first half of a tensor at the ends of the range, the other tiny beside huge."""
    count = int(np.prod(shape))
    flat = _extremes(count, 3)
    flat[count // 2 :] = _mixture(count - count // 2)
    return torch.from_numpy(flat.reshape(shape))


def _extremes(count: int, period: int) -> npt.NDArray[np.float32]:
    """The largest operand, its sign turned at every place that the period divides."""
    signs = np.where(np.arange(1, count + 1) % period == 0, -1, 1)
    return (signs * _EXTREME).astype(np.float32)


def _mixture(*shape: int, spread: int = 64) -> npt.NDArray[np.float32]:
    """Numbers without a pattern, of both signs; so many powers of two around 1 share a grid."""
    count = int(np.prod(shape))
    words = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    significands = (words >> np.uint64(41)).astype(np.float32) - np.float32(1 << 22)
    powers = (words >> np.uint64(20) & np.uint64(63)).astype(np.int32) % spread - spread // 2 - 22
    numbers: npt.NDArray[np.float32] = np.ldexp(significands, powers)
    return numbers.reshape(shape)


def _halves(count: int) -> npt.NDArray[np.float32]:
    """Halves of the unit of their grid, which are rounded to even, below one large number."""
    halves = np.ldexp((np.arange(count) - count // 2 + 0.5).astype(np.float32), -13)
    halves[0] = _EXTREME
    return halves


def _difference(found: torch.Tensor, expected: torch.Tensor) -> str | None:
    if found.shape != expected.shape:
        return f"shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    ours, true = (x.contiguous().numpy().view(np.int32) for x in (found, expected))
    if np.array_equal(ours, true):
        return None
    place = tuple(int(index) for index in np.argwhere(ours != true)[0])
    return f"element {place} is {float(found[place])!r} instead of {float(expected[place])!r}"
