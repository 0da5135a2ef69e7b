# SPDX-License-Identifier: Apache-2.0
"""Sorting, where equals keep the order of their indices, and running sums, which are exact."""

import torch

from tiny_agent_trainer.exact import grids, sums
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten

Pair = tuple[torch.Tensor, torch.Tensor]


@implements(aten.sort.default)
def sort(x: torch.Tensor, dim: int = -1, descending: bool = False) -> Pair:
    """Values and indices, stable also where torch does not promise it."""
    return aten.sort.stable(x, stable=True, dim=dim, descending=descending)


@implements(aten.topk.default)
def topk(
    x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, is_sorted: bool = True
) -> Pair:
    """The first k of a stable sort: of equals those with the lowest indices."""
    size = x.shape[shapes.dim_of(dim, x.dim())] if x.dim() else 1
    if not 0 <= k <= size:
        shapes.refuse(aten.topk.default, x, k, dim, largest, is_sorted)
    values, indices = sort(x, dim, largest)
    return (values.narrow(dim, 0, k), indices.narrow(dim, 0, k)) if x.dim() else (values, indices)


@implements(aten.cumsum.default)
def cumsum(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Sums of all values up to each along a dim, each rounded once.

    Raises:
        NotFiniteError: A value is NaN or infinite.
    """
    x = x if dtype is None else x.to(dtype)
    place = shapes.dim_of(dim, x.dim())
    if not x.is_floating_point() or not x.numel():
        return aten.cumsum.default(x, dim)
    rows = x.reshape(x.shape or (1,)).movedim(place, -1).contiguous()
    array = grids.as_float32(rows).reshape(-1, rows.shape[-1])
    found = torch.from_numpy(sums.running(array, "the values of a running sum"))
    return found.view(rows.shape).movedim(-1, place).reshape(x.shape)
