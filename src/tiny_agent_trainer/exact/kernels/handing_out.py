# SPDX-License-Identifier: Apache-2.0
"""Tasks handed out one by one, so that a thread that comes late or is slow does fewer of them.

A kernel may have several phases, each needing what the one before wrote. Its threads share an array
`progress_P2` of int64, zero at first: tasks taken and tasks told, by phase. Whoever finds no task
left waits until all are told, not until every thread has come: one that never comes is not missed.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tiny_agent_trainer.exact.kernels.compiler import inlined

_I64 = ir.IntType(64)

_CHUNKS: Final = 64
"""Tasks of a phase are handed out in at most so many chunks: each costs an atomic operation."""


@intrinsic
def take(_context: Any, counter: Any) -> Any:
    """The next number, from 0, of a counter that several threads share: int64 (1,), zero at first.

    Guarantees:
        Every number is given once: reading and adding are one atomic operation.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, _I64(1), "monotonic")

    return types.int64(counter), generate


@intrinsic
def tell(_context: Any, phase_2: Any) -> Any:
    """Say that a task of a phase has ended.

    Guarantees:
        What the task wrote is seen by whoever has waited for it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        told = _told_of(context, builder, signature.args[0], arguments[0])
        return builder.atomic_rmw("add", told, _I64(1), "release")

    return types.int64(phase_2), generate


@inlined
def wait(phase_2: Any, tasks: int) -> None:
    """Until all tasks of a phase have ended."""
    while _told(phase_2) < tasks:
        _yield()


@intrinsic
def _told(_context: Any, phase_2: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        told = _told_of(context, builder, signature.args[0], arguments[0])
        return builder.load_atomic(told, "acquire", align=8)

    return types.int64(phase_2), generate


@intrinsic
def _yield(_context: Any) -> Any:
    """Let another thread have the processor: with more threads than cores it may hold a task."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


def _told_of(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [_I64(1)])


def phase(function: Callable[..., None]) -> Callable[..., None]:
    """A phase of a kernel: `(phase_2, tasks, *arguments)`, called by all threads of the kernel.

    Args:
        function: Compiled; does the tasks from its first argument to before its second.
    """

    @inlined
    def share(phase_2: Any, tasks: int, *arguments: Any) -> None:
        chunks = min(tasks, _CHUNKS)
        chunk = take(phase_2)
        while chunk < chunks:
            function(tasks * chunk // chunks, tasks * (chunk + 1) // chunks, *arguments)
            tell(phase_2)
            chunk = take(phase_2)
        wait(phase_2, chunks)

    return share
