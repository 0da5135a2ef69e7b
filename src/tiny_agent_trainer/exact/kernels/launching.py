# SPDX-License-Identifier: Apache-2.0
"""How threads that wait inside compiled code are given a kernel, without Python and its lock.

The threads of a team share `state`, int64, whose elements lie on cache lines of their own. A caller
writes there where the code of a kernel and its arguments are, and makes the number of the launch
odd; whoever waits and sees this comes in, and the caller, when it has done its part, makes the
number even and waits until nobody is in. One that comes too late finds an even number, or another.
Both sides change first and look afterwards, so that one of them sees the other.
"""

import functools
import inspect
import types as python_types
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tiny_agent_trainer.exact.kernels import atomics
from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel
from tiny_agent_trainer.exact.kernels.handing_out import take

LAUNCH: Final = 0
"""Number of the launch; odd while threads may come in."""

INSIDE: Final = 8
"""Threads that are in."""

CALLERS: Final = 16
"""Who wants to launch; all but the first do their work alone."""

FAILED: Final = 24
"""Threads whose call failed."""

ERRANDS: Final = 32
"""Errands that Python has for every thread that waits; see `team.py`."""

_CODE: Final = 40
_ARGUMENTS: Final = 41

STATE: Final = 48
"""Elements of `state`."""

_NAP: Final = 50
"""Microseconds that a thread sleeps whose patience has ended, and then looks again."""

_LONG_NAP: Final = 1000
_MANY_NAPS: Final = 1000
"""After so many naps they become long: nothing is being computed."""

_BYTES = ir.IntType(8).as_pointer()
_CODE_TYPE = ir.FunctionType(ir.IntType(32), [_BYTES])


@kernel
def attend(state: Any, errands: int, patience: int) -> None:
    """Take part in every launch, until there are other than so many errands.

    Args:
        state: See above.
        errands: That this thread has seen.
        patience: How often a thread that waits gives way before it naps.
    """
    done, idle = 0, 0
    while atomics.load(state, ERRANDS) == errands:
        launch = atomics.load(state, LAUNCH)
        if launch % 2 == 1 and launch != done:
            _come_in(state, launch)
            done, idle = launch, 0
        elif idle < patience:
            atomics.give_way()
            idle += 1
        else:
            atomics.sleep(_NAP if idle < patience + _MANY_NAPS else _LONG_NAP)
            idle += 1


@inlined
def _come_in(state: Any, launch: int) -> None:
    atomics.add(state, INSIDE, 1)
    if atomics.load(state, LAUNCH) == launch and _call(state[_CODE], state[_ARGUMENTS]) != 0:
        atomics.add(state, FAILED, 1)
    atomics.add(state, INSIDE, -1)


@kernel
def call_out(state: Any) -> None:
    """Every thread that waits has one more errand."""
    atomics.add(state, ERRANDS, 1)


def body(*_: Any) -> None:
    """What a launcher launches; bound anew in every one."""
    raise NotImplementedError


def tasks_body(*_: Any) -> None:
    """What `_hand_parts_out` hands out; bound anew in every kernel."""
    raise NotImplementedError


@functools.cache
def launcher_of(launched: Callable[..., None]) -> Callable[..., None]:
    """The kernel `(state, *arguments)` that calls a kernel on all threads that wait, and its own.

    Raises:
        MemoryError: From the kernel that is made, where a thread had no memory.
    """
    return _made(_launch, launched, "body", "launch")


@functools.cache
def in_parts(function: Callable[..., None]) -> Callable[..., None]:
    """The kernel `(counter, parts, count, *arguments)` that hands `range(count)` out in parts."""
    return _made(_hand_parts_out, function, "tasks_body", "parts")


def _launch(state: Any, *arguments: Any) -> None:
    code, place = _code_and_arguments(body, arguments)
    is_first = atomics.add(state, CALLERS, 1) == 0
    if is_first:
        state[_CODE], state[_ARGUMENTS] = code, place
        atomics.add(state, LAUNCH, 1)
    failed = _call(code, place) != 0
    if is_first:
        atomics.add(state, LAUNCH, 1)
        while atomics.load(state, INSIDE) != 0:
            atomics.give_way()
        failed |= atomics.load(state, FAILED) != 0
        atomics.store(state, FAILED, 0)
    atomics.add(state, CALLERS, -1)
    if failed:
        raise MemoryError("a kernel had no memory for what lies between its steps")


def _hand_parts_out(counter: Any, parts: int, count: int, *arguments: Any) -> None:
    part = take(counter)
    while part < parts:
        tasks_body(count * part // parts, count * (part + 1) // parts, *arguments)
        part = take(counter)


def _made(form: Any, bound: Any, name: str, prefix: str) -> Callable[..., None]:
    """A kernel from one of the forms above, in which a name is bound.

    Numba keeps compiled code by qualified name, so each has one of its own. What is made of
    functions from elsewhere is not kept: the digest of this room does not cover them.
    """
    names = globals() | {name: bound}
    made = python_types.FunctionType(form.__code__, names, prefix)
    function = bound.py_func
    made.__qualname__ = f"{prefix}-{function.__module__}-{function.__qualname__}"
    return kernel(made) if function.__module__.startswith(__package__) else inlined(made)


@intrinsic
def _code_and_arguments(context: Any, launched: Any, arguments: Any) -> Any:
    """Addresses of code that calls a kernel with the arguments, and of these.

    They lie in the frame of the caller, which has to stay until nobody is in.
    """
    kinds = tuple(arguments)
    signature = launched.get_call_type(context, kinds, {})
    compiled = launched.dispatcher.get_compile_result(signature)

    def generate(context: Any, builder: Any, wanted: Any, values: Any) -> Any:
        packed = values[1]
        context.active_code_library.add_linking_library(compiled.library)
        place = cgutils.alloca_once(builder, packed.type)
        builder.store(packed, place)
        module = builder.module
        code = ir.Function(module, _CODE_TYPE, module.get_unique_name("launched"))
        code.linkage = "internal"
        inside = ir.IRBuilder(code.append_basic_block("entry"))
        loaded = inside.load(inside.bitcast(code.args[0], packed.type.as_pointer()))
        unpacked = [inside.extract_value(loaded, number) for number in range(len(kinds))]
        unpacked = _folded(context, inside, launched.dispatcher.py_func, signature.args, unpacked)
        status, _ = context.call_internal_no_propagate(inside, compiled.fndesc, signature, unpacked)
        inside.ret(inside.zext(status.is_error, ir.IntType(32)))
        addresses = [builder.ptrtoint(value, ir.IntType(64)) for value in (code, place)]
        return context.make_tuple(builder, wanted.return_type, addresses)

    return types.UniTuple(types.int64, 2)(launched, arguments), generate


def _folded(context: Any, builder: Any, function: Any, kinds: Any, values: list[Any]) -> list[Any]:
    """The values as a kernel takes them: those of `*arguments` are one tuple."""
    if not function.__code__.co_flags & inspect.CO_VARARGS:
        return values
    plain = function.__code__.co_argcount
    return [*values[:plain], context.make_tuple(builder, kinds[plain], values[plain:])]


@intrinsic
def _call(_context: Any, code: Any, place: Any) -> Any:
    """Call such code; 0 unless it failed."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function = builder.inttoptr(arguments[0], _CODE_TYPE.as_pointer())
        return builder.call(function, [builder.inttoptr(arguments[1], _BYTES)])

    return types.int32(types.int64, types.int64), generate
