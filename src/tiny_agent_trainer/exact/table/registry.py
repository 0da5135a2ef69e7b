# SPDX-License-Identifier: Apache-2.0
"""Which function computes which ATen operation."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import torch

Operation: TypeAlias = torch._ops.OpOverload
Implementation: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])

TABLE: Final[dict[Operation, Implementation]] = {}
"""Filled by the other modules of this room when they are imported."""


def implements(*operations: Operation) -> Callable[[F], F]:
    """Enter a function for operations; it is called with the operation's own arguments."""

    def enter(function: F) -> F:
        for operation in operations:
            if operation in TABLE:
                message = f"{operation} is in the table twice"
                raise ValueError(message)
            TABLE[operation] = function
        return function

    return enter


def runs_natively(*operations: Operation) -> None:
    """Enter operations whose native result is already defined bit by bit.

    These move data, or compute one IEEE-754 operation per element.
    """
    for operation in operations:
        implements(operation)(operation)
