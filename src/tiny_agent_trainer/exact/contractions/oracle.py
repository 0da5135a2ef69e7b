# SPDX-License-Identifier: Apache-2.0
"""Contractions in Python's own integers, word for word as equations (1) and (2) define them.

What the other engines have to equal. It takes a microsecond for a product: for self-tests only.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine
from tiny_agent_trainer.exact.contractions.geometry import Geometry, Triple

_Integers: TypeAlias = npt.NDArray[np.object_]
"""Python integers in the shape of an array; numpy calls Python's own operators on them."""

_PRECISION: Final = 24
_LOWEST: Final = -149
"""float32: significant bits, and the exponent of the smallest number."""


@final
class OracleEngine(AbstractEngine):
    """Sums of products of integers without a limit."""

    name = "oracle"

    def multiply(
        self, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See the base class."""
        q, e_q = _on_grids(left.numpy(), axes=(2,))
        r, e_r = _on_grids(right.numpy(), axes=(1,))
        return _plus(_round(np.matmul(q, r), e_q + e_r), bias)

    def convolve(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        shape: Geometry,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the base class."""
        q, e_q = _on_grids(x.numpy(), axes=(1, 2, 3, 4))
        r, e_r = _on_grids(_in_groups(weight, shape), axes=(2, 3, 4, 5))
        sums = _zeros(shape.samples, *shape.out, shape.outputs)
        for group, ins, outs in _groups(shape):
            for out, place, tap in _links(shape):
                sums[:, *out, outs] += q[:, *place, ins] @ r[group, :, :, *tap].T
        return _plus(_round(sums, e_q + e_r.reshape(-1)), bias)

    def input_gradient(
        self, gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        q, e_q = _on_grids(gradient.numpy(), axes=(1, 2, 3, 4))
        r, e_r = _on_grids(_in_groups(weight, shape), axes=(1, 3, 4, 5))
        sums = _zeros(shape.samples, *shape.size, shape.inputs)
        for group, ins, outs in _groups(shape):
            for out, place, tap in _links(shape):
                sums[:, *place, ins] += q[:, *out, outs] @ r[group, :, :, *tap]
        return _round(sums, e_q + e_r.reshape(-1))

    def weight_gradient(
        self, x: torch.Tensor, gradient: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        q, e_q = _on_grids(x.numpy(), axes=(0, 1, 2, 3))
        r, e_r = _on_grids(gradient.numpy(), axes=(0, 1, 2, 3))
        sums = _zeros(shape.outputs, shape.group_inputs, *shape.kernel)
        exponents = np.empty((shape.outputs, shape.group_inputs, 1, 1, 1), np.int64)
        for _, ins, outs in _groups(shape):
            exponents[outs, :, 0, 0, 0] = e_r[..., outs].reshape(-1, 1) + e_q[..., ins].reshape(-1)
            for out, place, tap in _links(shape):
                sums[outs, :, *tap] += r[:, *out, outs].T @ q[:, *place, ins]
        return _round(sums, exponents)


def _plus(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return x if bias is None else x + bias


def _on_grids(
    x: npt.NDArray[np.float32], axes: tuple[int, ...]
) -> tuple[_Integers, npt.NDArray[np.int64]]:
    """Equation (1): the integers, and the exponent of their unit; axes share a grid."""
    largest = np.abs(x.astype(np.float64)).max(axis=axes, keepdims=True)
    exponents = np.maximum(np.frexp(largest)[1], grids.CONTRACTION_FLOOR).astype(np.int64)
    units = exponents - (grids.CONTRACTION_BITS - 1)
    integers: _Integers = np.frompyfunc(_nearest_multiple, 2, 1)(x, units)
    return integers, units


def _nearest_multiple(x: float, unit: int) -> int:
    """The integer nearest to x / 2^unit, ties to even."""
    numerator, denominator = float(x).as_integer_ratio()
    numerator <<= max(-int(unit), 0)
    return _divide(numerator, denominator.bit_length() - 1 + max(int(unit), 0))


def _divide(integer: int, bits: int) -> int:
    """The integer nearest to integer / 2^bits, ties to even."""
    floor, rest = integer >> bits, integer & ((1 << bits) - 1)
    return floor + (2 * rest + (floor & 1) > 1 << bits)


def _round(sums: _Integers, units: npt.NDArray[np.int64]) -> torch.Tensor:
    """Equation (2): sums * 2^units, rounded once to float32."""
    rounded = np.asarray(np.frompyfunc(_to_float32, 2, 1)(sums, units))
    return torch.from_numpy(rounded.astype(np.float32))


def _to_float32(integer: int, unit: int) -> float:
    unit = int(unit)
    dropped = max(integer.bit_length() - _PRECISION, _LOWEST - unit, 0)
    return math.ldexp(_divide(integer, dropped), unit + dropped)


def _zeros(*shape: int) -> _Integers:
    zeros: _Integers = np.zeros(shape, np.int64).astype(object)
    return zeros


def _in_groups(weight: torch.Tensor, shape: Geometry) -> npt.NDArray[Any]:
    return weight.numpy().reshape(
        shape.groups, shape.group_outputs, shape.group_inputs, *shape.kernel
    )


def _groups(shape: Geometry) -> Iterator[tuple[int, slice, slice]]:
    """Each group with its input and its output channels."""
    for group in range(shape.groups):
        first_in, first_out = group * shape.group_inputs, group * shape.group_outputs
        ins = slice(first_in, first_in + shape.group_inputs)
        yield group, ins, slice(first_out, first_out + shape.group_outputs)


def _links(shape: Geometry) -> Iterator[tuple[Triple, Triple, Triple]]:
    """Every output place with the input place that each tap reads for it, borders left out."""
    for out in _places(shape.out):
        for tap in _places(shape.kernel):
            place = tuple(
                out[d] * shape.stride[d] + tap[d] * shape.dilation[d] - shape.padding[d]
                for d in range(3)
            )
            if all(0 <= place[d] < shape.size[d] for d in range(3)):
                yield out, (place[0], place[1], place[2]), tap


def _places(size: Triple) -> Iterator[Triple]:
    return itertools.product(range(size[0]), range(size[1]), range(size[2]))
