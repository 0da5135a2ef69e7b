# SPDX-License-Identifier: Apache-2.0
"""How many values of operands are so small that their grid rounds them to zero.

An engine around another one, for the steps that are watched: it reads every operand once more. What
it finds is an observation; the results are those of the engine inside.
"""

from typing import final

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine
from tiny_agent_trainer.exact.contractions.geometry import Geometry
from tiny_agent_trainer.exact.kernels import underflow


@final
class CountingEngine(AbstractEngine):
    """Counts, then lets another engine compute.

    Attributes:
        counts: Of each kind of operand: values that became zero without being zero, and values.
    """

    def __init__(self, inside: AbstractEngine) -> None:
        self.name = inside.name
        self.counts: dict[str, tuple[int, int]] = {}
        self._inside = inside

    def multiply(
        self, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See the base class."""
        left_BMK, right_BKN = (grids.as_float32(x.contiguous()) for x in (left, right))
        self._count("left operand", left_BMK.reshape(-1, left.shape[2], 1))
        self._count("right operand", right_BKN)
        return self._inside.multiply(left, right, bias)

    def convolve(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        shape: Geometry,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the base class."""
        self._count("input", _by_sample(x))
        self._count("weight", _by_sample(weight))
        return self._inside.convolve(x, weight, shape, bias)

    def input_gradient(
        self, gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        self._count("output gradient", _by_sample(gradient))
        weight_GOIK = weight.reshape(shape.groups, shape.group_outputs, shape.group_inputs, -1)
        self._count("weight", _by_sample(weight_GOIK.transpose(1, 2).flatten(0, 1)))
        return self._inside.input_gradient(gradient, weight, shape)

    def weight_gradient(
        self, x: torch.Tensor, gradient: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        self._count("input", _by_channel(x))
        self._count("output gradient", _by_channel(gradient))
        return self._inside.weight_gradient(x, gradient, shape)

    def _count(self, operand: str, x_BRC: npt.NDArray[np.float32]) -> None:
        """Add an operand with a grid per batch and column."""
        batches, rows = x_BRC.shape[:2]
        if not x_BRC.size:
            return
        exponents_BC = blocks.of_columns(x_BRC, f"the {operand}")
        parts = blocks.parts_of(rows)
        lost_BP = np.zeros((batches, parts), np.int64)
        threads.run(
            underflow.count, batches * parts, x_BRC.view(np.int32), parts,
            grids.largest_lost(exponents_BC), lost_BP,
        )  # fmt: skip
        lost, values = self.counts.get(operand, (0, 0))
        self.counts[operand] = lost + int(lost_BP.sum()), values + x_BRC.size


def _by_sample(x: torch.Tensor) -> npt.NDArray[np.float32]:
    """A grid for each index of the first axis."""
    return grids.as_float32(x.contiguous()).reshape(len(x), -1, 1)


def _by_channel(x_NDHWC: torch.Tensor) -> npt.NDArray[np.float32]:
    """A grid for each index of the last axis."""
    return grids.as_float32(x_NDHWC.contiguous()).reshape(1, -1, x_NDHWC.shape[-1])
