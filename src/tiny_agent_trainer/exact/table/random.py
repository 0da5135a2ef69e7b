# SPDX-License-Identifier: Apache-2.0
"""Random operations inside a network, from our own streams; torch's generator is never asked."""

from typing import Any

import numpy as np
import torch

from tiny_agent_trainer.exact import draws
from tiny_agent_trainer.exact.table import launch
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten


@implements(aten.bernoulli_.float)
def bernoulli_(x: torch.Tensor, p: float = 0.5, *, generator: Any = None) -> torch.Tensor:
    """1 where the element's word is below p * 2^32, else 0, in the order of indices."""
    _require_default(generator)
    return x.copy_(_kept(x.shape, p))


@implements(aten.bernoulli.p)
def bernoulli(x: torch.Tensor, p: float, *, generator: Any = None) -> torch.Tensor:
    """The same as a new tensor."""
    _require_default(generator)
    return _kept(x.shape, p).to(x.dtype)


@implements(aten.native_dropout.default)
def native_dropout(
    x: torch.Tensor, p: float, train: bool | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """X / (1 - p) where kept; and the mask."""
    if train is False or p == 0:
        return x.clone(), torch.ones(x.shape, dtype=torch.bool)
    mask = _kept(x.shape, 1 - p)
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return x * mask * scale, mask.bool()


@implements(aten.native_dropout_backward.default)
def native_dropout_backward(
    gradient: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """The gradient where kept."""
    return gradient * mask * scale


@implements(aten.rand.default)
def rand(
    size: list[int],
    *,
    dtype: torch.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
) -> torch.Tensor:
    """Multiples of 2^-24 in [0, 1)."""
    del layout, device, pin_memory
    return _uniform(torch.Size(size)).to(dtype or torch.float32)


@implements(aten.rand_like.default)
def rand_like(x: torch.Tensor, **options: Any) -> torch.Tensor:
    """The same in the shape of x."""
    return _uniform(x.shape).to(options.get("dtype") or x.dtype)


def _kept(shape: torch.Size, p: float) -> torch.Tensor:
    threshold = np.uint64(round(p * 2.0**32))
    words = draws.words(shape.numel()).astype(np.uint64)
    return torch.from_numpy((words < threshold).astype(np.float32)).view(shape)


def _uniform(shape: torch.Size) -> torch.Tensor:
    words = draws.words(shape.numel())
    return torch.from_numpy((words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)).view(
        shape
    )


def _require_default(generator: Any) -> None:
    if generator is not None:
        raise launch.refused("a random operation with a generator of its own")
