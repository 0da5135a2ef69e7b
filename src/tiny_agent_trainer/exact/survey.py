# SPDX-License-Identifier: Apache-2.0
"""Everything in a network that exact arithmetic would refuse, not only what it meets first."""

import contextlib
import dataclasses
from collections.abc import Iterator

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import escapes, mode, places


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """An operation without an exact definition.

    Attributes:
        operation: ATen's name of it.
        place: The module that called it, with its path.
        reason: Where the operation has a definition for other operands: what these are.
    """

    operation: str
    place: str
    reason: str = ""


@contextlib.contextmanager
def recording() -> Iterator[list[Refusal]]:
    """Exact arithmetic that notes what it would refuse, each once, and lets torch compute it.

    NaN and infinity pass: they may come from an operation that torch computed.

    Raises:
        UnsupportedOperationError: Autocast is on.
    """
    found: list[Refusal] = []

    def note(operation: str, error: escapes.Refusal) -> None:
        if isinstance(error, errors.NotFiniteError):
            return
        reason = "" if error.found == operation else error.found
        refusal = Refusal(operation, places.current(), reason)
        if refusal not in found:
            found.append(refusal)

    with mode.arithmetic(note):
        yield found
