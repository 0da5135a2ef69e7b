# SPDX-License-Identifier: Apache-2.0
"""Convolutions on pairs of int16 without a patch matrix: rows of blocks are offsets into the image.

Forward and input gradient; see `int16_plans`.
"""

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks, int16_images, int16_plans
from tiny_agent_trainer.exact.contractions.engine import require_length
from tiny_agent_trainer.exact.contractions.geometry import Geometry
from tiny_agent_trainer.exact.contractions.int16_matrices import SLACK
from tiny_agent_trainer.exact.kernels import contract, pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS, MOST_PAIRS


def convolve(
    x: torch.Tensor, weight: torch.Tensor, shape: Geometry, bias: torch.Tensor | None
) -> torch.Tensor:
    """Channels innermost, (N, D, H, W, C): (N, D', H', W', O)."""
    out = torch.empty(shape.samples, *shape.out, shape.outputs)
    if not out.numel():
        return out
    image = int16_images.pack_image(x, shape.padded, shape.padding, "the input")
    phase = int16_plans.plan_forward(shape)
    _contract_phase(phase, *image, weight, blocks.bias_of(bias, shape.outputs), out)
    return out


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D', H', W', O): (N, D, H, W, C)."""
    size = (shape.samples, *shape.size, shape.inputs)
    if not gradient.numel():
        return torch.zeros(size)
    plan = int16_plans.plan_input_gradient(shape)
    out = torch.empty(size) if plan.is_complete else torch.zeros(size)
    if not out.numel():
        return out
    image = int16_images.pack_image(gradient, plan.size, plan.border, "the output gradient")
    bias = blocks.bias_of(None, shape.inputs)
    for phase in plan.phases:
        _contract_phase(phase, *image, weight, bias, out)
    return out


def _contract_phase(
    phase: int16_plans.Phase,
    image: npt.NDArray[np.int16],
    row_powers: blocks.Powers,
    weight: torch.Tensor,
    bias: npt.NDArray[np.float32],
    out: torch.Tensor,
) -> None:
    """Fill what a phase reaches."""
    require_length(2 * phase.pairs, most=2 * MOST_PAIRS)
    groups, panels, rows = phase.groups, phase.panels, phase.rows
    packed, column_powers = _pack_weight(phase, weight)
    tasks = contract.tasks_of(len(rows), panels, groups, threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels,
        image, rows, phase.by_group(phase.depth), 2,
        packed, phase.panel_places, phase.by_group(panels * phase.panel_stride), 2 * COLUMNS,
        phase.segments, phase.panel_segments, phase.pairs,
        row_powers, phase.by_group(0), len(rows) // len(row_powers),
        column_powers.reshape(-1), phase.by_group(phase.columns),
        phase.bounds, bias, grids.as_float32(out).reshape(-1),
        phase.out_rows, phase.by_group(phase.columns),
    )  # fmt: skip


def _pack_weight(
    phase: int16_plans.Phase, weight: torch.Tensor
) -> tuple[npt.NDArray[np.int16], blocks.Powers]:
    """Panels of the columns of a phase, each column on its grid: (groups, columns)."""
    panels = phase.groups * phase.panels
    values = np.empty(panels * phase.panel_stride + SLACK, np.int16)
    flat = grids.as_float32(weight.contiguous()).reshape(-1)
    return values, blocks.packed(
        pack.pack_panels, flat.reshape(phase.weight_shape), values, panels, flat,
        phase.weight_steps, phase.taps_T3, phase.depth, phase.pairs, phase.panel_stride, values,
        shape=(phase.groups, phase.columns), what="the weight",
        is_filled=phase.is_even, taps=phase.weight_taps,
    )  # fmt: skip
