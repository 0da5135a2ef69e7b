# SPDX-License-Identifier: Apache-2.0
"""Integers in float64: any matrix product and any convolution of torch's, exact below 2^53.

13 + 13 bits and a contracted length of 2^27 fill the 53 bits. The slowest and simplest engine: the
fallback where no other works, and a second opinion on all of them. Its kernels must be plain sums
of products, as torch's float64 convolutions are; the self-test would catch any other.
"""

from collections.abc import Callable
from typing import TypeVar, final

import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine, require_length
from tiny_agent_trainer.exact.contractions.geometry import Geometry, count

aten = torch.ops.aten

Answer = TypeVar("Answer")


@final
class Float64Engine(AbstractEngine):
    """Products of integer-valued float64 tensors."""

    name = "float64"

    def multiply(
        self, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See the base class."""
        batches, rows, depth = left.shape
        require_length(depth)
        left, right = left.contiguous(), right.contiguous()
        e_left = blocks.of_rows(
            grids.as_float32(left).reshape(batches * rows, depth), "the left operand"
        )
        e_left = e_left.reshape(batches, rows, 1)
        e_right = blocks.of_columns(grids.as_float32(right), "the right operand")[:, None]
        sums = _threaded(torch.bmm, _integers(left, e_left), _integers(right, e_right))
        return _plus(_round(sums, e_left, e_right), bias)

    def convolve(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        shape: Geometry,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the base class."""
        e_x = _per_sample(blocks.of_samples(grids.as_float32(x), "the input"))
        e_weight = blocks.of_weight(weight, shape.groups, "the weight")[0]
        sums = _threaded(
            aten.convolution,
            _integers(x, e_x).movedim(-1, 1),
            _integers(_in_three(weight, shape), _per_sample(e_weight)),
            *(None, shape.stride, shape.padding, shape.dilation, False, [0, 0, 0], shape.groups),
        )
        return _plus(_round(sums.movedim(1, -1), e_x, e_weight), bias)

    def input_gradient(
        self, gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        e_gradient = _per_sample(
            blocks.of_samples(grids.as_float32(gradient), "the output gradient")
        )
        e_weight = blocks.of_weight(weight, shape.groups, "the weight")[1]
        per_output = e_weight.repeat(shape.group_outputs, axis=0)[..., None, None, None]
        sums = _backward(
            _integers(gradient, e_gradient).movedim(-1, 1),
            torch.zeros(shape.samples, shape.inputs, *shape.size, dtype=torch.float64),
            _integers(_in_three(weight, shape), per_output),
            shape,
        )[0]
        return _round(sums.movedim(1, -1), e_gradient, e_weight.reshape(-1))

    def weight_gradient(
        self, x: torch.Tensor, gradient: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        require_length(shape.samples * count(shape.out))
        e_x = blocks.of_channels(grids.as_float32(x), "the input")
        e_gradient = blocks.of_channels(grids.as_float32(gradient), "the output gradient")
        sums = _backward(
            _integers(gradient, e_gradient).movedim(-1, 1),
            _integers(x, e_x).movedim(-1, 1),
            torch.zeros(shape.outputs, shape.group_inputs, *shape.kernel, dtype=torch.float64),
            shape,
        )[1]
        e_x = e_x.reshape(shape.groups, -1).repeat(shape.group_outputs, axis=0)
        return _round(sums, _per_sample(e_gradient), e_x[..., None, None, None])


def _integers(x: torch.Tensor, exponents: blocks.Exponents) -> torch.Tensor:
    bits = grids.CONTRACTION_BITS - 1
    return torch.round(x.double() * torch.from_numpy(grids.powers(bits - exponents)))


def _round(sums: torch.Tensor, left: blocks.Exponents, right: blocks.Exponents) -> torch.Tensor:
    power = torch.from_numpy(blocks.powers(left) * blocks.powers(right))
    return (sums * power + 0.0).float()  # a sum of negative zeros becomes 0


def _plus(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return x if bias is None else x.add_(bias)


def _threaded(operation: Callable[..., Answer], *arguments: object) -> Answer:
    """An operation of torch's on as many of its threads as the team has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads.get_threads())
    try:
        return operation(*arguments)
    finally:
        torch.set_num_threads(before)


def _backward(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, shape: Geometry
) -> tuple[torch.Tensor, torch.Tensor]:
    where = (shape.stride, shape.padding, shape.dilation, False, [0, 0, 0], shape.groups)
    wanted = [True, True, False]
    result = _threaded(aten.convolution_backward, gradient, x, weight, None, *where, wanted)
    return result[0], result[1]


def _in_three(weight: torch.Tensor, shape: Geometry) -> torch.Tensor:
    return weight.reshape(shape.outputs, shape.group_inputs, *shape.kernel)


def _per_sample(exponents: blocks.Exponents) -> blocks.Exponents:
    return exponents.reshape(-1, 1, 1, 1, 1)
