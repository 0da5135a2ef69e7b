# SPDX-License-Identifier: Apache-2.0
"""Gathering, and its gradients: values that meet in one place are added exactly, as int64."""

from collections.abc import Sequence

import numpy as np
import torch

from tiny_agent_trainer.exact import grids, sums
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.registry import implements, runs_natively

aten = torch.ops.aten

runs_natively(aten.embedding.default)


def add_exactly(base: torch.Tensor, places: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Base plus the terms of `source` at flat places of it, rounded once.

    Every place has a grid of its own, set by the terms that meet there: what is added elsewhere in
    the tensor, or by another sample, cannot change it.
    """
    flat, terms, places = base.reshape(-1), source.reshape(-1), places.reshape(-1)
    largest, bits = _magnitudes(flat), _magnitudes(terms)
    largest.scatter_reduce_(0, places, bits, "amax")
    counts = torch.bincount(places, minlength=len(flat)) + 1
    exponents = grids.exponents(largest.int().numpy(), grids.SUM_FLOOR, "a scattered sum")
    room = 62 - np.frexp(counts.numpy().astype(np.float64))[1]
    shifts = np.minimum(grids.SUM_BITS, room).astype(np.int32) - exponents
    scales = torch.from_numpy(grids.powers(shifts))
    totals = torch.round(flat.double() * scales).long()
    totals.index_add_(0, places, torch.round(terms.double() * scales[places]).long())
    return torch.from_numpy(sums.rounded(totals.numpy(), shifts)).view(base.shape)


def _magnitudes(x: torch.Tensor) -> torch.Tensor:
    """The bits of |x|, as int64."""
    bits = grids.as_float32(x.contiguous()).view(np.int32) & 0x7FFFFFFF
    return torch.from_numpy(bits.astype(np.int64))


def _places(x: torch.Tensor) -> torch.Tensor:
    """The flat index of every element, in the shape of x."""
    return torch.arange(x.numel()).view(x.shape)


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
    return add_exactly(base, _places(base)[places], rows)


@implements(aten.index_add.default)
def index_add(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, alpha: float = 1
) -> torch.Tensor:
    """X plus slices of source, times alpha, at the places of `index`."""
    scaled = source if alpha == 1 else source * alpha
    return add_exactly(x, _places(x).index_select(dim, index), scaled)


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
    return add_exactly(x, _places(x).gather(dim, index), used)


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
    if values.dtype != x.dtype:
        shapes.refuse(aten.index_put.default, x, indices, values, accumulate)
    places = aten.index.Tensor(_places(x), indices)
    spread = values.expand(places.shape)
    if not accumulate:
        return _write_last(x, places.reshape(-1), spread.reshape(-1))
    if not x.is_floating_point():
        return aten.index_put.default(x, indices, values, accumulate)
    return add_exactly(x, places, spread)


def _write_last(x: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """X with values at flat places; of those that meet, the last in the order of indices."""
    writer = torch.full((x.numel(),), -1)
    writer.scatter_reduce_(0, places, torch.arange(len(places)), "amax")
    is_written = writer >= 0
    out = x.reshape(-1).clone()
    out[is_written] = values[writer[is_written]]
    return out.view(x.shape)


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
