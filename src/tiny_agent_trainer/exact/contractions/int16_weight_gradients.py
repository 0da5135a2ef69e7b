# SPDX-License-Identifier: Apache-2.0
"""Weight gradients on pairs of int16: places are contracted, in pairs of two samples.

A shift by a tap is then only an offset. Rows are output channels; columns are the taps of one line
of the kernel and the input channels of a group; a batch is a group and a line of taps.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks, int16_images
from tiny_agent_trainer.exact.contractions.engine import require_length
from tiny_agent_trainer.exact.contractions.geometry import KEPT, Geometry, count
from tiny_agent_trainer.exact.contractions.int16_images import PairedLayout, Runs
from tiny_agent_trainer.exact.contractions.int16_plans import Offsets
from tiny_agent_trainer.exact.kernels import contract
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS
from tiny_agent_trainer.exact.kernels.instruction_sets import LEFT_PANEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Panels of taps and channels: where they begin, and which they are."""

    places: Offsets
    bounds: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What depends on the shape alone.

    Attributes:
        errors, image: Layouts of output gradient and input.
        left, right: Their runs of contracted places.
        rows, columns: Of one batch.
        left_batches, right_batches, out_batches: Where the batches of each begin.
        row_batches, column_batches: Where the grids of a batch begin.
        out_rows: Where the rows of the result begin.
    """

    errors: PairedLayout
    image: PairedLayout
    left: Runs
    right: Runs
    rows: Offsets
    columns: Columns
    left_batches: Offsets
    right_batches: Offsets
    row_batches: Offsets
    column_batches: Offsets
    out_rows: Offsets
    out_batches: Offsets


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D, H, W, C) with (N, D', H', W', O): (O, C / groups, *kernel)."""
    groups, taps = shape.groups, shape.kernel[2]
    shape_of_out = (shape.outputs, *shape.kernel, shape.group_inputs)
    if not x.numel() or not gradient.numel():
        return torch.zeros(shape_of_out).movedim(-1, 1)
    require_length(shape.samples * count(shape.out))
    plan, out = _plan(shape), torch.empty(shape_of_out)
    image, powers = int16_images.pack_pairs(x, plan.image, "the input")
    errors, row_powers = int16_images.pack_pairs(gradient, plan.errors, "the output gradient")
    powers = np.tile(powers.reshape(groups, 1, -1), (1, taps, 1)).reshape(-1)
    batches, panels = len(plan.out_batches), len(plan.columns.places)
    parts = contract.one_part(len(plan.rows), 1, len(plan.left.places), plan.left.length)
    tasks = parts.tasks(panels, batches, threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels, tasks.bounds_Q1,
        parts.table_Q6,
        errors, plan.rows, plan.left_batches, plan.left.step,
        image, plan.columns.places, plan.right_batches, plan.right.step,
        plan.left.places, plan.right.places,
        row_powers, plan.row_batches, powers, plan.column_batches, plan.columns.bounds,
        blocks.bias_of(None, powers.size), grids.as_float32(out).reshape(-1),
        plan.out_rows, plan.out_batches,
    )  # fmt: skip
    return out.movedim(-1, 1)


@functools.lru_cache(maxsize=KEPT)
def _plan(shape: Geometry) -> Plan:
    kernel, inputs, outputs = shape.kernel, shape.group_inputs, shape.group_outputs
    image = int16_images.layout_of_pairs(shape, shape.inputs, shape.padded, shape.padding, COLUMNS)
    errors = int16_images.layout_of_pairs(shape, shape.outputs, shape.out, (0, 0, 0), LEFT_PANEL)
    batch = np.array(list(np.ndindex(shape.groups, kernel[0], kernel[1])))
    group, steps = batch[:, 0], np.array(image.steps()) * shape.dilation
    channels, errors_at = image.offsets(shape.inputs), errors.offsets(shape.outputs)
    lines = batch[:, 1:] @ np.array([kernel[1] * kernel[2], kernel[2]]) * inputs
    per_output = count(kernel) * inputs
    return Plan(
        errors=errors,
        image=image,
        left=errors.runs(shape.out, (1, 1, 1)),
        right=image.runs(shape.out, shape.stride),
        rows=errors_at[:outputs],
        columns=_columns_of_taps(channels[:inputs], steps[2], shape),
        left_batches=errors_at[group * outputs],
        right_batches=channels[group * inputs] + batch[:, 1:] @ steps[:2],
        row_batches=group * outputs,
        column_batches=group * kernel[2] * inputs,
        out_rows=np.arange(outputs) * per_output,
        out_batches=group * outputs * per_output + lines,
    )


def _columns_of_taps(channels: Offsets, step: int, shape: Geometry) -> Columns:
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
