# SPDX-License-Identifier: Apache-2.0
"""Ranges of numbers: start + step * i in float64, each operation rounded, then once to the type."""

import math
from typing import Any

import numpy as np
import torch

from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten


@implements(aten.arange.default)
def arange(end: float, *, dtype: torch.dtype | None = None, **options: Any) -> torch.Tensor:
    """From 0, by 1."""
    return arange_by(0, end, 1, dtype=dtype, **options)


@implements(aten.arange.start)
def arange_from(
    start: float, end: float, *, dtype: torch.dtype | None = None, **options: Any
) -> torch.Tensor:
    """By 1."""
    return arange_by(start, end, 1, dtype=dtype, **options)


@implements(aten.arange.start_step)
def arange_by(
    start: float, end: float, step: float = 1, *, dtype: torch.dtype | None = None, **options: Any
) -> torch.Tensor:
    """Integers natively: they do not round."""
    if all(isinstance(value, int) for value in (start, end, step)):
        whole = aten.arange.start_step(start, end, step, **options)
        return whole if dtype is None else whole.to(dtype)
    if step == 0 or (end - start) / step < 0:
        shapes.refuse(aten.arange.start_step, start, end, step)
    count = math.ceil((end - start) / step)
    values = start + step * np.arange(count, dtype=np.float64)
    return torch.from_numpy(values).to(dtype or torch.float32)


@implements(aten.linspace.default)
def linspace(
    start: float, end: float, steps: int, *, dtype: torch.dtype | None = None, **options: Any
) -> torch.Tensor:
    """Both ends included."""
    del options
    if steps < 0:
        shapes.refuse(aten.linspace.default, start, end, steps)
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    values = start + step * np.arange(steps, dtype=np.float64)
    values[steps - 1 :] = end if steps > 1 else start
    return torch.from_numpy(values).to(dtype or torch.float32)
