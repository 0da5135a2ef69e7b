# SPDX-License-Identifier: Apache-2.0
"""Choices of one of two values: maxima, minima and clamping; nothing rounds.

Guarantees:
    Where two operands are 0 and -0, the result is the first; NaN stays NaN, as torch has it.
"""

from collections.abc import Callable
from typing import Any

import torch

from tiny_agent_trainer.exact.kernels import choices
from tiny_agent_trainer.exact.table import launch
from tiny_agent_trainer.exact.table.elementwise import Operand
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten


@implements(aten.maximum.default)
def maximum(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The larger; the first of 0 and -0."""
    if not torch.result_type(x, other).is_floating_point:
        return aten.maximum.default(x, other)
    return launch.narrow(choices.maximum, x, other)


@implements(aten.minimum.default)
def minimum(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The smaller; the first of 0 and -0."""
    if not torch.result_type(x, other).is_floating_point:
        return aten.minimum.default(x, other)
    return launch.narrow(choices.minimum, x, other)


@implements(aten.maximum.out)
def maximum_out(x: torch.Tensor, other: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """Into another tensor."""
    return out.copy_(maximum(x, other))


@implements(aten.minimum.out)
def minimum_out(x: torch.Tensor, other: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """Into another tensor."""
    return out.copy_(minimum(x, other))


@implements(aten.clamp.default)
def clamp(x: torch.Tensor, low: float | None = None, high: float | None = None) -> torch.Tensor:
    """Between two numbers; what equals a bound stays as it is."""
    if not x.is_floating_point():
        return aten.clamp.default(x, low, high)
    function, bounds = _clamping(low, high)
    return launch.narrow(function, x, parameters=bounds)


@implements(aten.clamp_.default)
def clamp_(x: torch.Tensor, low: float | None = None, high: float | None = None) -> torch.Tensor:
    """In place."""
    if not x.is_floating_point():
        return aten.clamp_.default(x, low, high)
    function, bounds = _clamping(low, high)
    return launch.narrow_in_place(function, x, bounds)


@implements(aten.clamp.Tensor)
def clamp_tensor(
    x: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None
) -> torch.Tensor:
    """Between the elements of two tensors."""
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)


@implements(aten.clamp_.Tensor)
def clamp_tensor_(
    x: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None
) -> torch.Tensor:
    """In place."""
    return x.copy_(clamp_tensor(x, low, high))


@implements(aten.clamp_min.default, aten.clamp_min.Tensor)
def clamp_min(x: torch.Tensor, low: Operand) -> torch.Tensor:
    """Not below a bound."""
    return clamp_tensor(x, low) if isinstance(low, torch.Tensor) else clamp(x, low)


@implements(aten.clamp_min_.default, aten.clamp_min_.Tensor)
def clamp_min_(x: torch.Tensor, low: Operand) -> torch.Tensor:
    """In place."""
    return clamp_tensor_(x, low) if isinstance(low, torch.Tensor) else clamp_(x, low)


@implements(aten.clamp_max.default, aten.clamp_max.Tensor)
def clamp_max(x: torch.Tensor, high: Operand) -> torch.Tensor:
    """Not above a bound."""
    return clamp_tensor(x, None, high) if isinstance(high, torch.Tensor) else clamp(x, None, high)


@implements(aten.clamp_max_.default, aten.clamp_max_.Tensor)
def clamp_max_(x: torch.Tensor, high: Operand) -> torch.Tensor:
    """In place."""
    return clamp_tensor_(x, None, high) if isinstance(high, torch.Tensor) else clamp_(x, None, high)


def _clamping(
    low: float | None, high: float | None
) -> tuple[Callable[..., Any], tuple[float, ...]]:
    if low is None:
        return choices.clamp_high, () if high is None else (high,)
    return (choices.clamp_low, (low,)) if high is None else (choices.clamp, (low, high))
