# SPDX-License-Identifier: Apache-2.0
"""Threads that share the iterations of a kernel; how many there are cannot change a bit."""

import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, final

_Task: TypeAlias = tuple[Callable[..., None], int, int, tuple[Any, ...], queue.SimpleQueue[Any]]


@final
class Team:
    """The calling thread and `threads - 1` helpers that wait for work.

    Args:
        threads: At least 1.

    Guarantees:
        Every iteration is run exactly once, by whichever thread; kernels write disjoint places or
        are given a place of their own per iteration.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        for number in range(threads - 1):
            name = f"exact-{number + 1}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def run(self, kernel: Callable[..., None], count: int, *arguments: Any) -> None:
        """Call `kernel(start, stop, *arguments)` on parts of `range(count)`, all at once.

        Raises:
            BaseException: What a kernel raised, after all parts have ended.
        """
        parts = min(self.threads, count)
        if parts <= 1:
            if count:
                kernel(0, count, *arguments)
            return
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        bounds = [count * part // parts for part in range(parts + 1)]
        for start, stop in itertools.pairwise(bounds[1:]):
            self._tasks.put((kernel, start, stop, arguments, done))
        failures = [_attempt(kernel, bounds[0], bounds[1], arguments)]
        failures += [done.get() for _ in range(parts - 1)]
        for failure in failures:
            if failure is not None:
                raise failure

    def close(self) -> None:
        """Let the helpers end."""
        for _ in range(self.threads - 1):
            self._tasks.put(None)

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            kernel, start, stop, arguments, done = task
            done.put(_attempt(kernel, start, stop, arguments))


def _attempt(
    kernel: Callable[..., None], start: int, stop: int, arguments: tuple[Any, ...]
) -> BaseException | None:
    try:
        kernel(start, stop, *arguments)
    except BaseException as error:  # noqa: BLE001  # handed to the thread that asked
        return error
    return None
