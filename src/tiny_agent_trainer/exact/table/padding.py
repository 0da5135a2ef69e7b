# SPDX-License-Identifier: Apache-2.0
"""Padding by reflection and by replication: copies, whose gradients are exact sums per place."""

from collections.abc import Callable
from typing import Any

import torch

from tiny_agent_trainer.exact.table import indexing
from tiny_agent_trainer.exact.table.registry import implements, runs_natively

aten = torch.ops.aten


def _enter(name: str) -> None:
    forward: Callable[..., Any] = getattr(aten, name).default
    runs_natively(getattr(aten, name).default)

    @implements(getattr(aten, f"{name}_backward").default)
    def backward(gradient: torch.Tensor, x: torch.Tensor, padding: list[int]) -> torch.Tensor:
        places = forward(torch.arange(x.numel()).view(x.shape), padding)
        return indexing.add_exactly(torch.zeros(x.shape), places, gradient)


for _kind in ("reflection", "replication"):
    for _dims in (1, 2, 3):
        _enter(f"{_kind}_pad{_dims}d")
