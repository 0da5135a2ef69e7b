# SPDX-License-Identifier: Apache-2.0
"""Copies of tensors into another layout, on the threads of the team; nothing rounds."""

from typing import Final

import numpy as np
import torch

from tiny_agent_trainer.exact import grids, threads

_ALONE: Final = 1 << 15
"""Elements that one thread has copied before another could be woken."""


def contiguous(x: torch.Tensor) -> torch.Tensor:
    """`x.contiguous()` of a float32 tensor."""
    return x if x.is_contiguous() else copied(torch.empty(x.shape), x)


def copied(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """`target.copy_(source)` for float32 tensors of one shape."""
    dim = _dim_to_cut(target)
    if target.numel() <= _ALONE or dim is None:
        return target.copy_(source)
    there = np.moveaxis(grids.as_array(target), dim, 0)
    here = np.moveaxis(grids.as_array(source), dim, 0)

    def copy(start: int, stop: int) -> None:
        np.copyto(there[start:stop], here[start:stop])

    threads.run(copy, len(there))
    return target


def _dim_to_cut(x: torch.Tensor) -> int | None:
    """The outermost dim that gives every thread a part."""
    return next((dim for dim, size in enumerate(x.shape) if size >= threads.get_threads()), None)
