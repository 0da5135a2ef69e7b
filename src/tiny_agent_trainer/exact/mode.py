# SPDX-License-Identifier: Apache-2.0
"""The context in which every tensor operation is looked up in the table, and no other runs."""

import contextlib
from collections.abc import Iterator
from typing import Any, final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import compositions, escapes, places
from tiny_agent_trainer.exact.escapes import Note, Refusal
from tiny_agent_trainer.exact.table import TABLE

_UNDEFINED = frozenset(
    {torch.float16, torch.bfloat16, torch.complex32, torch.complex64, torch.complex128}
)


@final
class ExactMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Sends each ATen call, forward, backward and of the optimiser, to the table.

    Args:
        note: Told of every refused operation, which torch then computes; without it they raise.
    """

    def __init__(self, note: Note | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._note = note

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not to be wrapped against torch's compiler, which costs more than a small operation."""
        return False

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the table's implementation.

        Raises:
            UnsupportedOperationError: The operation is not in the table, or its tensors are of
                half precision.
            NotFiniteError: An operand holds NaN or infinity where a grid or a sum is made.
        """
        del types
        kwargs = kwargs or {}
        try:
            return self._compute(operation, args, kwargs)
        except (errors.NotFiniteError, errors.UnsupportedOperationError) as error:
            if self._note is None:
                raise
            self._note(str(operation), error)
            return operation(*args, **kwargs)

    def _compute(self, operation: Any, args: Any, kwargs: Any) -> Any:
        implementation = TABLE.get(operation)
        if implementation is None:
            return self._decompose(operation, args, kwargs)
        try:
            result = implementation(*args, **kwargs)
        except (errors.NotFiniteError, errors.UnsupportedOperationError) as error:
            raise _placed(error) from None
        _require_defined(operation, result)
        return result

    def _decompose(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Take an operation that torch itself composes of others apart; refuse any other."""
        with self:
            result = operation.decompose(*args, **kwargs)
        if result is NotImplemented:
            raise _refused(operation)
        return result


@contextlib.contextmanager
def arithmetic(note: Note | None = None) -> Iterator[None]:
    """Everything computed inside is exact arithmetic (`docs/promise.md`); may be entered again.

    Args:
        note: Told of refused operations, which are then torch's own; see `survey.py`.

    Raises:
        UnsupportedOperationError: Autocast is on.
    """
    if torch.is_autocast_enabled("cpu"):
        raise errors.UnsupportedOperationError(
            where="exact arithmetic",
            expected="float32 operations",
            found="torch.autocast, which computes in half precision",
            remedy="leave autocast away; exact arithmetic is as fast without it",
        )
    if any(isinstance(mode, ExactMode) for mode in _get_current_dispatch_mode_stack()):
        yield  # a second mode would see what the engines of the first compute with
        return
    with (
        sdpa_kernel(SDPBackend.MATH),
        compositions.replaced(),
        escapes.closed(note),
        ExactMode(note),
    ):
        yield


def _require_defined(operation: Any, result: Any) -> None:
    """Of a tensor, or of those in a tuple or list."""
    if isinstance(result, torch.Tensor):
        if result.dtype in _UNDEFINED or not result.is_cpu:
            raise errors.UnsupportedOperationError(
                where=places.current(),
                expected="float32 tensors on the CPU",
                found=f"{operation} with a result of {result.dtype} on {result.device}",
                remedy="remove the conversion: other types and devices round in an order of theirs",
            )
    elif isinstance(result, tuple | list):
        for value in result:
            _require_defined(operation, value)


def _refused(operation: Any) -> errors.UnsupportedOperationError:
    is_many = "_foreach_" in str(operation) or "_fused_" in str(operation)
    return errors.UnsupportedOperationError(
        where=places.current(),
        expected="an operation that exact arithmetic defines",
        found=str(operation),
        remedy="pass foreach=False and fused=False to the optimiser or the clipping"
        if is_many
        else 'write the layer with other operations, or choose arithmetic = "native"',
    )


def _placed(error: Refusal) -> Refusal:
    return type(error)(
        where=f"{error.where} of {places.current()}",
        expected=error.expected,
        found=error.found,
        remedy=error.remedy,
    )
