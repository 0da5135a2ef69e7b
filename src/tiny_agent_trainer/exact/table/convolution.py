# SPDX-License-Identifier: Apache-2.0
"""Convolutions and transposed convolutions in one, two and three dimensions, and their gradients.

Results lie channels-innermost in memory, whatever the layout of the input: packing, normalising
and convolving again then read memory in order. Layout is no part of a result.
"""

import torch

from tiny_agent_trainer.exact.contractions import current, geometry
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.reductions import total
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten


@implements(aten.convolution.default)
def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> torch.Tensor:
    """(N, C, ...) with the weight; a bias is added with a rounding of its own."""
    steps = (stride, padding, dilation, transposed, output_padding, groups)
    if not _fit(x, weight, bias, *steps):
        shapes.refuse(aten.convolution.default, x, weight, bias, *steps)
    shape = _geometry(x, weight, *steps)
    if min(shape.size if transposed else shape.out) < 1:
        shapes.refuse(aten.convolution.default, x, weight, bias, *steps)
    inside, engine = geometry.channels_innermost(x), current.engine()
    if transposed:
        out = engine.input_gradient(inside, weight, shape)
    else:
        return geometry.channels_second(engine.convolve(inside, weight, shape, bias), x.dim() - 2)
    if bias is not None:
        out.add_(bias)
    return geometry.channels_second(out, x.dim() - 2)


@implements(aten.convolution_backward.default)
def convolution_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Gradients of input, weight and bias, those that `output_mask` asks for."""
    del bias_sizes
    engine, spatial = current.engine(), x.dim() - 2
    outside = geometry.channels_innermost(gradient)
    for_x = for_weight = for_bias = None
    shape = _geometry(x, weight, stride, padding, dilation, transposed, output_padding, groups)
    if output_mask[0]:
        compute = engine.convolve if transposed else engine.input_gradient
        for_x = geometry.channels_second(compute(outside, weight, shape), spatial)
    if output_mask[1]:
        inside = geometry.channels_innermost(x)
        pair = (outside, inside) if transposed else (inside, outside)
        for_weight = engine.weight_gradient(*pair, shape).reshape(weight.shape)
    if output_mask[2]:
        for_bias = total(outside, list(range(4)), keepdim=False)
    return for_x, for_weight, for_bias


def _geometry(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> geometry.Geometry:
    if transposed:
        return geometry.of_transposed(x, weight, stride, padding, dilation, output_padding, groups)
    return geometry.of_convolution(x, weight, stride, padding, dilation, groups)


def _fit(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> bool:
    """Whether these operands belong together; torch checks that in what is replaced here."""
    if weight.dim() != x.dim() or min(*stride, *dilation, groups) < 1 or min(padding) < 0:
        return False
    inputs, outputs = weight.shape[1] * groups, weight.shape[0]
    if transposed:
        inputs, outputs = outputs, inputs
        bounds = map(max, stride, dilation)
        if any(extra >= most for extra, most in zip(output_padding, bounds, strict=True)):
            return False
    return (
        x.shape[1] == inputs
        and inputs % groups == outputs % groups == 0
        and (bias is None or bias.shape == (outputs,))
    )
