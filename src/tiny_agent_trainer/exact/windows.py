# SPDX-License-Identifier: Apache-2.0
"""Separable linear maps between places: pooling and interpolation are tables of weights.

Along one dim such a map is a sparse matrix: output place o reads `weights[o, k]` of input place
`first[o] + k`. Its gradient is the transposed matrix, again such a table. Tables are float64, made
on the host from single operations.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import geometry
from tiny_agent_trainer.exact.kernels import windows

Weights: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """A linear map along one dim.

    Attributes:
        first: int64 (out,).
        weights: float64 (out, longest); places with weight 0 are not read.
        size: Places of the input.
    """

    first: npt.NDArray[np.int64]
    weights: Weights
    size: int

    @classmethod
    def from_dense(cls, matrix: Weights) -> "Table":
        """Of a dense (out, in) matrix."""
        used = matrix != 0
        first = np.where(used.any(axis=1), used.argmax(axis=1), 0)
        last = np.where(used.any(axis=1), matrix.shape[1] - used[:, ::-1].argmax(axis=1), 1)
        longest = int(max(1, (last - first).max(initial=1)))
        weights = np.zeros((len(matrix), longest))
        for out, (begin, end) in enumerate(zip(first, last, strict=True)):
            weights[out, : end - begin] = matrix[out, begin:end]
        return cls(first.astype(np.int64), weights, matrix.shape[1])

    def dense(self) -> Weights:
        """As a matrix (out, in)."""
        matrix = np.zeros((len(self.first), self.size))
        for out, begin in enumerate(self.first):
            end = min(self.size, begin + self.weights.shape[1])
            matrix[out, begin:end] = self.weights[out, : end - begin]
        return matrix

    def transposed(self) -> "Table":
        """The table of the gradient."""
        return Table.from_dense(np.ascontiguousarray(self.dense().T))


def identity(size: int = 1) -> Table:
    """Leaves a dim alone."""
    return Table(np.arange(size), np.ones((size, 1)), size)


def apply(x: torch.Tensor, tables: list[Table]) -> torch.Tensor:
    """Map the spatial dims of (N, C, ...); one table for each of them."""
    spatial = len(tables)
    inside = geometry.channels_innermost(x)
    full = [identity()] * (3 - spatial) + tables
    out = torch.empty(x.shape[0], *(len(table.first) for table in full), x.shape[1])
    if out.numel():
        arguments = [array for table in full for array in (table.first, table.weights)]
        threads.run(
            windows.weighted_windows, out.shape[0] * out.shape[1],
            grids.as_float32(inside), *arguments, grids.as_float32(out),
        )  # fmt: skip
    return geometry.channels_second(out, spatial)
