# SPDX-License-Identifier: Apache-2.0
"""Nearest and linear interpolation in one, two and three dims; gradients are transposed maps.

Weights are made in float64 by torch's formulas, so nearest picks the places that torch picks for
float64 scale factors.
"""

import functools
import math
from typing import Any

import numpy as np
import torch

from tiny_agent_trainer.exact import windows
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.registry import implements
from tiny_agent_trainer.exact.windows import Table

aten = torch.ops.aten

_LINEAR = (aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_trilinear3d)
_LINEAR_BACKWARD = (
    aten.upsample_linear1d_backward,
    aten.upsample_bilinear2d_backward,
    aten.upsample_trilinear3d_backward,
)
_NEAREST = (aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d)
_NEAREST_BACKWARD = (
    aten.upsample_nearest1d_backward,
    aten.upsample_nearest2d_backward,
    aten.upsample_nearest3d_backward,
)


@implements(*(packet.default for packet in _LINEAR))
def linear(
    x: torch.Tensor,
    output_size: list[int],
    align_corners: bool,
    *scales: float | None,
    **named: Any,
) -> torch.Tensor:
    """Linear along each dim."""
    if min(*output_size, *x.shape[1:]) < 1:
        shapes.refuse(_LINEAR[len(output_size) - 1].default, x, output_size, align_corners)
    return windows.apply(x, _linear_tables(x.shape, output_size, align_corners, scales, named))


@implements(*(packet.vec for packet in _LINEAR))
def linear_of_factors(
    x: torch.Tensor,
    output_size: list[int] | None,
    align_corners: bool,
    scale_factors: list[float] | None,
) -> torch.Tensor:
    """The same, by size or by factors."""
    size, scales = _size_and_scales(x, output_size, scale_factors)
    return linear(x, size, align_corners, *scales)


@implements(*(packet.default for packet in _LINEAR_BACKWARD))
def linear_backward(
    gradient: torch.Tensor,
    output_size: list[int],
    input_size: list[int],
    align_corners: bool,
    *scales: float | None,
    **named: Any,
) -> torch.Tensor:
    """The transposed map."""
    tables = _linear_tables(input_size, output_size, align_corners, scales, named)
    return windows.apply(gradient, [table.transposed() for table in tables])


@implements(*(packet.default for packet in _NEAREST))
def nearest(
    x: torch.Tensor, output_size: list[int], *scales: float | None, **named: Any
) -> torch.Tensor:
    """One input place for each output place."""
    if min(*output_size, *x.shape[1:]) < 1:
        shapes.refuse(_NEAREST[len(output_size) - 1].default, x, output_size)
    return windows.apply(x, _nearest_tables(x.shape, output_size, scales, named))


@implements(*(packet.vec for packet in _NEAREST))
def nearest_of_factors(
    x: torch.Tensor, output_size: list[int] | None, scale_factors: list[float] | None
) -> torch.Tensor:
    """The same, by size or by factors."""
    size, scales = _size_and_scales(x, output_size, scale_factors)
    return nearest(x, size, *scales)


@implements(*(packet.default for packet in _NEAREST_BACKWARD))
def nearest_backward(
    gradient: torch.Tensor,
    output_size: list[int],
    input_size: list[int],
    *scales: float | None,
    **named: Any,
) -> torch.Tensor:
    """The transposed map."""
    tables = _nearest_tables(input_size, output_size, scales, named)
    return windows.apply(gradient, [table.transposed() for table in tables])


def _size_and_scales(
    x: torch.Tensor, output_size: list[int] | None, scale_factors: list[float] | None
) -> tuple[list[int], tuple[float | None, ...]]:
    if scale_factors is None:
        return list(output_size or []), ()
    sizes = x.shape[2:]
    size = [math.floor(n * factor) for n, factor in zip(sizes, scale_factors, strict=True)]
    return size, tuple(scale_factors)


def _scales(
    count: int, scales: tuple[float | None, ...], named: dict[str, Any]
) -> list[float | None]:
    """Scale factors in the order of the dims, however torch passes them."""
    if named:
        names = {
            1: ["scales"],
            2: ["scales_h", "scales_w"],
            3: ["scales_d", "scales_h", "scales_w"],
        }
        return [named.get(name) for name in names[count]]
    return [*scales, *[None] * (count - len(scales))]


def _linear_tables(
    shape: Any, output_size: list[int], align: bool, scales: tuple[float | None, ...], named: Any
) -> list[Table]:
    given = _scales(len(output_size), scales, named)
    return [
        _linear_table(int(size), int(out), align, given[d])
        for d, (size, out) in enumerate(zip(shape[2:], output_size, strict=True))
    ]


def _nearest_tables(
    shape: Any, output_size: list[int], scales: tuple[float | None, ...], named: Any
) -> list[Table]:
    given = _scales(len(output_size), scales, named)
    return [
        _nearest_table(int(size), int(out), given[d])
        for d, (size, out) in enumerate(zip(shape[2:], output_size, strict=True))
    ]


@functools.lru_cache(maxsize=256)
def _linear_table(size: int, out_size: int, align: bool, scale: float | None) -> Table:
    """Source: torch's `area_pixel_compute_source_index`."""
    matrix = np.zeros((out_size, size))
    if align:
        step = (size - 1) / (out_size - 1) if out_size > 1 else 0.0
    else:
        step = 1.0 / scale if scale else size / out_size
    for out in range(out_size):
        place = step * out if align else max(step * (out + 0.5) - 0.5, 0.0)
        low = min(int(place), size - 1)
        share = min(max(place - low, 0.0), 1.0)
        matrix[out, low] += 1.0 - share
        matrix[out, min(low + 1, size - 1)] += share
    return Table.from_dense(matrix)


@functools.lru_cache(maxsize=256)
def _nearest_table(size: int, out_size: int, scale: float | None) -> Table:
    matrix = np.zeros((out_size, size))
    step = 1.0 / scale if scale else size / out_size
    for out in range(out_size):
        matrix[out, min(int(out * step), size - 1)] = 1.0
    return Table.from_dense(matrix)
