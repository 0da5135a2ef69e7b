# SPDX-License-Identifier: Apache-2.0
"""Ways around the table, closed while exact arithmetic is on.

The table sees what torch dispatches in the thread that trains. What a network computes in numpy,
in C++, in compiled code or in a thread of its own is out of its sight, so the doors are watched:
values of floats that leave torch, addresses, `autograd.Function`s, `torch.compile`, TorchScript,
new threads.

Not claimed: single numbers (`.item()`, `float(x)`) and integers may leave, as MONAI's losses need
it; a network that computes with them in Python answers for them.
"""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import places

Refusal: TypeAlias = errors.NotFiniteError | errors.UnsupportedOperationError
Note: TypeAlias = Callable[[str, Refusal], None]

_READS: Final = ("numpy", "tolist", "__dlpack__", "apply_", "map_")
"""Methods of a tensor that hand its values to somebody else."""

_ADDRESSES: Final = ("data_ptr", "untyped_storage")
"""Methods that tell where it lies, which is another place in every run."""

_TRUSTED: Final = ("torch.", "monai.")
"""Whose `autograd.Function`s are made of operations that the table sees."""

_SCRIPTS: Final = (torch._C.ScriptFunction, torch._C.ScriptMethod)

_COMPILER: Final = "torch._dynamo.eval_frame"


@contextlib.contextmanager
def closed(note: Note | None) -> Iterator[None]:
    """Refuse them inside.

    Args:
        note: Told of every refusal, after which the network gets its way; else they raise.
    """
    function = torch.autograd.function
    with contextlib.ExitStack() as stack:
        watch = functools.partial(_watched, stack, note)
        for name in _READS:
            watch(torch.Tensor, name, _is_reading)
        for name in _ADDRESSES:
            watch(torch.Tensor, name, _is_network_calling)
        watch(threading.Thread, "start", _is_network_calling)
        watch(torch, "compile", _is_seen)
        for kind in _SCRIPTS:
            watch(kind, "__call__", _is_seen)
        if _COMPILER in sys.modules:
            compiler = sys.modules[_COMPILER]
            _replace(stack, compiler, "_callback_from_stance", _uncompiled(compiler, note))
        watch(function, "custom_function_call", _is_untrusted)  # those that vmap calls
        apply = torch._C._FunctionBase.__dict__["apply"]  # below what users keep of theirs
        _replace(stack, function._SingleLevelFunction, "apply", _applying(apply, note))
        yield


def _applying(original: Any, note: Note | None) -> Any:
    def apply(function: Any, *arguments: Any, **named: Any) -> Any:
        if _is_untrusted(function):
            _refuse(_words_of(function), note)
        return original.__get__(None, function)(*arguments, **named)

    return classmethod(apply)


def _uncompiled(compiler: Any, note: Note | None) -> Callable[..., Any]:
    """What is asked by whoever calls compiled code, also code that was compiled before."""
    original = compiler._callback_from_stance

    def callback_of(callback: Any) -> Any:
        if callback in (None, False) or not _is_seen():
            return original(callback)
        _refuse(_words_of(), note)
        return None  # as it stands in Python

    return callback_of


def _watched(
    stack: contextlib.ExitStack,
    note: Note | None,
    owner: Any,
    name: str,
    is_refused: Callable[..., bool],
) -> None:
    """Have a function, or a method of a class, asked whether its first operand is refused."""
    original = getattr(owner, name)

    def watch(*operands: Any, **named: Any) -> Any:
        if is_refused(*operands[:1]):
            found = f"Tensor.{name}" if owner is torch.Tensor else _words_of(*operands[:1])
            _refuse(found, note)
        return original(*operands, **named)

    _replace(stack, owner, name, watch)


def _replace(stack: contextlib.ExitStack, owner: Any, name: str, replacement: Any) -> None:
    """Set an attribute of a class or module until the stack is left."""
    if name in vars(owner):
        stack.callback(setattr, owner, name, vars(owner)[name])
    else:
        stack.callback(delattr, owner, name)
    setattr(owner, name, replacement)


def _is_seen(*_: Any) -> bool:
    """Whether exact arithmetic is on in this thread, and this is not the table at work."""
    return bool(torch._C._len_torch_dispatch_stack())


def _is_network_calling(*_: Any) -> bool:
    """Whether a forward or backward pass is."""
    if not _is_seen():
        return False
    return torch._C._current_graph_task_id() != -1 or places.current() != places.OUTSIDE


def _is_reading(x: torch.Tensor) -> bool:
    return _is_seen() and x.is_floating_point() and _is_network_calling()


def _is_untrusted(function: Any) -> bool:
    return not function.__module__.startswith(_TRUSTED)


def _words_of(called: Any = None) -> str:
    if isinstance(called, threading.Thread):
        return "a thread of its own"
    if isinstance(called, type) and issubclass(called, torch.autograd.Function):
        return f"the autograd.Function {called.__module__}.{called.__qualname__}"
    return f"code compiled by {'TorchScript' if isinstance(called, _SCRIPTS) else 'torch.compile'}"


def _refuse(found: str, note: Note | None) -> None:
    error = errors.UnsupportedOperationError(
        where=places.current(),
        expected="operations that the table sees",
        found=found,
        remedy='write it with torch operations, uncompiled, or choose arithmetic = "native"',
    )
    if note is None:
        raise error
    note(found, error)
