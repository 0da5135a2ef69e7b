# SPDX-License-Identifier: Apache-2.0
"""Threads that share the iterations of a kernel; how many there are cannot change a bit."""

import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a kernel, and where its end is told."""

    kernel: Callable[..., None]
    arguments: tuple[Any, ...]
    done: "queue.SimpleQueue[BaseException | None]"

    def attempt(self) -> BaseException | None:
        """Carry it out; what it raised is for the thread that asked."""
        try:
            self.kernel(*self.arguments)
        except BaseException as error:  # noqa: BLE001  # handed to the thread that asked
            return error
        return None


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
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        for number in range(threads - 1):
            name = f"exact-{number + 1}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def run(self, kernel: Callable[..., None], count: int, *arguments: Any) -> None:
        """Call `kernel(start, stop, *arguments)` on parts of `range(count)`, all at once.

        Raises:
            BaseException: What a kernel raised, after all parts have ended.
        """
        parts = min(self.threads, count)
        bounds = [count * part // parts for part in range(parts + 1)] if parts else []
        self._carry_out(kernel, [(*pair, *arguments) for pair in itertools.pairwise(bounds)])

    def share(self, kernel: Callable[..., None], count: int, *arguments: Any) -> None:
        """Call `kernel(counter, count, *arguments)` on all threads; see `handing_out`.

        Raises:
            BaseException: What a kernel raised, after all threads have ended.
        """
        counter = np.zeros(1, np.int64)
        calls = [(counter, count, *arguments)] * min(self.threads, count)
        self._carry_out(kernel, calls)

    def together(self, kernel: Callable[..., None], phases: int, *arguments: Any) -> None:
        """Call `kernel(progress, *arguments)` on all threads; see `handing_out`.

        It returns when the calling thread has: all tasks have then ended, whoever did them.
        """
        progress = np.zeros((phases, 2), np.int64)
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for _ in range(self.threads - 1):
            self._waiting.put(_Call(kernel, (progress, *arguments), done))
        try:
            kernel(progress, *arguments)
        finally:
            while self._not_begun(done) is not None:
                pass

    def visit(self, function: Callable[[int], None]) -> None:
        """Call `function(number)` once on each thread, the calling one last.

        Raises:
            BaseException: What a call raised, after all have ended.
        """
        together = threading.Barrier(self.threads)

        def wait_and_call(number: int) -> None:
            together.wait()  # so that no thread takes a second call
            function(number)

        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for number in range(self.threads - 1):
            self._waiting.put(_Call(wait_and_call, (number,), done))
        own = _Call(wait_and_call, (self.threads - 1,), done).attempt()
        _raise_first([own, *(done.get() for _ in range(self.threads - 1))])

    def close(self) -> None:
        """Let the helpers end."""
        for _ in range(self.threads - 1):
            self._waiting.put(None)

    def _carry_out(self, kernel: Callable[..., None], calls: list[tuple[Any, ...]]) -> None:
        """Offer all calls to the helpers but the first, and do what none of them has begun."""
        if len(calls) == 1:
            kernel(*calls[0])
            return
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        made = [_Call(kernel, arguments, done) for arguments in calls]
        for call in made[1:]:
            self._waiting.put(call)
        failures = [call.attempt() for call in made[:1]]
        while (left := self._not_begun(done)) is not None:
            failures.append(left.attempt())
        failures += [done.get() for _ in range(len(made) - len(failures))]
        _raise_first(failures)

    def _not_begun(self, done: "queue.SimpleQueue[BaseException | None]") -> _Call | None:
        """Take a call back that no helper has begun; another caller's is left to the helpers."""
        try:
            call = self._waiting.get_nowait()
        except queue.Empty:
            return None
        if call is not None and call.done is done:
            return call
        self._waiting.put(call)
        return None

    def _serve(self) -> None:
        while (call := self._waiting.get()) is not None:
            call.done.put(call.attempt())


def _raise_first(failures: list[BaseException | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure
