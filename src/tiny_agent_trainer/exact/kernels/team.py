# SPDX-License-Identifier: Apache-2.0
"""Threads that share the tasks of a kernel; how many there are cannot change a bit.

All but the calling thread wait inside compiled code, where a kernel reaches them in less than a
microsecond (`launching.py`). They come out for errands of Python: to be visited, or to end.
"""

import functools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

import numpy as np

from tiny_agent_trainer.exact.kernels import launching

_PARTS_OF_THREAD: Final = 4
"""Into so many parts for each thread an iteration is cut, so that all end at nearly one time."""

_PATIENCE: Final = 2000
"""How often a thread that waits gives way before it naps: about a millisecond."""

_Errand: TypeAlias = Callable[[], None] | None


@final
class Team:
    """The calling thread and `threads - 1` that wait for work.

    Args:
        threads: At least 1.

    Guarantees:
        Every task is done exactly once, by whichever thread; kernels write disjoint places or
        are given a place of their own per task. When a call returns, all of its tasks have ended.
        Where several threads call at once, all but one do their work alone.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._state = np.zeros(launching.STATE, np.int64)
        self._errands: list[queue.SimpleQueue[_Errand]] = []
        self._helpers: list[threading.Thread] = []
        patience = _PATIENCE if threads <= len(os.sched_getaffinity(0)) else 0
        for number in range(threads - 1):
            errands: queue.SimpleQueue[_Errand] = queue.SimpleQueue()
            self._errands.append(errands)
            helper = threading.Thread(
                target=_attend, args=(self._state, errands, patience),
                name=f"exact-{number + 1}", daemon=True,
            )  # fmt: skip
            helper.start()
            self._helpers.append(helper)

    def run(self, kernel: Callable[..., None], count: int, *arguments: Any) -> None:
        """Call `kernel(start, stop, *arguments)` on parts of `range(count)`, all at once.

        Raises:
            MemoryError: A thread had no memory.
        """
        parts = min(_PARTS_OF_THREAD * self.threads, count)
        if self.threads == 1 or parts <= 1:
            kernel(0, count, *arguments)
        else:
            launch = launching.launcher_of(kernel, in_parts=True)
            launch(self._state, np.zeros(1, np.int64), parts, count, *arguments)

    def share(self, kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
        """Call `kernel(counter, tasks, *arguments)` on all threads; see `handing_out`.

        Raises:
            MemoryError: A thread had no memory.
        """
        self._launch(kernel, np.zeros(1, np.int64), tasks, *arguments)

    def together(self, kernel: Callable[..., None], phases: int, *arguments: Any) -> None:
        """Call `kernel(progress, *arguments)` on all threads; see `handing_out`.

        Raises:
            MemoryError: A thread had no memory.
        """
        self._launch(kernel, np.zeros((phases, 2), np.int64), *arguments)

    def visit(self, function: Callable[[int], None]) -> None:
        """Call `function(number)` once on each thread, the calling one last.

        Raises:
            BaseException: What a call raised, after all have ended.
        """
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for number, errands in enumerate(self._errands):
            errands.put(functools.partial(_attempt_and_tell, function, number, done))
        launching.call_out(self._state)
        found = [_attempt(function, self.threads - 1)]
        found += [done.get() for _ in self._errands]
        for failure in found:
            if failure is not None:
                raise failure

    def close(self) -> None:
        """Let the other threads end, and wait for it."""
        for errands in self._errands:
            errands.put(None)
        launching.call_out(self._state)
        for helper in self._helpers:
            helper.join()

    def _launch(self, kernel: Callable[..., None], *arguments: Any) -> None:
        if self.threads == 1:
            kernel(*arguments)
        else:
            launching.launcher_of(kernel, in_parts=False)(self._state, *arguments)


def _attend(
    state: "np.typing.NDArray[np.int64]", errands: "queue.SimpleQueue[_Errand]", patience: int
) -> None:
    """What a thread does: launches, and between them errands, of which None is the last."""
    seen = 0
    while True:
        launching.attend(state, seen, patience)
        errand = errands.get()
        if errand is None:
            return
        errand()
        seen += 1


def _attempt_and_tell(
    function: Callable[[int], None],
    number: int,
    done: "queue.SimpleQueue[BaseException | None]",
) -> None:
    done.put(_attempt(function, number))


def _attempt(function: Callable[[int], None], number: int) -> BaseException | None:
    try:
        function(number)
    except BaseException as error:  # noqa: BLE001  # handed to the thread that asked
        return error
    return None
