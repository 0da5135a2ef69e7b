# SPDX-License-Identifier: Apache-2.0
"""How threads that wait inside compiled code are given a kernel, without Python and its lock.

The threads of a team share `state`, int64, whose elements lie on cache lines of their own. A caller
writes there where the code of a kernel and its arguments are, and makes the number of the launch
odd; whoever waits and sees this comes in, and the caller, when it has done its part, makes the
number even and waits until nobody is in. One that comes too late finds an even number, or another.
Both sides change first and look afterwards, so that one of them sees the other.
"""

import functools
import hashlib
import types as python_types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tiny_agent_trainer.exact.kernels import atomics
from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel

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

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
_CODE_TYPE = ir.FunctionType(_I32, [_BYTES])


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


def launched(*_: Any) -> None:
    """What a launcher launches; bound anew in every one."""
    raise NotImplementedError


def code_and_arguments(*_: Any) -> tuple[int, int]:
    """`_of_all` or `_of_parts`; bound anew in every launcher."""
    raise NotImplementedError


@functools.cache
def launcher_of(function: Callable[..., None], *, in_parts: bool) -> Callable[..., None]:
    """A kernel that calls another on all threads that wait, and on its own.

    Args:
        function: Compiled.
        in_parts: Whether it is `function(start, stop, ...)`; else all threads call it alike.

    Returns:
        `(state, *arguments)`, or `(state, counter, parts, count, *arguments)`, which calls the
        function with the bounds of parts of `range(count)`. It is kept where the digest of this
        room covers the function.

    Raises:
        MemoryError: From the kernel that is made, where a thread had no memory.
    """
    addresses = _of_parts if in_parts else _of_all
    names = globals() | {"launched": function, "code_and_arguments": addresses}
    made = python_types.FunctionType(_launch.__code__, names, "launch")
    bound = function.py_func  # type: ignore[attr-defined]
    made.__qualname__ = f"launch-{in_parts}-{bound.__module__}-{bound.__qualname__}"
    if not bound.__module__.startswith(__package__):
        return inlined(made)

    def before_load(kinds: tuple[Any, ...]) -> None:
        _link(function, in_parts, tuple(kinds[1]))

    return kernel(made, before_load=before_load)


def _launch(state: Any, *arguments: Any) -> None:
    code, place = code_and_arguments(launched, arguments)
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


@dataclass(frozen=True, slots=True)
class _Linked:
    """A kernel for some types of arguments, as code of other launchers finds it.

    Attributes:
        symbol: Under which LLVM knows its address.
        signature: With `*arguments` as one tuple.
        plain: Arguments before those.
    """

    symbol: str
    signature: Any
    plain: int

    def call(self, context: Any, builder: Any, values: list[Any]) -> Any:
        """Whether it fails."""
        kinds, result = self.signature.args, self.signature.return_type
        if len(kinds) > self.plain:
            rest = context.make_tuple(builder, kinds[self.plain], values[self.plain :])
            values = [*values[: self.plain], rest]
        kind = context.call_conv.get_function_type(result, kinds)
        code = cgutils.get_or_insert_function(builder.module, kind, self.symbol)
        status, _ = context.call_conv.call_function(builder, code, result, kinds, values)
        return status.is_error


def _link(function: Any, in_parts: bool, kinds: tuple[Any, ...]) -> _Linked:
    """Compile or load a kernel for the types of a launcher's arguments, and name it to LLVM.

    A launcher does not contain the code of its kernel, which would be compiled twice.
    """
    if in_parts:
        kinds = (types.int64, types.int64, *kinds[3:])
    signature = numba.typeof(function).get_call_type(function.typingctx, kinds, {})
    compiled = function.get_compile_result(signature)
    bound = function.py_func
    text = f"{bound.__module__}.{bound.__qualname__}{signature.args}"
    if not bound.__module__.startswith(__package__):
        text += str(id(function))
    symbol = f"tiny_agent_trainer.{hashlib.sha256(text.encode()).hexdigest()}"
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(symbol, address)
    return _Linked(symbol, signature, bound.__code__.co_argcount)


def _addresses(*, in_parts: bool) -> Callable[..., Any]:
    @intrinsic
    def code_and_arguments(_context: Any, function: Any, arguments: Any) -> Any:
        """Addresses of code that calls a kernel with the arguments, and of these.

        They lie in the frame of the caller, which has to stay until nobody is in.
        """
        kinds = tuple(arguments)
        linked = _link(function.dispatcher, in_parts, kinds)

        def generate(context: Any, builder: Any, wanted: Any, values: Any) -> Any:
            packed = values[1]
            place = cgutils.alloca_once(builder, packed.type)
            builder.store(packed, place)
            module = builder.module
            code = ir.Function(module, _CODE_TYPE, module.get_unique_name("launched"))
            code.linkage = "internal"
            inside = ir.IRBuilder(code.append_basic_block("entry"))
            loaded = inside.load(inside.bitcast(code.args[0], packed.type.as_pointer()))
            unpacked = [inside.extract_value(loaded, number) for number in range(len(kinds))]
            if in_parts:
                counter = context.make_array(kinds[0])(context, inside, unpacked[0]).data
                _write_parts(context, inside, linked, counter, unpacked[1:])
            else:
                failed = linked.call(context, inside, unpacked)
                inside.ret(inside.zext(failed, _I32))
            found = [builder.ptrtoint(value, _I64) for value in (code, place)]
            return context.make_tuple(builder, wanted.return_type, found)

        return types.UniTuple(types.int64, 2)(function, arguments), generate

    return code_and_arguments


_of_all, _of_parts = _addresses(in_parts=False), _addresses(in_parts=True)


def _write_parts(
    context: Any, builder: Any, linked: _Linked, counter: Any, values: list[Any]
) -> None:
    """Code that takes parts and does them until there are no more, or one fails."""
    parts, count, *rest = values
    one = ir.Constant(_I64, 1)
    test, body, end = (builder.append_basic_block(name) for name in ("test", "body", "end"))
    builder.branch(test)
    builder.position_at_end(test)
    failed = builder.phi(ir.IntType(1))
    failed.add_incoming(cgutils.false_bit, builder.function.entry_basic_block)
    part = builder.atomic_rmw("add", counter, one, "monotonic")
    is_left = builder.icmp_signed("<", part, parts)
    builder.cbranch(builder.and_(is_left, builder.not_(failed)), body, end)
    builder.position_at_end(body)
    bounds = [
        builder.sdiv(builder.mul(count, number), parts) for number in (part, builder.add(part, one))
    ]
    failed.add_incoming(linked.call(context, builder, [*bounds, *rest]), builder.block)
    builder.branch(test)
    builder.position_at_end(end)
    builder.ret(builder.zext(failed, _I32))


@intrinsic
def _call(_context: Any, code: Any, place: Any) -> Any:
    """Call such code; 0 unless it failed."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function = builder.inttoptr(arguments[0], _CODE_TYPE.as_pointer())
        return builder.call(function, [builder.inttoptr(arguments[1], _BYTES)])

    return types.int32(types.int64, types.int64), generate
