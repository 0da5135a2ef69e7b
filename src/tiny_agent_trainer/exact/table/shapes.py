# SPDX-License-Identifier: Apache-2.0
"""Shapes and dims of operands, checked as torch checks them: kernels trust what they are given."""

from collections.abc import Sequence
from typing import Any, NoReturn


def refuse(operation: Any, *operands: Any, **named: Any) -> NoReturn:
    """Let torch's own operation say what does not fit.

    Raises:
        RuntimeError: In torch's words; also where torch itself would accept it.
    """
    operation(*operands, **named)
    message = f"{operation} with operands of these shapes or types"
    raise RuntimeError(message)


def dim_of(dim: int, rank: int) -> int:
    """A dim counted from 0; a tensor without dims counts as a vector of one value.

    Raises:
        IndexError: There is no such dim.
    """
    most = max(rank, 1)
    if not -most <= dim < most:
        message = (
            f"Dimension out of range (expected to be in range of [{-most}, {most - 1}], "
            f"but got {dim})"
        )
        raise IndexError(message)
    return dim % most


def dims_of(dims: Sequence[int] | None, rank: int) -> list[int]:
    """Dims in ascending order, all of them where none is named.

    Raises:
        IndexError: There is no such dim.
        RuntimeError: One is named twice.
    """
    if not dims:
        return list(range(rank))
    found = sorted(dim_of(dim, rank) for dim in dims)
    if len(set(found)) < len(found):
        message = f"a dim appears multiple times in the list of dims: {list(dims)}"
        raise RuntimeError(message)
    return found
