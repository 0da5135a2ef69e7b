# SPDX-License-Identifier: Apache-2.0
"""Whose arithmetic training runs in: the seam between the loop and the engine of its sums.

The loop enters `context()` around every forward, backward and step, and calls each reduction of its
own by name. Whoever brings another arithmetic implements these classes and nothing else.
"""

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.optimizers.optimizer import AbstractOptimizer

Took = Callable[[float], None]
"""Told the loss of a shard, once its backward pass is over."""


Underflow = Mapping[str, tuple[int, int]]
"""Of each kind of operand: values that its grids rounded to zero, and values."""


class AbstractGathering(abc.ABC):
    """What the shards of one step leave behind, put together.

    Attributes:
        own_shards: Those that are computed here.
    """

    own_shards: range

    @abc.abstractmethod
    def shard(self, number: int) -> contextlib.AbstractContextManager[Took]:
        """One shard's forward and backward; own shards come in their order."""

    @abc.abstractmethod
    def finish(self) -> float:
        """Leave the step's gradient in the flat vector and return the step's loss."""


class AbstractArithmetic(abc.ABC):
    """A context for tensor operations and the reductions that the loop needs."""

    notes: tuple[str, ...] = ()
    """What its user should know of this machine, a line each."""

    @abc.abstractmethod
    def context(self) -> contextlib.AbstractContextManager[None]:
        """Everything computed inside belongs to this arithmetic."""

    @abc.abstractmethod
    def seed_network(self, base_seed: int, step: int, shard: int) -> None:
        """Fix what random layers such as dropout draw in one shard of one step."""

    @abc.abstractmethod
    def gather(self, network: nn.Module, flat: FlatParameters, shards: int) -> AbstractGathering:
        """Begin a step of so many shards; the gradient vector is zero."""

    @abc.abstractmethod
    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a float32 vector, differentiable, shape ()."""

    @abc.abstractmethod
    def update(
        self, optimizer: AbstractOptimizer, flat: FlatParameters, rate: float, count: int
    ) -> None:
        """Change the parameters by one step; their gradients are used up."""

    def counting_underflow(self) -> contextlib.AbstractContextManager[Underflow]:
        """Count inside, where operands have grids; no result depends on it."""
        return contextlib.nullcontext({})

    @abc.abstractmethod
    def norm(self, values: torch.Tensor) -> float:
        """The Euclidean norm of a float32 vector."""


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads for torch's own loops, and afterwards what there was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
