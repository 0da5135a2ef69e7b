# SPDX-License-Identifier: Apache-2.0
"""Tensors that torch makes without values: what lay in memory before would be their content.

They hold NaN, or the largest integer, so that what is never written is refused where it is used.
"""

import math
from typing import Any

import torch

from tiny_agent_trainer.exact.table.registry import Operation, implements

aten = torch.ops.aten


def _enter(operation: Operation) -> None:
    @implements(operation)
    def make(*arguments: Any, **named: Any) -> torch.Tensor:
        out = operation(*arguments, **named)
        return out.fill_(_marker(out.dtype))


def _marker(dtype: torch.dtype) -> float:
    if dtype == torch.bool:
        return True
    return math.nan if dtype.is_floating_point or dtype.is_complex else torch.iinfo(dtype).max


for _operation in (
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_strided.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
):
    _enter(_operation)
