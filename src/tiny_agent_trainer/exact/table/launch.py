# SPDX-License-Identifier: Apache-2.0
"""How kernels over elements meet tensors: their memory, their layout, their precision.

A result has the strides of its first operand where that is dense, in whatever order of dims, as in
torch; kernels then work on the memory as it lies. Operands laid out otherwise, and broadcast ones,
are copied into that layout first. Neither can change a bit.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import copies, grids, threads
from tiny_agent_trainer.exact.kernels import maps

Function = Callable[..., Any]

_is_dense = torch.ops.aten.is_non_overlapping_and_dense.default

_PRECISIONS: Final[dict[torch.dtype, type[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}

_ALONE: Final = 1 << 12
"""Elements that one thread finishes before another has begun."""


def wide(
    function: Function, *operands: torch.Tensor, parameters: tuple[Any, ...] = ()
) -> torch.Tensor:
    """A function of float64 applied to the elements of float32 tensors, rounded once to float32.

    Args:
        function: From `kernels.functions` or `kernels.formulas`.
        operands: One to three tensors that broadcast together; integers become float32.
        parameters: Further arguments; rounded to float32 first, as torch does.

    Raises:
        UnsupportedOperationError: An operand is float64, or complex.
    """
    require_float32(*operands)
    parameters = tuple(float(np.float32(number)) for number in parameters)
    return _apply(function, operands, parameters, dtype=torch.float32, is_wide=True)


def narrow(
    function: Function, *operands: torch.Tensor, parameters: tuple[Any, ...] = ()
) -> torch.Tensor:
    """A function from `kernels.choices` at the precision of its operands, float32 or float64.

    Args:
        function: From `kernels.choices`.
        operands: One or two tensors that broadcast together.
        parameters: Further arguments; rounded to that precision first.
    """
    first, *others = operands
    dtype = torch.result_type(first, others[0]) if others else first.dtype
    precision = _precision(dtype)
    parameters = tuple(precision(number) for number in parameters)
    return _apply(function, operands, parameters, dtype=dtype, is_wide=False)


def wide_in_place(
    function: Function, x: torch.Tensor, parameters: tuple[Any, ...] = ()
) -> torch.Tensor:
    """`wide`, into its operand, which has to be float32."""
    if x.dtype != torch.float32:
        raise refused(f"a function into a tensor of {x.dtype}")
    parameters = tuple(float(np.float32(number)) for number in parameters)
    return _apply_in_place(function, x, parameters, is_wide=True)


def narrow_in_place(
    function: Function, x: torch.Tensor, parameters: tuple[Any, ...] = ()
) -> torch.Tensor:
    """`narrow`, into its operand."""
    precision = _precision(x.dtype)
    parameters = tuple(precision(number) for number in parameters)
    return _apply_in_place(function, x, parameters, is_wide=False)


def narrow_into(function: Function, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`narrow` of two tensors that `are_alike`, into the first."""
    threads.run(maps.kernel_into(function), x.numel(), memory(x), memory(other), ())
    return x


def are_alike(x: Any, other: Any) -> bool:
    """Whether two tensors are float32, dense, large, and lie in memory in the same way."""
    return (
        isinstance(x, torch.Tensor)
        and isinstance(other, torch.Tensor)
        and x.dtype == other.dtype == torch.float32
        and x.numel() > _ALONE
        and x.shape == other.shape
        and x.stride() == other.stride()
        and _is_dense(x)
    )


def are_apart(x: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors that `are_alike` are one, or share no memory; torch refuses others."""
    distance = abs(x.data_ptr() - other.data_ptr())
    return distance == 0 or distance >= x.numel() * x.element_size()


def require_float32(*operands: torch.Tensor) -> None:
    """Refuse float64 and complex tensors, whose functions have no definition here.

    Raises:
        UnsupportedOperationError: One of them.
    """
    for operand in operands:
        if operand.dtype != torch.float32 and (operand.is_floating_point() or operand.is_complex()):
            raise refused(f"a function of a tensor of {operand.dtype}")


def refused(found: str) -> errors.UnsupportedOperationError:
    """The error for an operation that is known, but not for these operands."""
    return errors.UnsupportedOperationError(
        where="an element-wise operation",
        expected="float32 tensors, and operations that exact arithmetic defines",
        found=found,
        remedy="convert to float32, or write it with other operations",
    )


def as_float(x: torch.Tensor) -> torch.Tensor:
    """Integers as float32, floats as they are."""
    return x if x.is_floating_point() else x.to(torch.float32)


def dense_like(x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    """X with the shape, strides and precision of a dense tensor: itself, or a copy."""
    if x.dtype == layout.dtype and x.shape == layout.shape and x.stride() == layout.stride():
        return x
    is_plain = x.dtype == layout.dtype == torch.float32 and x.shape == layout.shape
    copy = copies.copied if is_plain else torch.Tensor.copy_
    return copy(torch.empty_like(layout), x)


def memory(x: torch.Tensor) -> npt.NDArray[Any]:
    """The elements of a dense tensor in the order of memory, without a copy."""
    return grids.as_array(x.as_strided((x.numel(),), (1,)))


def _precision(dtype: torch.dtype) -> type[Any]:
    if dtype not in _PRECISIONS:
        raise refused(f"a tensor of {dtype}")
    return _PRECISIONS[dtype]


def _apply(
    function: Function,
    operands: tuple[torch.Tensor, ...],
    parameters: tuple[Any, ...],
    *,
    dtype: torch.dtype,
    is_wide: bool,
) -> torch.Tensor:
    out = torch.empty_like(_of_whole_shape(operands), dtype=dtype)
    arrays = [memory(dense_like(operand, out)) for operand in operands]
    kernel = maps.kernel_of(function, len(operands), is_wide=is_wide)
    threads.run(kernel, out.numel(), *arrays, memory(out), parameters)
    return out


def _of_whole_shape(operands: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The first operand that is not broadcast, else a tensor of the shape of the result."""
    first, *others = operands
    if all(other.shape == first.shape for other in others):
        return first
    shape = torch.broadcast_shapes(*(operand.shape for operand in operands))
    found = next((operand for operand in operands if operand.shape == shape), None)
    return torch.empty(shape) if found is None else found


def _apply_in_place(
    function: Function, x: torch.Tensor, parameters: tuple[Any, ...], *, is_wide: bool
) -> torch.Tensor:
    dense = dense_like(x, torch.empty_like(x))
    kernel = maps.kernel_of(function, 0, is_wide=is_wide)
    threads.run(kernel, x.numel(), memory(dense), parameters)
    return x if dense is x else x.copy_(dense)
