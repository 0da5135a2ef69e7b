# SPDX-License-Identifier: Apache-2.0
"""Matrix products on pairs of int16, reading both operands as they lie in memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.contractions.engine import require_length
from tiny_agent_trainer.exact.kernels import contract, pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS, MOST_PAIRS

SLACK = 4 * COLUMNS
"""Values behind the last one of an operand that a block may read and never uses."""

ZERO = np.zeros(1, np.int64)


def pairs_of(depth: int) -> int:
    """Pairs of a contracted axis; a long one is filled up to whole pieces. Equation (6)."""
    pairs = -(-depth // 2)
    return pairs if pairs <= MOST_PAIRS else -(-pairs // MOST_PAIRS) * MOST_PAIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An operand in the order in which blocks read it.

    Attributes:
        values: int16, flat.
        batch: Values from one batch to the next.
        step: From one pair of the contracted axis to the next.
        outer: From row to row on the left, from panel to panel on the right.
        exponents: Of rows or columns, batch after batch.
    """

    values: npt.NDArray[np.int16]
    batch: int
    step: int
    outer: int
    exponents: blocks.Exponents


def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """float32 (B, M, K) times (B, K, N): (B, M, N)."""
    batches, rows, depth = left.shape
    columns = right.shape[2]
    out = torch.empty(batches, rows, columns)
    if not out.numel() or not depth:
        return out.zero_()
    require_length(depth)
    a, b = _pack_left(left), _pack_right(right)
    pairs = min(pairs_of(depth), MOST_PAIRS)
    pieces = np.arange(pairs_of(depth) // pairs) * pairs
    batch = np.arange(batches)
    tasks = batches * -(-rows // contract.ROWS_OF_TASK)
    threads.run(
        contract.contract, tasks,
        a.values, np.arange(rows) * a.outer, batch * a.batch, a.step,
        b.values, batch * b.batch, b.step, b.outer,
        pieces * a.step, pieces * b.step, pairs,
        blocks.powers(a.exponents), batch * rows, blocks.powers(b.exponents), batch * columns,
        columns, grids.as_float32(out).reshape(-1),
        np.arange(rows) * columns, batch * rows * columns,
    )  # fmt: skip
    return out


def _pack_left(left: torch.Tensor) -> Packed:
    """Pairs along the contracted axis, wherever that lies."""
    if left.stride(2) != 1 and left.stride(1) == 1:
        return _pack_row_pairs(left.transpose(1, 2), outer=2, what="the left operand")
    rows, depth = left.shape[1:]
    x = grids.as_float32(left.contiguous()).reshape(-1, depth)
    exponents = blocks.of_rows(x, "the left operand")
    length = 2 * pairs_of(depth)
    values = np.zeros(len(x) * length + SLACK, np.int16)
    packed = values[: len(x) * length].reshape(len(x), length)
    threads.run(pack.pack_rows, len(x), x, blocks.scales(exponents), packed)
    return Packed(values=values, batch=rows * length, step=2, outer=length, exponents=exponents)


def _pack_right(right: torch.Tensor) -> Packed:
    if right.stride(1) != 1 or right.stride(2) == 1:
        return _pack_row_pairs(right, outer=2 * COLUMNS, what="the right operand")
    batches, depth, columns = right.shape
    across = grids.as_float32(right.transpose(1, 2).contiguous())
    exponents = blocks.of_rows(across.reshape(-1, depth), "the right operand")
    panels, stride = -(-columns // COLUMNS), pairs_of(depth) * 2 * COLUMNS
    values = np.zeros(batches * panels * stride + SLACK, np.int16)
    shape = np.array([batches, 1, 1, depth, columns])
    strides = np.array([depth * columns, 0, 0, 1, depth, 0])
    scale_BN = blocks.scales(exponents).reshape(batches, columns)
    threads.run(
        pack.pack_panels,
        batches * panels,
        across.reshape(-1),
        shape,
        strides,
        scale_BN,
        stride,
        values,
    )
    return Packed(
        values=values, batch=panels * stride, step=2 * COLUMNS, outer=stride, exponents=exponents
    )


def _pack_row_pairs(x: torch.Tensor, outer: int, what: str) -> Packed:
    """Of (B, K, C), columns innermost."""
    batches, depth, columns = x.shape
    x_BKC = grids.as_float32(x.contiguous())
    exponents_BC = blocks.of_columns(x_BKC, what)
    pairs, filled = -(-depth // 2), pairs_of(depth)
    batch = filled * columns * 2
    values = np.zeros(batches * batch + SLACK, np.int16)
    packed = values[: batches * batch].reshape(batches, filled, columns, 2)[:, :pairs]
    scale_BC = blocks.scales(exponents_BC)
    threads.run(pack.pack_row_pairs, batches * pairs, x_BKC, scale_BC, packed)
    exponents = exponents_BC.reshape(-1)
    return Packed(values=values, batch=batch, step=2 * columns, outer=outer, exponents=exponents)
