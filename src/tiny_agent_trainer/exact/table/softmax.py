# SPDX-License-Identifier: Apache-2.0
"""Softmax, its logarithm, their derivatives, and the logarithm of a sum of exponentials.

Tensors are arranged as (B, C, I) with the softmax along C: long rows where I is 1, else columns.
The sums are exact, so that the arrangement is chosen for speed and cannot change a bit.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.kernels import scan, softmax
from tiny_agent_trainer.exact.table import launch, shapes
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten

_LONG: Final = 32
"""Classes from which a row fills vector registers."""

_WIDE: Final = 16
"""Columns from which they do."""

_MOST_CLASSES: Final = 1 << 22
"""Below it T, in units of 2^-40, fits int64."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a tensor becomes (B, C, I).

    Attributes:
        order: The dims, outermost first.
        shape: Their lengths in that order.
        axis: Where among them the softmax is.
    """

    order: tuple[int, ...]
    shape: tuple[int, ...]
    axis: int

    @classmethod
    def of(cls, x: torch.Tensor, dim: int) -> "Arrangement":
        """The arrangement that is fast for a tensor."""
        dim = shapes.dim_of(dim, x.dim())
        x = x if x.dim() else x.view(1)
        classes, inner = x.shape[dim], math.prod(x.shape[dim + 1 :])
        others = [other for other in range(x.dim()) if other != dim]
        if classes >= _LONG and (inner < _WIDE or x.stride(dim) == 1):
            order, axis = [*others, dim], x.dim() - 1
        elif inner >= _WIDE:
            order, axis = list(range(x.dim())), dim
        else:
            order, axis = [dim, *others], 0
        return cls(tuple(order), tuple(x.shape[place] for place in order), axis)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """X as a contiguous (B, C, I), without a copy where it lies so."""
        moved = x.reshape(x.shape or (1,)).permute(self.order).contiguous()
        return moved.view(math.prod(self.shape[: self.axis]), self.shape[self.axis], -1)

    def restore(self, result: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """A (B, C, I) with the dims and the layout of a tensor."""
        inverse = [self.order.index(dim) for dim in range(len(self.order))]
        moved = result.view(self.shape).permute(inverse).reshape(like.shape)
        return launch.dense_like(moved, torch.empty_like(like))


@implements(aten._softmax.default)
def softmax_(x: torch.Tensor, dim: int, half_to_float: bool) -> torch.Tensor:
    """Softmax: t / T."""
    del half_to_float
    return _forward(x, dim, is_log=False)


@implements(aten._safe_softmax.default)
def safe_softmax(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Softmax where a row that is wholly masked (-infinity) becomes zeros, as in attention."""
    del dtype
    if not x.numel() or not torch.isneginf(x.min()):
        return _forward(x, dim, is_log=False)
    is_masked = (x == -math.inf).all(dim=dim, keepdim=True)
    filled = _forward(x.masked_fill(is_masked, 0.0), dim, is_log=False)
    return filled.masked_fill(is_masked, 0.0)


@implements(aten._log_softmax.default)
def log_softmax(x: torch.Tensor, dim: int, half_to_float: bool) -> torch.Tensor:
    """Its logarithm: (x - m) - log(T)."""
    del half_to_float
    return _forward(x, dim, is_log=True)


@implements(aten._softmax_backward_data.default)
def softmax_backward(
    gradient: torch.Tensor, result: torch.Tensor, dim: int, input_dtype: torch.dtype
) -> torch.Tensor:
    """The derivative of softmax: y (g - sum of g y)."""
    del input_dtype
    return _backward(gradient, result, dim, is_log=False)


@implements(aten._log_softmax_backward_data.default)
def log_softmax_backward(
    gradient: torch.Tensor, result: torch.Tensor, dim: int, input_dtype: torch.dtype
) -> torch.Tensor:
    """The derivative of its logarithm: g - e^y (sum of g)."""
    del input_dtype
    return _backward(gradient, result, dim, is_log=True)


