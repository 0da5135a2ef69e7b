# SPDX-License-Identifier: Apache-2.0
"""Kernels that apply one function to every element of flat arrays.

A kernel is a copy of one of the loops below in which the names `function` and `number` are bound.
Numba keeps compiled code by qualified name, so each copy has one of its own, and a function is
compiled when it is first used. Iterations are counted without sign: an index that might be
negative would be wrapped around, and loads and stores would no longer be vector instructions.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import kernel
from tiny_agent_trainer.exact.kernels.functions import merged

Kernel: TypeAlias = Callable[..., None]

_BLOCK: Final = 1024
"""Results that wait until they replace what they were made of: where a function may return its
argument, LLVM would jump over single stores instead of computing several elements at once."""


def function(*_: Any) -> Any:
    """What a kernel applies; bound anew in every kernel."""
    raise NotImplementedError


number: Any = np.float64
"""The conversion of what a kernel reads; bound anew in every kernel."""


@merged
def _as_it_is(x: Any) -> Any:
    return x


def _map_one(start: int, stop: int, x_N: Any, out_N: Any, parameters: Any) -> None:
    for place in range(np.uint64(start), np.uint64(stop)):
        out_N[place] = function(number(x_N[place]), *parameters)


def _map_two(start: int, stop: int, x_N: Any, y_N: Any, out_N: Any, parameters: Any) -> None:
    for place in range(np.uint64(start), np.uint64(stop)):
        out_N[place] = function(number(x_N[place]), number(y_N[place]), *parameters)


def _map_three(
    start: int, stop: int, x_N: Any, y_N: Any, z_N: Any, out_N: Any, parameters: Any
) -> None:
    for place in range(np.uint64(start), np.uint64(stop)):
        x, y, z = number(x_N[place]), number(y_N[place]), number(z_N[place])
        out_N[place] = function(x, y, z, *parameters)


def _map_in_place(start: int, stop: int, x_N: Any, parameters: Any) -> None:
    block = np.empty(_BLOCK, x_N.dtype)
    for first in range(start, stop, _BLOCK):
        begin, count = np.uint64(first), np.uint64(min(_BLOCK, stop - first))
        for place in range(count):
            block[place] = function(number(x_N[begin + place]), *parameters)
        for place in range(count):
            x_N[begin + place] = block[place]


def _map_into(start: int, stop: int, x_N: Any, y_N: Any, parameters: Any) -> None:
    for place in range(np.uint64(start), np.uint64(stop)):
        x_N[place] = function(number(x_N[place]), number(y_N[place]), *parameters)


_LOOPS: Final = (_map_in_place, _map_one, _map_two, _map_three)


@functools.cache
def kernel_of(applied: Callable[..., Any], arity: int, *, is_wide: bool) -> Kernel:
    """The kernel `(start, stop, *arrays, out, parameters)` of a function.

    Args:
        applied: Takes `arity` numbers and then the parameters; made by `functions.merged`.
        arity: How many arrays are read; 0 for one that is read and written: LLVM would not
            vectorise a loop over two arrays that turn out to be one.
        is_wide: Whether it takes float64 and its result is rounded when it is stored; else it works
            at the precision of the arrays.
    """
    return _made(_LOOPS[arity], applied, is_wide=is_wide)


@functools.cache
def kernel_into(applied: Callable[..., Any]) -> Kernel:
    """The kernel `(start, stop, x, y, parameters)` that writes its results into x."""
    return _made(_map_into, applied, is_wide=False)


def _made(loop: Any, applied: Callable[..., Any], *, is_wide: bool) -> Kernel:
    names = globals() | {
        "function": applied,
        "number": np.float64 if is_wide else _as_it_is,
    }
    made = types.FunctionType(loop.__code__, names, applied.__name__)
    module = applied.__module__.rpartition(".")[2]
    made.__qualname__ = (
        f"{loop.__name__}-{module}-{applied.__name__}-{'wide' if is_wide else 'narrow'}"
    )
    return kernel(made)
