# SPDX-License-Identifier: Apache-2.0
"""Gathering, and its gradients: values that meet in one place are added exactly, as int64."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tiny_agent_trainer.exact import grids, sums
from tiny_agent_trainer.exact.table.registry import implements, runs_natively

aten = torch.ops.aten

runs_natively(aten.embedding.default)


def _add_exactly(
    base: torch.Tensor,
    source: torch.Tensor,
    add: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Base plus the terms of `source` that `add` brings to their places, rounded once.

    One grid serves all: the largest magnitude of both, and the count of all terms.
    """
    terms = [grids.as_array(x.contiguous()).reshape(-1) for x in (base, source)]
    exponent = max(sums.exponent(term, "the values of a scattered sum") for term in terms)
    shift = np.int32(grids.sum_bits(source.numel() + 1) - exponent)
    scale = float(grids.powers(shift))
    totals = torch.round(base.double() * scale).long()
    add(totals, torch.round(source.double() * scale).long())
    return torch.from_numpy(sums.rounded(totals.numpy(), shift))


@implements(aten.embedding_dense_backward.default)
def embedding_dense_backward(
    gradient: torch.Tensor,
    indices: torch.Tensor,
    num_weights: int,
    padding_idx: int,
    scale_grad_by_freq: bool,
) -> torch.Tensor:
    """Rows added to the rows that they came from."""
    width = gradient.shape[-1]
    rows, places = gradient.reshape(-1, width), indices.reshape(-1)
    kept = places != padding_idx
    rows, places = rows[kept], places[kept]
    if scale_grad_by_freq:
        counts = torch.bincount(places, minlength=num_weights)
        rows = rows / counts[places][:, None]
    base = torch.zeros(num_weights, width)
    return _add_exactly(base, rows, lambda total, new: total.index_add_(0, places, new))


@implements(aten.index_add.default)
def index_add(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, alpha: float = 1
) -> torch.Tensor:
    """X plus slices of source, times alpha, at the places of `index`."""
    scaled = source if alpha == 1 else source * alpha
    return _add_exactly(x, scaled, lambda total, new: total.index_add_(dim, index, new))


@implements(aten.index_add_.default)
def index_add_(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, alpha: float = 1
) -> torch.Tensor:
    """The same, in place."""
    return x.copy_(index_add(x, dim, index, source, alpha=alpha))


@implements(aten.scatter_add.default)
def scatter_add(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor
) -> torch.Tensor:
    """X plus values of source at the places of `index`."""
    used = source[tuple(slice(0, size) for size in index.shape)]
    return _add_exactly(x, used, lambda total, new: total.scatter_add_(dim, index, new))


@implements(aten.scatter_add_.default)
def scatter_add_(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor
) -> torch.Tensor:
    """The same, in place."""
    return x.copy_(scatter_add(x, dim, index, source))


@implements(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(
    x: torch.Tensor,
    indices: Sequence[torch.Tensor | None],
    values: torch.Tensor,
    accumulate: bool = False,
) -> torch.Tensor:
    """Values written to, or added at, indexed places; written twice, the last one stays."""
    if not accumulate or not x.is_floating_point():
        return aten.index_put.default(x, indices, values, accumulate)
    spread = values.expand(x[tuple(_as_slices(indices))].shape)
    return _add_exactly(
        x, spread, lambda total, new: aten.index_put_.default(total, indices, new, True)
    )


@implements(aten.index_put_.default, aten._index_put_impl_.default)
def index_put_(
    x: torch.Tensor,
    indices: Sequence[torch.Tensor | None],
    values: torch.Tensor,
    accumulate: bool = False,
    unsafe: bool = False,
) -> torch.Tensor:
    """The same, in place."""
    del unsafe
    return x.copy_(index_put(x, indices, values, accumulate))


def _as_slices(indices: Sequence[torch.Tensor | None]) -> list[torch.Tensor | slice]:
    return [slice(None) if index is None else index for index in indices]