@implements(aten.logsumexp.default)
def logsumexp(x: torch.Tensor, dims: list[int], keepdim: bool = False) -> torch.Tensor:
    """The logarithm of a sum of exponentials over some dims: m + log(T).

    Raises:
        NotFiniteError: NaN, infinity, or nothing but -infinity.
    """
    launch.require_float32(x)
    values = x if x.dim() else x.view(1)
    chosen = shapes.dims_of(dims, values.dim())
    kept = [dim for dim in range(values.dim()) if dim not in chosen]
    rows, classes = (math.prod(values.shape[dim] for dim in dims) for dims in (kept, chosen))
    _require_classes(classes)
    x_RC = values.permute(*kept, *chosen).reshape(rows, classes)
    array = grids.as_array(x_RC.contiguous())
    out_R, defined_R = np.empty(len(array), np.float32), np.ones(len(array), np.bool_)
    bits = array.view(np.int32)
    kernel = softmax.log_sum_exp_rows
    threads.run(kernel, len(array), array, bits, out_R, defined_R)
    _require_defined(defined_R)
    shape = [1 if dim in chosen else x.shape[dim] for dim in range(x.dim())]
    return torch.from_numpy(out_R).view(shape if keepdim else [x.shape[dim] for dim in kept])


def _forward(x: torch.Tensor, dim: int, *, is_log: bool) -> torch.Tensor:
    launch.require_float32(x)
    if not x.numel():
        return torch.empty_like(x)
    arrangement = Arrangement.of(x, dim)
    x_BCI = arrangement.apply(x)
    _require_classes(x_BCI.shape[1])
    out_BCI = torch.empty_like(x_BCI)
    arrays = [_rows(x_BCI), _rows(x_BCI).view(np.int32), is_log, _rows(out_BCI)]
    defined = np.empty(_tasks(x_BCI), np.bool_)
    kernel = softmax.forward_rows if x_BCI.shape[2] == 1 else softmax.forward_columns
    threads.run(kernel, len(defined), *arrays, defined)
    _require_defined(defined)
    return arrangement.restore(out_BCI, x)


def _backward(
    gradient: torch.Tensor, result: torch.Tensor, dim: int, *, is_log: bool
) -> torch.Tensor:
    launch.require_float32(gradient, result)
    if not result.numel():
        return torch.empty_like(result)
    arrangement = Arrangement.of(result, dim)
    g_BCI, y_BCI = arrangement.apply(gradient), arrangement.apply(result)
    out_BCI = torch.empty_like(y_BCI)
    kernel = softmax.backward_rows if g_BCI.shape[2] == 1 else softmax.backward_columns
    arrays = [_rows(g_BCI), _rows(y_BCI), _scales(g_BCI), is_log, _rows(out_BCI)]
    threads.run(kernel, _tasks(g_BCI), *arrays)
    return arrangement.restore(out_BCI, result)


def _rows(x_BCI: torch.Tensor) -> npt.NDArray[np.float32]:
    """(B, C) of rows, else (B, C, I)."""
    return grids.as_array(x_BCI.squeeze(2))


def _tasks(x_BCI: torch.Tensor) -> int:
    """How many rows, or blocks of columns."""
    batches, _, inner = x_BCI.shape
    return batches if inner == 1 else batches * -(-inner // softmax.BLOCK)


def _scales(g_BCI: torch.Tensor) -> npt.NDArray[np.float64]:
    """1 / grid of each row, (B,), or of each column, (B, I)."""
    array = _rows(g_BCI)
    if array.ndim == 2:
        largest = np.zeros(len(array), np.int32)
        threads.run(scan.largest_of_rows, len(array), array.view(np.int32), largest)
    else:
        largest = blocks.largest_of_columns(array)
    exponents = grids.exponents(largest, grids.SUM_FLOOR, "the gradient of a softmax")
    return grids.powers(grids.sum_bits(g_BCI.shape[1]) - exponents)


def _require_classes(classes: int) -> None:
    if classes >= _MOST_CLASSES:
        raise launch.refused(f"a softmax over {classes} values")


def _require_defined(defined: npt.NDArray[np.bool_]) -> None:
    if not defined.all():
        raise grids.not_finite("the argument of a softmax (or -infinity alone)")
