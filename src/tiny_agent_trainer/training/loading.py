# SPDX-License-Identifier: Apache-2.0
"""Batches that are prepared by other threads while a step is under way.

A batch is a function of its epoch and samples, so it does not matter who prepares it, and when. The
threads' work is numpy's and compiled kernels', which hold no lock of Python for most of the time.
"""

import collections
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.config.engine import EngineSection
from tiny_agent_trainer.tokenizer.batches import Batch, Feed

_AHEAD_PER_WORKER: Final = 2
"""Batches of each thread that wait to be used."""

_Order = tuple[int, npt.NDArray[np.int64]]


@final
class Loader:
    """Brings training batches; as a context it ends its threads.

    Args:
        feed: What prepares a batch.
        engine: `loader_workers`, `batch_size` and `epochs`.

    Guarantees:
        Every batch has the bits that `feed.training_batch` gives it. At most two batches per thread
        are held. What a thread raises is raised where its batch is asked for.
    """

    def __init__(self, feed: Feed, engine: EngineSection) -> None:
        self._feed, self._engine = feed, engine
        self._waiting: collections.deque[tuple[_Order, Future[Batch]]] = collections.deque()
        self._plan: Iterator[_Order] = iter(())
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        count = self._engine.loader_workers
        if count:
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="loader")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._threads:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._threads = None
        self._waiting.clear()

    def training_batch(self, epoch: int, chosen: npt.NDArray[np.int64]) -> Batch:
        """The batch of chosen samples in an epoch; those that follow it are begun."""
        if self._threads is None:
            return self._feed.training_batch(epoch, chosen)
        if not self._is_next(epoch, chosen):
            self._start_over(epoch, chosen)
            self._fill()
        if not self._is_next(epoch, chosen):
            return self._feed.training_batch(epoch, chosen)
        _, future = self._waiting.popleft()
        self._fill()
        return future.result()

    def _is_next(self, epoch: int, chosen: npt.NDArray[np.int64]) -> bool:
        return bool(self._waiting) and _is_same(self._waiting[0][0], (epoch, chosen))

    def _start_over(self, epoch: int, chosen: npt.NDArray[np.int64]) -> None:
        """Plan from this batch on, as after a resume; an unknown one leaves nothing planned."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        plan = self._orders(epoch)
        for order in plan:
            if order[0] != epoch:
                break
            if _is_same(order, (epoch, chosen)):
                self._submit(order)
                self._plan = plan
                return
        self._plan = iter(())

    def _orders(self, epoch: int) -> Iterator[_Order]:
        """Every batch from the beginning of an epoch to the end of training."""
        size = self._engine.batch_size
        for number in range(epoch, self._engine.epochs + 1):
            order = self._feed.training_order(number)
            for start in range(0, len(order), size):
                yield number, order[start : start + size]

    def _fill(self) -> None:
        while len(self._waiting) < _AHEAD_PER_WORKER * self._engine.loader_workers:
            order = next(self._plan, None)
            if order is None:
                return
            self._submit(order)

    def _submit(self, order: _Order) -> None:
        if self._threads is not None:
            future = self._threads.submit(self._feed.training_batch, *order)
            self._waiting.append((order, future))


def _is_same(one: _Order, other: _Order) -> bool:
    return one[0] == other[0] and np.array_equal(one[1], other[1])
