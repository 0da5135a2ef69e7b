# SPDX-License-Identifier: Apache-2.0
"""Workers on one machine, joined by torch.distributed's gloo.

Source:
    torch.distributed: gloo reduces int32 and int64 on CPU; which worker adds first is of no
    consequence to maxima and sums of integers.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, final

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch.utils._python_dispatch import _disable_current_modes

from tiny_agent_trainer import clock, errors
from tiny_agent_trainer.training import loading, step
from tiny_agent_trainer.training.group import AbstractGroup, StepOrder

_PATIENCE: Final = clock.days(30)
"""A follower waits this long for the leader, who may validate; a dead one is noticed at once."""

_MINUTES_TO_JOIN: Final = 10
"""All are ready when they join; who is not there by then is lost."""

_STOP, _GO_ON = 0, 1

Integer = TypeVar("Integer", np.int32, np.int64)


@final
class GlooGroup(AbstractGroup):
    """A member of a group.

    Args:
        rank: Of this worker.
        size: How many there are; all of them have to join.
        meeting_place: A file in a directory that all reach.

    Raises:
        WorkerError: The others cannot be joined.
    """

    def __init__(self, rank: int, size: int, meeting_place: Path) -> None:
        self.rank, self.size = rank, size
        try:
            store = torch.distributed.FileStore(str(meeting_place), size)  # type: ignore[attr-defined]
            store.set_timeout(clock.minutes(_MINUTES_TO_JOIN))
            torch.distributed.init_process_group(
                "gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE
            )
        except RuntimeError as error:
            raise lost(str(error)) from error

    def announce(self, order: StepOrder | None) -> None:
        """Tell the followers, or hear it as one of them with `listen`."""
        if order is None:
            self._broadcast(np.array([_STOP, 0, 0, 0, 0], np.int64))
            return
        rate = int(np.float64(order.rate).view(np.int64))
        head = [_GO_ON, order.epoch, order.number, rate, len(order.chosen)]
        self._broadcast(np.array(head, np.int64))
        self._broadcast(order.chosen.astype(np.int64))

    def listen(self) -> StepOrder | None:
        """As follower: the next step, or None when the work is done."""
        word, epoch, number, rate, count = self._broadcast(np.zeros(5, np.int64)).tolist()
        if word == _STOP:
            return None
        chosen = self._broadcast(np.zeros(count, np.int64))
        lr = float(np.int64(rate).view(np.float64))
        return StepOrder(epoch=epoch, number=number, rate=lr, chosen=chosen)

    def share(self, tensors: list[torch.Tensor]) -> None:
        """See the base class."""
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            self._carry_out(functools.partial(torch.distributed.broadcast, whole, 0))
            tensor.detach().copy_(whole)

    def maximum(self, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """See the base class."""
        return self._reduce(values, is_sum=False)

    def add(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """See the base class."""
        return self._reduce(values, is_sum=True)

    def leave(self) -> None:
        """End the membership."""
        torch.distributed.destroy_process_group()

    def _broadcast(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        tensor = torch.from_numpy(values)
        self._carry_out(lambda: torch.distributed.broadcast(tensor, 0))
        return values

    def _reduce(self, values: npt.NDArray[Integer], *, is_sum: bool) -> npt.NDArray[Integer]:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        how = torch.distributed.ReduceOp.SUM if is_sum else torch.distributed.ReduceOp.MAX
        self._carry_out(lambda: torch.distributed.all_reduce(tensor, how))
        result: npt.NDArray[Integer] = tensor.numpy()
        return result

    def _carry_out(self, collective: Callable[[], object]) -> None:
        try:
            with _disable_current_modes():
                collective()
        except RuntimeError as error:
            raise lost(str(error)) from error


def follow(parts: step.StepParts, group: GlooGroup) -> None:
    """Carry out what the leader announces, until the work is done."""
    with parts.arithmetic.context(), loading.Loader(parts.feed, parts.engine) as loader:
        while (order := group.listen()) is not None:
            step.carry_out(parts, order, loader.training_batch(order.epoch, order.chosen))


def lost(found: str) -> errors.WorkerError:
    """The error for a worker that is gone."""
    return errors.WorkerError(
        where="[engine] workers",
        expected="all workers at work",
        found=found,
        remedy="look at what the lost worker said; then continue with --resume",
    )
