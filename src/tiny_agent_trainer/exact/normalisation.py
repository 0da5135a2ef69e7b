# SPDX-License-Identifier: Apache-2.0
"""Normalisation over pools of cells: batch norm pools samples, group norm channels.

Statistics are exact sums of values and of their squares, combined in float64, each operation
rounded: mean = S1 / n, variance = max(0, S2 / n - mean^2). Equations (8) and (9) of README.md.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.channels import Cells, Layout
from tiny_agent_trainer.exact.kernels import normalise

Statistics: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Which cells share statistics.

    Attributes:
        groups: Channels of one sample in so many groups; 0 pools all samples of a channel.
    """

    groups: int = 0

    def combine(self, cells_NC: Cells, how: Any) -> Cells:
        """One value per pool: (1, C), or (N, groups)."""
        if not self.groups:
            return np.asarray(how(cells_NC, axis=0, keepdims=True))
        shape = (len(cells_NC), self.groups, -1, *cells_NC.shape[2:])
        return np.asarray(how(cells_NC.reshape(shape), axis=2))

    def spread(self, pooled: Cells, cells: tuple[int, int]) -> Cells:
        """The value of a pool for each of its cells: (N, C); (1, C) where all samples share it."""
        if not self.groups:
            return pooled
        return np.repeat(pooled, cells[1] // self.groups, axis=1)

    def count(self, layout: Layout) -> int:
        """Values in one pool."""
        samples, channels = layout.cells
        return layout.places * (channels // self.groups if self.groups else samples)


def statistics(x: torch.Tensor, pool: Pool) -> tuple[Statistics, Statistics]:
    """Mean and biased variance of every pool, (1, C) or (N, groups).

    Raises:
        NotFiniteError: x holds NaN or infinity.
    """
    layout = Layout.of(x)
    array, count = layout.view(x), pool.count(layout)
    largest = pool.combine(layout.largest(array), np.max)
    exponents = grids.exponents(largest, grids.SUM_FLOOR, "the input of a normalisation")
    shift = grids.sum_bits(count) - exponents
    shift2 = shift - exponents
    scales = [layout.spread(pool.spread(grids.powers(s), layout.cells)) for s in (shift, shift2)]
    sums = pool.combine(layout.add_up(normalise.moments, array, layout.parts, *scales), np.sum)
    mean = np.ldexp(sums[..., 0].astype(np.float64), -shift) / count
    square = np.ldexp(sums[..., 1].astype(np.float64), -shift2) / count
    return mean, np.maximum(square - mean * mean, 0.0)


def inverse_deviation(variance: Statistics, epsilon: float) -> npt.NDArray[np.float32]:
    """1 / sqrt(variance + epsilon), rounded to float32 at the end."""
    return (1.0 / np.sqrt(variance + epsilon)).astype(np.float32)


def normalised(
    x: torch.Tensor, mean_NC: Cells, deviation_NC: Cells, weight_C: Cells, bias_C: Cells
) -> torch.Tensor:
    """(x - mean) * (deviation * weight) + bias, each operation rounded to float32."""
    layout = Layout.of(x)
    out, target = layout.empty()
    cells = [layout.spread(v) for v in (mean_NC, deviation_NC * weight_C, bias_C)]
    array = layout.view(x)
    if array.size:
        tasks = array.shape[0] * layout.parts
        threads.run(normalise.apply, tasks, array, layout.parts, *cells, target)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Of input, weight (C,) and bias (C,)."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


def gradients(
    dy: torch.Tensor,
    x: torch.Tensor,
    mean_NC: Cells,
    deviation_NC: Cells,
    weight_C: Cells,
    pool: Pool | None,
) -> Gradients:
    """The backward pass; `pool` is None where the statistics were constants.

    Raises:
        NotFiniteError: dy or x holds NaN or infinity.
    """
    layout = Layout.of(x)
    x_array, dy_array = layout.view(x), layout.view(dy)
    mean, deviation = layout.spread(mean_NC), layout.spread(deviation_NC)
    sums_NC2, shifts = _gradient_sums(layout, x_array, dy_array, mean_NC, deviation_NC)
    per_channel = [
        np.ldexp(sums_NC2[..., k].sum(axis=0).astype(np.float32), -shifts[k]) for k in (0, 1)
    ]
    shift_NC = slope_NC = np.zeros((1, layout.cells[1]), np.float32)
    if pool is not None:
        shift_NC, slope_NC = (
            _pooled_mean(sums_NC2[..., k], shifts[k], weight_C, pool, layout) for k in (0, 1)
        )
    out, target = layout.empty()
    threads.run(
        normalise.gradient_apply, x_array.shape[0] * layout.parts, dy_array, x_array, layout.parts,
        mean, deviation, *(layout.spread(v) for v in (weight_C, shift_NC, slope_NC)), target,
    )  # fmt: skip
    bias, weight = (torch.from_numpy(v) for v in per_channel)
    return Gradients(x=out, weight=weight, bias=bias)


def _gradient_sums(
    layout: Layout,
    x_array: npt.NDArray[np.float32],
    dy_array: npt.NDArray[np.float32],
    mean_NC: Cells,
    deviation_NC: Cells,
) -> tuple[Cells, tuple[Cells, Cells]]:
    """Sums of dy and of dy * normalised x per cell, on one grid per channel; equation (10)."""
    count = layout.places * layout.cells[0]
    largest_x = layout.largest(x_array)
    e_x = grids.exponents(largest_x, grids.SUM_FLOOR, "the input of a normalisation")
    largest_dy = layout.largest(dy_array).max(axis=0)
    e_dy = grids.exponents(largest_dy, grids.SUM_FLOOR, "the gradient of a normalisation")
    bound_NC = (np.ldexp(1.0, e_x) + np.abs(mean_NC)) * deviation_NC
    e_normal = np.frexp(np.max(bound_NC, axis=0))[1] + 1
    shift = grids.sum_bits(count) - e_dy
    shift2 = shift - e_normal
    cells = (mean_NC, deviation_NC, grids.powers(shift), grids.powers(shift2))
    spread = [layout.spread(values) for values in cells]
    sums = layout.add_up(normalise.gradient_moments, dy_array, x_array, layout.parts, *spread)
    return sums, (shift, shift2)


def _pooled_mean(
    sums_NC: Cells, shift_C: Cells, weight_C: Cells, pool: Pool, layout: Layout
) -> Cells:
    """The mean over a pool of sums times weights, as float32, for each cell.

    Samples are added as integers. Channels of a group have weights of their own: they are added
    one after another in float64, so that order is a part of the definition.
    """
    if not pool.groups:
        sums_NC = sums_NC.sum(axis=0, keepdims=True)
    weighted = np.ldexp(sums_NC.astype(np.float64), -shift_C) * weight_C.astype(np.float64)
    if pool.groups:
        by_group = weighted.reshape(len(weighted), pool.groups, -1)
        weighted = np.add.accumulate(by_group, axis=2)[..., -1]
    mean = (weighted / pool.count(layout)).astype(np.float32)
    return pool.spread(mean, layout.cells)
