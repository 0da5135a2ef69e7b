# SPDX-License-Identifier: Apache-2.0
"""Batch, group and layer normalisation; torch composes instance norm of batch norm."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, normalisation, running_statistics, sums, threads
from tiny_agent_trainer.exact.kernels import layer_norm
from tiny_agent_trainer.exact.normalisation import Pool
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten
Triple = tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]


@implements(aten.native_batch_norm.default, aten._native_batch_norm_legit.default)
def batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Over all samples and places of a channel, or by the running statistics."""
    channels = x.shape[1]
    if training:
        mean, variance = normalisation.statistics(x, Pool())
        _note_running(x, mean[0], variance[0], running_mean, running_var, momentum)
    else:
        mean, variance = _constants(running_mean, running_var)
    centre = mean.astype(np.float32)
    deviation = normalisation.inverse_deviation(variance, eps)
    out = normalisation.normalised(
        x, centre, deviation, _or_constant(weight, channels, 1), _or_constant(bias, channels, 0)
    )
    if not training:
        return out, x.new_empty(0), x.new_empty(0)
    return out, torch.from_numpy(centre[0]), torch.from_numpy(deviation[0])


@implements(aten._native_batch_norm_legit.no_stats)
def batch_norm_without_statistics(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same, keeping nothing."""
    return batch_norm(x, weight, bias, None, None, training, momentum, eps)


@implements(aten.native_batch_norm_backward.default)
def batch_norm_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    save_mean: torch.Tensor | None,
    save_invstd: torch.Tensor | None,
    train: bool,
    eps: float,
    output_mask: list[bool],
) -> Triple:
    """Gradients of input, weight and bias."""
    if train:
        mean, deviation = (v.astype(np.float32) for v in _constants(save_mean, save_invstd))
    else:
        statistics = _constants(running_mean, running_var)
        mean = statistics[0].astype(np.float32)
        deviation = normalisation.inverse_deviation(statistics[1], eps)
    factor = _or_constant(weight, x.shape[1], 1)
    pool = Pool() if train else None
    found = normalisation.gradients(gradient, x, mean, deviation, factor, pool)
    return _masked(found, output_mask)


@implements(aten.native_group_norm.default)
def group_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    samples: int,
    channels: int,
    places: int,
    groups: int,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Over the places and channels of a group of one sample."""
    del places
    pool, cells = Pool(groups), (samples, channels)
    mean, variance = normalisation.statistics(x, pool)
    centre = mean.astype(np.float32)
    deviation = normalisation.inverse_deviation(variance, eps)
    out = normalisation.normalised(
        x, pool.spread(centre, cells), pool.spread(deviation, cells),
        _or_constant(weight, channels, 1), _or_constant(bias, channels, 0),
    )  # fmt: skip
    return out, torch.from_numpy(centre), torch.from_numpy(deviation)


@implements(aten.native_group_norm_backward.default)
def group_norm_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor | None,
    samples: int,
    channels: int,
    places: int,
    groups: int,
    output_mask: list[bool],
) -> Triple:
    """Gradients of input, weight and bias."""
    del places
    pool = Pool(groups)
    cells = [pool.spread(grids.as_float32(v), (samples, channels)) for v in (mean, rstd)]
    factor = _or_constant(weight, channels, 1)
    found = normalisation.gradients(gradient, x, cells[0], cells[1], factor, pool)
    return _masked(found, output_mask)


@implements(aten.native_layer_norm.default)
def native_layer_norm(
    x: torch.Tensor,
    normalized_shape: list[int],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Over the last dims."""
    rows, columns = _as_rows(x, normalized_shape)
    out = torch.empty(x.shape)
    means, deviations = np.empty((2, len(rows)), np.float32)
    faults = np.zeros(len(rows), np.bool_)
    threads.run(
        layer_norm.forward, len(rows), rows,
        _or_constant(weight, columns, 1), _or_constant(bias, columns, 0), eps,
        grids.sum_bits(columns), grids.SUM_FLOOR, means, deviations,
        grids.as_float32(out).reshape(rows.shape), faults,
    )  # fmt: skip
    if faults.any():
        raise grids.not_finite("the input of a layer normalisation")
    shape = (*x.shape[: x.dim() - len(normalized_shape)], *(1,) * len(normalized_shape))
    return out, torch.from_numpy(means).view(shape), torch.from_numpy(deviations).view(shape)


@implements(aten.native_layer_norm_backward.default)
def native_layer_norm_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    normalized_shape: list[int],
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    output_mask: list[bool],
) -> Triple:
    """Gradients of input, weight and bias."""
    del bias
    rows, columns = _as_rows(x, normalized_shape)
    dy, _ = _as_rows(gradient, normalized_shape)
    out = torch.empty(x.shape)
    slope = np.empty_like(rows)
    faults = np.zeros(len(rows), np.bool_)
    threads.run(
        layer_norm.backward, len(rows), dy, rows, _or_constant(weight, columns, 1),
        grids.as_float32(mean).reshape(-1), grids.as_float32(rstd).reshape(-1),
        grids.sum_bits(columns), grids.SUM_FLOOR,
        grids.as_float32(out).reshape(rows.shape), slope, faults,
    )  # fmt: skip
    if faults.any():
        raise grids.not_finite("the gradient of a layer normalisation")
    for_weight = for_bias = None
    if output_mask[1]:
        for_weight = _summed(slope, normalized_shape)
    if output_mask[2]:
        for_bias = _summed(dy, normalized_shape)
    return out if output_mask[0] else None, for_weight, for_bias


def _note_running(
    x: torch.Tensor,
    mean: Any,
    variance: Any,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    momentum: float,
) -> None:
    if running_mean is None or running_var is None:
        return
    count = x.numel() // x.shape[1]
    unbiased = variance * count / max(count - 1, 1)
    for running, observed in ((running_mean, mean), (running_var, unbiased)):
        update = running_statistics.Update(
            running=running,
            observed=torch.from_numpy(observed.astype(np.float32)),
            momentum=momentum,
        )
        running_statistics.note(update)


def _constants(
    first: torch.Tensor | None, second: torch.Tensor | None
) -> tuple[normalisation.Statistics, normalisation.Statistics]:
    """Two vectors of channels as float64, (1, C); exact both ways."""
    if first is None or second is None:
        message = "batch normalisation needs both statistics"
        raise ValueError(message)
    arrays = [grids.as_float32(vector)[None].astype(np.float64) for vector in (first, second)]
    return arrays[0], arrays[1]


def _as_rows(x: torch.Tensor, normalized_shape: list[int]) -> tuple[npt.NDArray[np.float32], int]:
    columns = math.prod(normalized_shape)
    return grids.as_float32(x.contiguous()).reshape(-1, columns), columns


def _summed(rows: npt.NDArray[np.float32], shape: list[int]) -> torch.Tensor:
    total = sums.of_columns(rows[None], "the gradient of a layer normalisation")
    return torch.from_numpy(total[0]).view(shape)


def _or_constant(x: torch.Tensor | None, count: int, value: float) -> npt.NDArray[np.float32]:
    if x is None:
        return np.full(count, value, np.float32)
    return grids.as_float32(x.contiguous()).reshape(-1)


def _masked(found: normalisation.Gradients, mask: list[bool]) -> Triple:
    return (
        found.x if mask[0] else None,
        found.weight if mask[1] else None,
        found.bias if mask[2] else None,
    )
