# SPDX-License-Identifier: Apache-2.0
"""Convolutions on pairs of int16 without a patch matrix: rows of blocks are offsets into the image.

Forward and input gradient: see `int16_plans`. Weight gradient: places are contracted, in pairs of
two samples, so that a shift by a tap is only an offset.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks, int16_images, int16_plans
from tiny_agent_trainer.exact.contractions.engine import require_length
from tiny_agent_trainer.exact.contractions.geometry import Geometry, count
from tiny_agent_trainer.exact.contractions.int16_matrices import SLACK
from tiny_agent_trainer.exact.kernels import contract, pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS
from tiny_agent_trainer.exact.kernels.instruction_sets import LEFT_PANEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Panels of taps and channels of a weight gradient: where they begin, and which they are."""

    places: int16_plans.Offsets
    bounds: int16_plans.Offsets


def convolve(
    x: torch.Tensor, weight: torch.Tensor, shape: Geometry, bias: torch.Tensor | None
) -> torch.Tensor:
    """Channels innermost, (N, D, H, W, C): (N, D', H', W', O)."""
    out = torch.empty(shape.samples, *shape.out, shape.outputs)
    if not out.numel():
        return out
    e_x = blocks.of_samples(grids.as_float32(x), "the input")
    e_weight = blocks.of_weight(weight, shape.groups, "the weight")[0]
    image = int16_images.pack_image(x, e_x, shape.padded, shape.padding)
    _contract_phase(
        int16_plans.plan_forward(shape), image, e_x, weight, e_weight.reshape(shape.groups, -1),
        blocks.bias_of(bias, shape.outputs), out,
    )  # fmt: skip
    return out


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D', H', W', O): (N, D, H, W, C)."""
    out = torch.zeros(shape.samples, *shape.size, shape.inputs)
    if not out.numel() or not gradient.numel():
        return out
    e_gradient = blocks.of_samples(grids.as_float32(gradient), "the output gradient")
    e_weight = blocks.of_weight(weight, shape.groups, "the weight")[1]
    plan = int16_plans.plan_input_gradient(shape)
    image = int16_images.pack_image(gradient, e_gradient, plan.size, plan.border)
    bias = blocks.bias_of(None, shape.inputs)
    for phase in plan.phases:
        _contract_phase(phase, image, e_gradient, weight, e_weight, bias, out)
    return out


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D, H, W, C) with (N, D', H', W', O): (O, C / groups, *kernel)."""
    kernel, inputs, outputs = shape.kernel, shape.group_inputs, shape.group_outputs
    out = torch.zeros(shape.outputs, *kernel, inputs)
    if not x.numel() or not gradient.numel():
        return out.movedim(-1, 1)
    require_length(shape.samples * count(shape.out))
    e_x = blocks.of_channels(grids.as_float32(x), "the input")
    e_gradient = blocks.of_channels(grids.as_float32(gradient), "the output gradient")
    image = int16_images.pack_pairs(x, e_x, shape, shape.padding, COLUMNS)
    errors = int16_images.pack_pairs(gradient, e_gradient, shape, None, LEFT_PANEL)
    left, right = errors.runs(shape.out, (1, 1, 1)), image.runs(shape.out, shape.stride)
    batch = np.array(list(np.ndindex(shape.groups, kernel[0], kernel[1])))
    group, steps = batch[:, 0], np.array(image.steps()) * shape.dilation
    channels = image.offsets(shape.inputs)
    columns = _columns_of_taps(image, channels[:inputs], steps[2], shape)
    errors_at = errors.offsets(shape.outputs)
    powers = np.tile(blocks.powers(e_x).reshape(shape.groups, 1, -1), (1, kernel[2], 1))
    taps = batch[:, 1:] @ np.array([kernel[1] * kernel[2], kernel[2]]) * inputs
    per_output = count(kernel) * inputs
    tasks = contract.tasks_of(outputs, len(columns.places), len(batch), threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels,
        errors.values, errors_at[:outputs], errors_at[group * outputs], left.step,
        image.values, columns.places, channels[group * inputs] + batch[:, 1:] @ steps[:2],
        right.step, left.places, right.places, left.length,
        blocks.powers(e_gradient), group * outputs,
        powers.reshape(-1), group * kernel[2] * inputs, columns.bounds,
        blocks.bias_of(None, powers.size), grids.as_float32(out).reshape(-1),
        np.arange(outputs) * per_output, group * outputs * per_output + taps,
    )  # fmt: skip
    return out.movedim(-1, 1)


def _columns_of_taps(
    image: int16_images.PairedImage, channels: int16_plans.Offsets, step: int, shape: Geometry
) -> Columns:
    """Of one line of taps and the channels of a group; `step` leads from tap to tap."""
    inputs, taps = shape.group_inputs, shape.kernel[2]
    if step == 2 * inputs:  # taps follow one another in memory, like channels
        bounds = contract.column_bounds(taps * inputs)
        return Columns(places=2 * bounds[:, 0], bounds=bounds)
    bounds = contract.column_bounds(inputs)
    tap = np.repeat(np.arange(taps), len(bounds))
    bounds = np.tile(bounds, (taps, 1))
    places = tap * step + channels[bounds[:, 0]]
    return Columns(places=places, bounds=bounds + tap[:, None] * inputs)


def _contract_phase(
    phase: int16_plans.Phase,
    image: npt.NDArray[np.int16],
    e_samples: blocks.Exponents,
    weight: torch.Tensor,
    e_columns: blocks.Exponents,
    bias: npt.NDArray[np.float32],
    out: torch.Tensor,
) -> None:
    """Fill what a phase reaches; exponents of columns are (groups, columns)."""
    groups, panels, rows = len(e_columns), phase.panels, phase.rows
    packed = np.zeros(groups * panels * phase.panel_stride + SLACK, np.int16)
    threads.run(
        pack.pack_panels, groups * panels, grids.as_float32(weight.contiguous()).reshape(-1),
        phase.weight_steps, phase.taps_T3, phase.depth, phase.pairs, blocks.scales(e_columns),
        phase.panel_stride, packed,
    )  # fmt: skip
    group = np.arange(groups)
    powers = np.repeat(blocks.powers(e_samples), len(rows) // len(e_samples))
    tasks = contract.tasks_of(len(rows), panels, groups, threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels,
        image, rows, group * phase.depth, 2,
        packed, np.arange(panels) * phase.panel_stride, group * panels * phase.panel_stride,
        2 * COLUMNS,
        phase.segments, np.arange(len(phase.segments)) * phase.segment_stride, phase.pairs,
        powers, np.zeros(groups, np.int64),
        blocks.powers(e_columns).reshape(-1), group * phase.columns,
        contract.column_bounds(phase.columns), bias, grids.as_float32(out).reshape(-1),
        phase.out_rows, group * phase.columns,
    )  # fmt: skip
