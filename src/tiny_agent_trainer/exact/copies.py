# SPDX-License-Identifier: Apache-2.0
"""Copies of tensors into another layout, on the threads of the team; nothing rounds."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.kernels import rearrange

_ALONE: Final = 1 << 12
"""Elements that torch has copied before a kernel is called."""

_AXES: Final = 4

_Axis: TypeAlias = tuple[int, int, int]
"""Its length, and the steps along it in the target and in the source."""


def contiguous(x: torch.Tensor) -> torch.Tensor:
    """`x.contiguous()` of a float32 tensor."""
    return x if x.is_contiguous() else copied(torch.empty(x.shape), x)


def copied(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """`target.copy_(source)` for float32 tensors of one shape."""
    axes = _axes(target, source)
    if target.numel() <= _ALONE or len(axes) > _AXES:
        return target.copy_(source)
    axes = [(1, 0, 0)] * (_AXES - len(axes)) + axes
    sizes, there, here = (np.array(numbers) for numbers in zip(*axes, strict=True))
    threads.run(
        rearrange.copy, sizes[0] * sizes[1] * -(-sizes[2] // rearrange.LINES),
        _memory(source), _memory(target), sizes, here, there,
    )  # fmt: skip
    return target


def _axes(target: torch.Tensor, source: torch.Tensor) -> list[_Axis]:
    """Outermost of the target first; neighbours that are one axis for both are joined."""
    axes: list[_Axis] = []
    steps = zip(target.shape, target.stride(), source.stride(), strict=True)
    for size, there, here in sorted(steps, key=lambda axis: -axis[1]):
        if size == 1:
            continue
        if axes and (axes[-1][1], axes[-1][2]) == (size * there, size * here):
            axes[-1] = (axes[-1][0] * size, there, here)
        else:
            axes.append((size, there, here))
    return axes


def _memory(x: torch.Tensor) -> npt.NDArray[np.float32]:
    """From the first element to the last, with whatever lies between."""
    steps = zip(x.shape, x.stride(), strict=True)
    length = 1 + sum((size - 1) * step for size, step in steps)
    return grids.as_array(x.as_strided((length,), (1,)))
