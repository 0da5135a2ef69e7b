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
    if out.numel():
        plan = int16_plans.plan_forward(shape)
        _contract(plan, x, "the input", weight, blocks.bias_of(bias, shape.outputs), out)
    return out


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D', H', W', O): (N, D, H, W, C)."""
    size = (shape.samples, *shape.size, shape.inputs)
    if not gradient.numel():
        return torch.zeros(size)
    plan = int16_plans.plan_input_gradient(shape)
    out = torch.empty(size) if plan.is_complete else torch.zeros(size)
    if out.numel() and len(plan.rows):
        bias = blocks.bias_of(None, shape.inputs)
        _contract(plan, gradient, "the output gradient", weight, bias, out)
    return out


def _contract(
    plan: int16_plans.Plan,
    x: torch.Tensor,
    what: str,
    weight: torch.Tensor,
    bias: npt.NDArray[np.float32],
    out: torch.Tensor,
) -> None:
    """Fill what a plan reaches; `what` names x in an error."""
    require_length(2 * plan.parts.most_pairs, most=2 * MOST_PAIRS)
    image, row_powers = int16_images.pack_image(x, plan.size, plan.border, what)
    packed, column_powers = _pack_weight(plan, weight)
    panels, columns, depth = plan.panels, plan.weight.columns, plan.weight.depth
    tasks = plan.parts.tasks(panels, plan.groups, threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels, tasks.bounds_Q1,
        plan.parts.table_Q6, image, plan.rows, plan.by_group(depth), 2,
        packed, plan.panel_places, plan.by_group(panels * plan.panel_stride), 2 * COLUMNS,
        plan.segments, plan.panel_segments,
        row_powers, plan.by_group(0), column_powers.reshape(-1), plan.by_group(columns),
        plan.bounds, bias, grids.as_float32(out).reshape(-1),
        plan.out_rows, plan.by_group(columns),
    )  # fmt: skip


def _pack_weight(
    plan: int16_plans.Plan, weight: torch.Tensor
) -> tuple[npt.NDArray[np.int16], blocks.Powers]:
    """Panels of columns, each column on its grid: (groups, columns)."""
    panels, lying = plan.groups * plan.panels, plan.weight
    values = np.empty(panels * plan.panel_stride + SLACK, np.int16)
    flat = grids.as_float32(weight.contiguous()).reshape(-1)
    return values, blocks.packed(
        pack.pack_panels, flat.reshape(lying.shape), values, panels, flat,
        lying.steps_3, plan.taps_T3, lying.depth, plan.panel_stride, values,
        shape=(plan.groups, lying.columns), what="the weight",
        is_filled=plan.is_even, taps=lying.taps,
    )  # fmt: skip
