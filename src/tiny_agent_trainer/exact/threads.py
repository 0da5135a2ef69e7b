# SPDX-License-Identifier: Apache-2.0
"""The team of threads that kernels run on; its size is an observation, never part of a result."""

import atexit
import os
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels import team

_SMALL: Final = 1 << 13
"""Values that a thread has read before another can help; where processes outnumber the cores, one
that comes in may moreover be kept from going on."""

_current = team.Team(1)


def _begin_anew() -> None:
    """Have helpers in a forked process, too: those of the team stayed with its parent."""
    global _current  # noqa: PLW0603
    _current = team.Team(_current.threads)


def _end() -> None:
    """No thread may wait in compiled code when that is removed at the end of the process."""
    _current.close()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_end)


def set_threads(threads: int) -> None:
    """Run kernels on this many threads from now on; the calling thread is one of them."""
    global _current  # noqa: PLW0603  # one team per process, like torch's own
    if threads != _current.threads:
        _current.close()
        _current = team.Team(threads)


def get_threads() -> int:
    """How many threads kernels run on."""
    return _current.threads


def run(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call `kernel(start, stop, *arguments)` on parts of `range(count)`, all at once.

    Where no argument is large the calling thread does it alone.
    """
    if _are_small(arguments):
        kernel(0, count, *arguments)
    else:
        _current.run(kernel, count, *arguments)


def share(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call `kernel(counter, count, *arguments)` on all threads, which take tasks one by one."""
    _current.share(kernel, count, *arguments)


def together(kernel: Callable[..., None], phases: int, *arguments: Any) -> None:
    """Call `kernel(progress, *arguments)` on all threads, which do its phases together.

    Where no argument is large the calling thread does it alone.
    """
    if _are_small(arguments):
        kernel(np.zeros((phases, 2), np.int64), *arguments)
    else:
        _current.together(kernel, phases, *arguments)


def visit(function: Callable[[int], None]) -> None:
    """Call `function(number)` once on each thread."""
    _current.visit(function)


def _are_small(arguments: tuple[Any, ...]) -> bool:
    sizes = [argument.size for argument in arguments if isinstance(argument, np.ndarray)]
    return bool(sizes) and max(sizes) <= _SMALL
