# SPDX-License-Identifier: Apache-2.0
"""A tensor (N, C, ...) as cells: the values of one channel of one sample, in either layout."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import copies, grids

_VALUES_OF_TASK: Final = 1 << 14

_WIDE: Final = 64
"""Channels that fill vector registers; of fewer, several places become one row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor of this shape lies in memory, and how kernels see it.

    Attributes:
        shape: (N, C, ...).
        is_innermost: Channels are innermost; otherwise the places are.
    """

    shape: torch.Size
    is_innermost: bool

    @classmethod
    def of(cls, x: torch.Tensor) -> "Layout":
        """Innermost channels unless the tensor lies contiguously with channels second."""
        return cls(x.shape, is_innermost=not x.is_contiguous())

    @property
    def cells(self) -> tuple[int, int]:
        """(N, C)."""
        return self.shape[0], self.shape[1]

    @property
    def places(self) -> int:
        """Values of a cell."""
        return math.prod(self.shape[2:])

    @property
    def folds(self) -> int:
        """Places of one row, where channels are innermost."""
        channels = max(self.shape[1], 1)
        return math.gcd(self.places, _WIDE // channels) if channels < _WIDE else 1

    @property
    def width(self) -> int:
        """Values of one row."""
        return self.shape[1] * self.folds if self.is_innermost else 1

    @property
    def parts(self) -> int:
        """Tasks that the rows of one sample, or of one cell, are cut into."""
        values = self.places * (self.shape[1] if self.is_innermost else 1)
        rows = values // max(self.width, 1)
        return max(1, min(rows, values // _VALUES_OF_TASK))

    def view(self, x: torch.Tensor) -> npt.NDArray[np.float32]:
        """(N, S / F, F C), or (N C, S, 1); a copy only where memory lies differently."""
        samples, channels = self.cells
        if self.is_innermost:
            inside = grids.as_float32(copies.contiguous(x.movedim(1, -1)))
            return inside.reshape(samples, self.places // self.folds, self.width)
        return grids.as_float32(copies.contiguous(x)).reshape(samples * channels, -1, 1)

    def empty(self) -> tuple[torch.Tensor, npt.NDArray[np.float32]]:
        """A new tensor of this shape and layout, and its view."""
        if self.is_innermost:
            shape = (self.shape[0], *self.shape[2:], self.shape[1])
            out = torch.empty(shape).movedim(-1, 1)
        else:
            out = torch.empty(self.shape)
        return out, self.view(out)
