# SPDX-License-Identifier: Apache-2.0
"""The workers of a training: who computes which shards, and how results come together.

Worker 0 leads: it says what is next, watches, validates and writes. The others follow. Reductions
are maxima and sums of integers, so that no order of workers can change a bit.
"""

import abc
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOrder:
    """What every worker needs to know of a step.

    Attributes:
        epoch: From 1.
        number: Of the step, from 1.
        rate: The learning rate.
        chosen: Samples of the step, int64, shape (n,).
    """

    epoch: int
    number: int
    rate: float
    chosen: npt.NDArray[np.int64]


class AbstractGroup(abc.ABC):
    """Workers that take turns with the shards of a step.

    Attributes:
        rank: Of this worker; 0 leads.
        size: How many there are.
    """

    rank: int
    size: int

    def own_shards(self, count: int) -> range:
        """The shards of this worker."""
        return range(self.rank, count, self.size)

    @abc.abstractmethod
    def announce(self, order: StepOrder | None) -> None:
        """As leader: tell the others the next step; None ends their work.

        Raises:
            WorkerError: One of them is gone.
        """

    @abc.abstractmethod
    def share(self, tensors: list[torch.Tensor]) -> None:
        """Bring the leader's tensors to all, in place."""

    @abc.abstractmethod
    def maximum(self, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The element-wise maximum over all workers."""

    @abc.abstractmethod
    def add(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The element-wise sum over all workers."""


@final
class Alone(AbstractGroup):
    """One worker."""

    rank, size = 0, 1

    def announce(self, order: StepOrder | None) -> None:
        """Nobody to tell."""

    def share(self, tensors: list[torch.Tensor]) -> None:
        """Nobody to bring them to."""

    def maximum(self, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Its own."""
        return values

    def add(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Its own."""
        return values
