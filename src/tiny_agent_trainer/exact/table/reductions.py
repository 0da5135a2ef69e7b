# SPDX-License-Identifier: Apache-2.0
"""Sums and means: exact sums, one rounding; a mean is a division more."""

import math

import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import grids, sums
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.elementwise import sqrt
from tiny_agent_trainer.exact.table.registry import implements, runs_natively

aten = torch.ops.aten

runs_natively(
    # Order-free: integers, choices of one element, comparisons.
    aten.all.default,
    aten.all.dim,
    aten.any.default,
    aten.any.dim,
    aten.argmax.default,
    aten.argmin.default,
    aten.max.dim,
    aten.min.dim,
    aten.sort.stable,
)


def total(x: torch.Tensor, dims: list[int], *, keepdim: bool) -> torch.Tensor:
    """The exact sum over some dims, rounded once to float32.

    Raises:
        UnsupportedOperationError: The values are float64.
        NotFiniteError: One of them is NaN or infinite.
    """
    if x.dtype != torch.float32:
        raise errors.UnsupportedOperationError(
            where="a sum",
            expected="float32 or integers",
            found=str(x.dtype),
            remedy="convert to float32 before the sum",
        )
    chosen = shapes.dims_of(dims, x.dim())
    kept = [dim for dim in range(x.dim()) if dim not in chosen]
    shape = [1 if dim in chosen else x.shape[dim] for dim in range(x.dim())]
    if not keepdim:
        shape = [x.shape[dim] for dim in kept]
    if not x.numel():
        return torch.zeros(shape)
    if not kept:
        return torch.full(shape, float(sums.total(grids.as_float32(_in_order(x)))))
    before = [dim for dim in kept if dim < chosen[0]]
    after = [dim for dim in kept if dim > chosen[0]]
    moved = x.permute(*before, *chosen, *after).contiguous()
    batches, columns = (math.prod(x.shape[dim] for dim in dims) for dims in (before, after))
    array = grids.as_float32(moved).reshape(batches, -1, columns)
    if columns == 1:
        result = sums.of_rows(array[:, :, 0], "the values of a sum")
    else:
        result = sums.of_columns(array, "the values of a sum")
    return torch.from_numpy(result.reshape(shape))


@implements(aten.sum.default)
def sum_all(x: torch.Tensor, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Over everything."""
    return sum_dims(x, [], keepdim=False, dtype=dtype)


@implements(aten.sum.dim_IntList)
def sum_dims(
    x: torch.Tensor,
    dims: list[int] | None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Over some dims; integers and truth values add natively."""
    if not (x.is_floating_point() or (dtype is not None and dtype.is_floating_point)):
        return aten.sum.dim_IntList(x, dims, keepdim, dtype=dtype)
    return total(x if dtype is None else x.to(dtype), dims or [], keepdim=keepdim)


@implements(aten.mean.default)
def mean_all(x: torch.Tensor, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Over everything."""
    return mean_dims(x, [], keepdim=False, dtype=dtype)


@implements(aten.mean.dim)
def mean_dims(
    x: torch.Tensor,
    dims: list[int] | None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """The sum divided by the count."""
    if dtype is None and not x.is_floating_point():
        shapes.refuse(aten.mean.dim, x, dims, keepdim)
    added = sum_dims(x, dims, keepdim, dtype=dtype)
    count = x.numel() // added.numel() if added.numel() else 0
    return added / count


@implements(aten.amax.default)
def amax(x: torch.Tensor, dims: list[int] | None = None, keepdim: bool = False) -> torch.Tensor:
    """The largest value; of 0 and -0 it is 0."""
    return _without_negative_zero(aten.amax.default(x, dims or [], keepdim))


@implements(aten.amin.default)
def amin(x: torch.Tensor, dims: list[int] | None = None, keepdim: bool = False) -> torch.Tensor:
    """The smallest value; of 0 and -0 it is 0."""
    return _without_negative_zero(aten.amin.default(x, dims or [], keepdim))


@implements(aten.max.default)
def max_all(x: torch.Tensor) -> torch.Tensor:
    """The largest value of all."""
    return amax(x)


@implements(aten.min.default)
def min_all(x: torch.Tensor) -> torch.Tensor:
    """The smallest value of all."""
    return amin(x)


@implements(aten.linalg_vector_norm.default)
def vector_norm(
    x: torch.Tensor,
    ord: float = 2,  # noqa: A002  # torch's name
    dims: list[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """The norm of order 1, 2 or infinity; squares are rounded before they are added.

    Raises:
        UnsupportedOperationError: Another order, or values that are not float32.
    """
    x = x if dtype is None else x.to(dtype)
    if ord == 1:
        return total(x.abs(), dims or [], keepdim=keepdim)
    if ord == math.inf:
        return amax(x.abs(), dims, keepdim)
    if ord != 2:
        raise errors.UnsupportedOperationError(
            where="a norm",
            expected="order 1, 2 or infinity",
            found=f"order {ord}",
            remedy="write it with powers and sums",
        )
    return sqrt(total(x * x, dims or [], keepdim=keepdim))


@implements(aten.var.correction)
def var(
    x: torch.Tensor,
    dims: list[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> torch.Tensor:
    """The variance in two passes: mean, then the exact sum of rounded squares."""
    centre = mean_dims(x, dims, keepdim=True)
    deviation = x - centre
    added = total(deviation * deviation, dims or [], keepdim=keepdim)
    count = x.numel() // max(centre.numel(), 1)
    return added / max(count - (1 if correction is None else correction), 0)


@implements(aten.std.correction)
def std(
    x: torch.Tensor,
    dims: list[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> torch.Tensor:
    """The root of the variance."""
    return sqrt(var(x, dims, correction=correction, keepdim=keepdim))


def _without_negative_zero(x: torch.Tensor) -> torch.Tensor:
    return x + 0 if x.is_floating_point() else x


def _in_order(x: torch.Tensor) -> torch.Tensor:
    """As it lies in memory, if it is dense: the order of an exact sum is free."""
    strides = x.stride()
    order = sorted(range(x.dim()), key=lambda dim: -strides[dim])
    return x.permute(order).contiguous()
