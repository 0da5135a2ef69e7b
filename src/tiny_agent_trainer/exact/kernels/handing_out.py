# SPDX-License-Identifier: Apache-2.0
"""Tasks handed out one by one, so that a thread that comes late or is slow does fewer of them.

A kernel may have several phases, each needing what the one before wrote. Its threads share an array
`progress_P2` of int64, zero at first: tasks taken and tasks told, by phase. Whoever finds no task
left waits until all are told, not until every thread has come: one that never comes is not missed.
"""

from collections.abc import Callable
from typing import Any, Final

from tiny_agent_trainer.exact.kernels import atomics
from tiny_agent_trainer.exact.kernels.compiler import inlined

_CHUNKS: Final = 64
"""Tasks of a phase are handed out in at most so many chunks: each costs an atomic operation."""

_TAKEN: Final = 0
_TOLD: Final = 1


@inlined
def take(counter: Any) -> int:
    """The next number, from 0, of a counter that several threads share: int64 (1,), zero at first.

    Guarantees:
        Every number is given once.
    """
    return atomics.add(counter, _TAKEN, 1)


@inlined
def _tell(phase_2: Any) -> None:
    """Say that a chunk of a phase has ended."""
    atomics.add(phase_2, _TOLD, 1)


@inlined
def _wait(phase_2: Any, chunks: int) -> None:
    """Until all chunks of a phase have ended; what they wrote is then seen."""
    while atomics.load(phase_2, _TOLD) < chunks:
        atomics.give_way()


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
            _tell(phase_2)
            chunk = take(phase_2)
        _wait(phase_2, chunks)

    return share
