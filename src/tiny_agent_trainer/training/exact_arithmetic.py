# SPDX-License-Identifier: Apache-2.0
"""Exact arithmetic in the training loop: one definition of every bit, on any machine."""

import contextlib
from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from torch import nn

from tiny_agent_trainer.exact import checks, draws, grids, memory, mode, sums, threads
from tiny_agent_trainer.exact.contractions import current
from tiny_agent_trainer.exact.kernels import updates
from tiny_agent_trainer.training import arithmetic
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.group import AbstractGroup
from tiny_agent_trainer.training.optimizers.optimizer import AbstractOptimizer
from tiny_agent_trainer.training.shard_gathering import ShardGathering


@final
class ExactArithmetic(arithmetic.AbstractArithmetic):
    """What `exact` defines.

    Args:
        team: Threads that compute; they have no influence on a result.
        engine: Name of the engine of contractions, or `auto`.
        group: The workers that divide the shards among them.

    Raises:
        PlatformError: The machine or the process does not compute as it should.

    Guarantees:
        Bits are a function of the configuration and the data.
    """

    def __init__(self, team: int, engine: str, group: AbstractGroup) -> None:
        self._team, self._engine, self._group = team, engine, group
        memory.keep_freed()
        with self._on_machine():
            self.notes = checks.switch_off_faulty_engines()
            current.set_engine(engine)

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Every operation from the table, on this team and engine.

        Raises:
            PlatformError: The process does not round as it should, or not any more.
        """
        with self._on_machine(), mode.arithmetic():
            current.set_engine(self._engine)
            try:
                yield
            finally:
                draws.end()

    @contextlib.contextmanager
    def _on_machine(self) -> Iterator[None]:
        threads.set_threads(self._team)
        with arithmetic.torch_threads(1):  # those of the team compute; more would be in their way
            checks.require_environment()
            yield

    def seed_network(self, base_seed: int, step: int, shard: int) -> None:
        """Draws come from the streams of this shard."""
        draws.begin(base_seed, step, shard)

    def gather(
        self, network: nn.Module, flat: FlatParameters, shards: int
    ) -> arithmetic.AbstractGathering:
        """Gradients add up as integers, running statistics in the order of the shards."""
        return ShardGathering(network, flat, shards, self._group)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The exact sum, rounded once."""
        return values.sum()

    def update(
        self, optimizer: AbstractOptimizer, flat: FlatParameters, rate: float, count: int
    ) -> None:
        """In one pass over memory, on the team."""
        name, numbers = optimizer.compiled_step(rate, count)
        vectors = (flat.values, flat.gradients, *optimizer.state.values())
        threads.run(
            updates.BY_NAME[name], flat.length, tuple(np.float32(number) for number in numbers),
            *(grids.as_float32(vector) for vector in vectors),
        )  # fmt: skip

    def counting_underflow(self) -> contextlib.AbstractContextManager[arithmetic.Underflow]:
        """Of the operands of contractions."""
        return current.counting_underflow()

    def norm(self, values: torch.Tensor) -> float:
        """The root of the exact sum of squares."""
        return sums.norm(grids.as_array(values), "the gradients")
