# SPDX-License-Identifier: Apache-2.0
"""Normalisation over pools of cells: batch norm pools samples, group norm channels.

Statistics are exact sums of values and of their squares, combined in float64, each operation
rounded: mean = S1 / n, variance = max(0, S2 / n - mean^2). Equations (8) and (9) of README.md.
"""

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.channels import Layout
from tiny_agent_trainer.exact.kernels import normalise, pooled_norm

Vector: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pool:
    """Which cells share statistics.

    Attributes:
        groups: Channels of one sample in so many groups; 0 pools all samples of a channel.
    """

    groups: int = 0

    def samples(self, layout: Layout) -> int:
        """Samples that have statistics of their own; 1 where all share them."""
        return layout.cells[0] if self.groups else 1

    def number(self, layout: Layout) -> int:
        """How many pools there are, sample after sample."""
        return self.samples(layout) * (self.groups or layout.cells[1])

    def count(self, layout: Layout) -> int:
        """Values in one pool."""
        samples, channels = layout.cells
        return layout.places * (channels // self.groups if self.groups else samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of each pool, float32.

    Attributes:
        mean, deviation: The second is 1 / sqrt(variance + epsilon).
        unbiased: The variance with n - 1.
    """

    mean: Vector
    deviation: Vector
    unbiased: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Of input, weight (C,) and bias (C,)."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


def normalised(
    x: torch.Tensor, weight_C: Vector, bias_C: Vector, pool: Pool, epsilon: float
) -> tuple[torch.Tensor, Statistics]:
    """(x - mean) * (deviation * weight) + bias, each operation rounded to float32.

    Raises:
        NotFiniteError: x holds NaN or infinity.
    """
    layout = Layout.of(x)
    array, count, pools = layout.view(x), pool.count(layout), pool.number(layout)
    out, target = layout.empty()
    mean, deviation, unbiased = np.empty((3, pools), np.float32)
    pool_RC, channel_RC = _indices(layout.cells, layout.width, pool)
    fault = np.zeros(1, np.int64)
    threads.together(
        pooled_norm.forward, pooled_norm.PHASES, array, layout.parts, pool_RC, channel_RC, count,
        grids.sum_bits(count), grids.SUM_FLOOR, epsilon, weight_C, bias_C,
        np.empty((len(array), layout.parts, array.shape[2]), np.int32),
        np.empty((len(array), layout.parts, array.shape[2], 2), np.int64),
        np.empty(pools, np.int64), np.empty((2, *pool_RC.shape)),
        mean, deviation, unbiased, np.empty((3, *pool_RC.shape), np.float32), fault, target,
    )  # fmt: skip
    if fault[0]:
        raise grids.not_finite("the input of a normalisation")
    return out, Statistics(mean=mean, deviation=deviation, unbiased=unbiased)


def applied(
    x: torch.Tensor, mean_C: Vector, deviation_C: Vector, weight_C: Vector, bias_C: Vector
) -> torch.Tensor:
    """The same with constant statistics of channels."""
    layout = Layout.of(x)
    out, target = layout.empty()
    _, channel_RC = _indices(layout.cells, layout.width, Pool())
    cells = [v[channel_RC] for v in (mean_C, deviation_C * weight_C, bias_C)]
    array = layout.view(x)
    if array.size:
        tasks = array.shape[0] * layout.parts
        threads.run(normalise.apply, tasks, array, layout.parts, *cells, target)
    return out


def gradients(
    dy: torch.Tensor,
    x: torch.Tensor,
    mean_G: Vector,
    deviation_G: Vector,
    weight_C: Vector,
    pool: Pool,
    *,
    are_constant: bool = False,
) -> Gradients:
    """The backward pass; `are_constant` says that the statistics were no function of x.

    Raises:
        NotFiniteError: dy or x holds NaN or infinity.
    """
    layout = Layout.of(x)
    x_array, dy_array = layout.view(x), layout.view(dy)
    rows, channels = len(x_array), layout.cells[1]
    pool_RC, channel_RC = _indices(layout.cells, layout.width, pool)
    out, target = layout.empty()
    bias, weight = found = np.empty((2, channels), np.float32)
    fault = np.zeros(1, np.int64)
    threads.together(
        pooled_norm.backward, pooled_norm.PHASES, dy_array, x_array, layout.parts, pool_RC,
        channel_RC, pool.samples(layout), pool.count(layout),
        grids.sum_bits(layout.places * layout.cells[0]), grids.SUM_FLOOR,
        mean_G, deviation_G, weight_C, are_constant,
        np.empty((2, rows, layout.parts, x_array.shape[2]), np.int32),
        np.empty((rows, layout.parts, x_array.shape[2], 2), np.int64),
        np.empty((2, channels), np.int64), np.empty((2, *pool_RC.shape)),
        np.empty((5, *pool_RC.shape), np.float32), np.empty((2, len(mean_G)), np.float32),
        fault, found, target,
    )  # fmt: skip
    if fault[0]:
        what = "input" if fault[0] == 1 else "gradient"
        raise grids.not_finite(f"the {what} of a normalisation")
    return Gradients(x=out, weight=torch.from_numpy(weight), bias=torch.from_numpy(bias))


@functools.lru_cache(maxsize=1024)
def _indices(cells: tuple[int, int], width: int, pool: Pool) -> tuple[Indices, Indices]:
    """Pool and channel of each value of a row, in the shape of a kernel's parameters."""
    samples, channels = cells if pool.groups else (1, cells[1])
    channel_NC = np.broadcast_to(np.arange(channels), (samples, channels))
    pool_NC = channel_NC
    if pool.groups:
        first_N = np.arange(samples)[:, None] * pool.groups
        pool_NC = first_N + channel_NC // (channels // pool.groups)
    folds = max(1, width // max(channels, 1))
    return tuple(
        _kept(np.tile(of_NC, folds).reshape(-1, max(width, 1))) for of_NC in (pool_NC, channel_NC)
    )  # type: ignore[return-value]


def _kept(indices: Any) -> Indices:
    found: Indices = np.ascontiguousarray(indices, np.int64)
    return found
