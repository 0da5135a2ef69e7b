# SPDX-License-Identifier: Apache-2.0
"""Batch, group and layer normalisation; torch composes instance norm of batch norm."""

import math

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, normalisation, running_statistics, sums, threads
from tiny_agent_trainer.exact.kernels import layer_norm
from tiny_agent_trainer.exact.normalisation import Pool
from tiny_agent_trainer.exact.table import shapes
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
    factor, shift = _or_constant(weight, channels, 1), _or_constant(bias, channels, 0)
    if not training:
        mean, deviation = _constants(running_mean, running_var, eps)
        out = normalisation.applied(x, mean, deviation, factor, shift)
        return out, x.new_empty(0), x.new_empty(0)
    out, found = normalisation.normalised(x, factor, shift, Pool(), eps)
    _note_running(found, running_mean, running_var, momentum)
    return out, torch.from_numpy(found.mean), torch.from_numpy(found.deviation)


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
        mean, deviation = (grids.as_float32(_present(v)) for v in (save_mean, save_invstd))
    else:
        mean, deviation = _constants(running_mean, running_var, eps)
    factor = _or_constant(weight, x.shape[1], 1)
    found = normalisation.gradients(
        gradient, x, mean, deviation, factor, Pool(), are_constant=not train
    )
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
    factor, shift = _or_constant(weight, channels, 1), _or_constant(bias, channels, 0)
    out, found = normalisation.normalised(x, factor, shift, Pool(groups), eps)
    mean, deviation = (
        torch.from_numpy(v).view(samples, groups) for v in (found.mean, found.deviation)
    )
    return out, mean, deviation


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
    del samples, places
    centre, deviation = (grids.as_float32(v.contiguous()).reshape(-1) for v in (mean, rstd))
    factor = _or_constant(weight, channels, 1)
    found = normalisation.gradients(gradient, x, centre, deviation, factor, Pool(groups))
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
    parameters = [v for v in (weight, bias) if v is not None]
    wanted = torch.Size(normalized_shape)
    if x.shape[-len(wanted) :] != wanted or any(v.shape != wanted for v in parameters):
        shapes.refuse(aten.native_layer_norm.default, x, normalized_shape, weight, bias, eps)
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
    found: normalisation.Statistics,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    momentum: float,
) -> None:
    if running_mean is None or running_var is None:
        return
    for running, observed in ((running_mean, found.mean), (running_var, found.unbiased)):
        update = running_statistics.Update(
            running=running, observed=torch.from_numpy(observed), momentum=momentum
        )
        running_statistics.note(update)


def _constants(
    mean: torch.Tensor | None, variance: torch.Tensor | None, epsilon: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Running statistics as mean and 1 / sqrt(variance + epsilon), by channel."""
    wide = grids.as_float32(_present(variance)).astype(np.float64)
    deviation = (1.0 / np.sqrt(wide + epsilon)).astype(np.float32)
    return grids.as_float32(_present(mean)), deviation


def _present(statistics: torch.Tensor | None) -> torch.Tensor:
    if statistics is None:
        message = "batch normalisation needs both statistics"
        raise ValueError(message)
    return statistics.contiguous()


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
