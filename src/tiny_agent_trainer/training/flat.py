# SPDX-License-Identifier: Apache-2.0
"""All trained parameters of a network as one vector, and their gradients as another."""

from collections.abc import Iterator

import torch
from torch import nn

_ALIGNMENT = 16
"""Values between starts of parameters: 64 bytes, so that kernels see aligned addresses."""


class FlatParameters:
    """Moves a network's trained parameters into one vector; they stay views of it.

    Args:
        network: Its parameters are float32; tied parameters stand once.

    Attributes:
        values: float32, shape (length,). Gaps between parameters hold zeros and stay zero.
        gradients: float32, shape (length,).
    """

    def __init__(self, network: nn.Module) -> None:
        named = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._places: dict[str, tuple[int, torch.Size]] = {}
        length = 0
        for name in sorted(named, key=str.encode):
            self._places[name] = (length, named[name].shape)
            length += -(-named[name].numel() // _ALIGNMENT) * _ALIGNMENT
        self.values = torch.zeros(length, dtype=torch.float32)
        self.gradients = torch.zeros(length, dtype=torch.float32)
        for name, parameter in named.items():
            view = self._view(self.values, name)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self._view(self.gradients, name)

    @property
    def length(self) -> int:
        """Values in the vector, gaps included."""
        return len(self.values)

    def spans(self) -> Iterator[slice]:
        """Each parameter's place in the vector."""
        for start, shape in self._places.values():
            yield slice(start, start + shape.numel())

    def views(self, vector: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Each parameter's name and its part of a vector of this length."""
        for name in self._places:
            yield name, self._view(vector, name)

    def _view(self, vector: torch.Tensor, name: str) -> torch.Tensor:
        start, shape = self._places[name]
        return vector[start : start + shape.numel()].view(shape)
