# SPDX-License-Identifier: Apache-2.0
"""Matrix products on pairs of int16, reading both operands as they lie in memory."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import copies, grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.contractions.engine import require_length
from tiny_agent_trainer.exact.kernels import contract, pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS
from tiny_agent_trainer.exact.kernels.instruction_sets import LEFT_PANEL

SLACK = 4 * COLUMNS
"""Values behind the last one of an operand that a block may read and never uses."""

ZERO = np.zeros(1, np.int64)


def pieces_of(depth: int) -> tuple[int, int]:
    """Into how many pieces of how many pairs a contracted axis is cut, the last filled up."""
    pairs = -(-depth // 2)
    pieces = 1 if pairs <= contract.WHOLE_PAIRS else -(-pairs // contract.PAIRS_AT_ONCE)
    return pieces, -(-pairs // pieces)


def pairs_of(depth: int) -> int:
    """Pairs of a contracted axis, filled up."""
    pieces, pairs = pieces_of(depth)
    return pieces * pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An operand in the order in which blocks read it.

    Attributes:
        values: int16, flat.
        batch: Values from one batch to the next.
        step: From one pair of the contracted axis to the next.
        places: Offsets of rows on the left, of panels on the right.
        powers: What an integer stands for, of rows or columns, batch after batch.
    """

    values: npt.NDArray[np.int16]
    batch: int
    step: int
    places: npt.NDArray[np.int64]
    powers: blocks.Powers


def multiply(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """float32 (B, M, K) times (B, K, N), plus a bias (N,) if B is 1: (B, M, N)."""
    batches, rows, depth = left.shape
    columns = right.shape[2]
    out = torch.empty(batches, rows, columns)
    if not out.numel() or not depth:
        return out.zero_() if bias is None else out.copy_(bias)
    require_length(depth)
    a, b = _pack_left(left), _pack_right(right)
    pieces, pairs = pieces_of(depth)
    segments = np.arange(pieces) * pairs
    batch = np.arange(batches)
    parts = contract.one_part(rows, 1, pieces, pairs)
    tasks = parts.tasks(len(b.places), batches, threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels, tasks.bounds_Q1,
        parts.table_Q6,
        a.values, a.places, batch * a.batch, a.step,
        b.values, b.places, batch * b.batch, b.step,
        segments * a.step, segments * b.step,
        a.powers, batch * rows, b.powers, batch * columns,
        contract.column_bounds(columns), blocks.bias_of(bias, batches * columns),
        grids.as_float32(out).reshape(-1), np.arange(rows) * columns, batch * rows * columns,
    )  # fmt: skip
    return out


def _pack_left(left: torch.Tensor) -> Packed:
    """Pairs along the contracted axis, wherever that lies."""
    rows, depth = left.shape[1:]
    if left.stride(2) != 1 and left.stride(1) == 1:
        panels = _pack_row_pairs(left.transpose(1, 2), LEFT_PANEL, "the left operand")
        row = np.arange(rows)
        places = panels.places[row // LEFT_PANEL] + 2 * (row % LEFT_PANEL)
        return replace(panels, places=places)
    values, powers = _pack_rows(left, "the left operand")
    length = 2 * pairs_of(depth)
    places = np.arange(rows) * length
    return Packed(values=values, batch=rows * length, step=2, places=places, powers=powers)


def _pack_right(right: torch.Tensor) -> Packed:
    """Panels of columns."""
    if right.stride(1) != 1 or right.stride(2) == 1:
        return _pack_row_pairs(right, COLUMNS, "the right operand")
    batches, depth, columns = right.shape
    rows, powers = _pack_rows(right.transpose(1, 2), "the right operand")
    panels, filled = -(-columns // COLUMNS), pairs_of(depth)
    stride = filled * 2 * COLUMNS
    values = np.zeros(batches * panels * stride + SLACK, np.int16)
    packed = values[:-SLACK].view(np.int32).reshape(batches, panels, filled, COLUMNS)
    pairs_BNP = rows[:-SLACK].view(np.int32).reshape(batches, columns, filled)
    threads.run(pack.transpose_pairs, batches * panels, pairs_BNP, packed)
    return _panels(values, panels, stride, powers)


def _pack_rows(x: torch.Tensor, what: str) -> tuple[npt.NDArray[np.int16], blocks.Powers]:
    """Of (B, R, K): rows one after another, filled up to whole pairs; what integers stand for."""
    x_RK = grids.as_float32(copies.contiguous(x)).reshape(-1, x.shape[2])
    length = 2 * pairs_of(x.shape[2])
    values = np.empty(len(x_RK) * length + SLACK, np.int16)
    powers, faults = np.empty(len(x_RK)), np.empty(len(x_RK), np.bool_)
    threads.run(
        pack.pack_rows, len(x_RK), x_RK, grids.CONTRACTION_BITS, grids.CONTRACTION_FLOOR, powers,
        faults, values[:-SLACK].reshape(len(x_RK), length),
    )  # fmt: skip
    if faults.any():
        raise grids.not_finite(what)
    return values, powers


def _pack_row_pairs(x: torch.Tensor, width: int, what: str) -> Packed:
    """Of (B, K, C), columns innermost, in panels of so many columns."""
    batches, depth, columns = x.shape
    x_BKC = grids.as_float32(copies.contiguous(x))
    panels, filled = -(-columns // width), pairs_of(depth)
    stride = filled * 2 * width
    values = np.empty(batches * panels * stride + SLACK, np.int16)
    packed = values[:-SLACK].view(np.int32).reshape(batches, panels, filled, width)
    powers = blocks.packed(
        pack.pack_row_pairs, x_BKC, values, batches * -(-depth // 2), x_BKC, packed,
        shape=(batches, columns), what=what, is_filled=2 * filled == depth,
    )  # fmt: skip
    return _panels(values, panels, stride, powers.reshape(-1), width)


def _panels(
    values: npt.NDArray[np.int16],
    panels: int,
    stride: int,
    powers: blocks.Powers,
    width: int = COLUMNS,
) -> Packed:
    places = np.arange(panels) * stride
    return Packed(
        values=values, batch=panels * stride, step=2 * width, places=places, powers=powers
    )
