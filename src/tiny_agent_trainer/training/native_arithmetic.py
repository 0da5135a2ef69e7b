# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own float32 with its deterministic algorithms and a fixed number of threads."""

import contextlib
import math
from collections.abc import Iterator
from typing import final

import torch
from torch import nn

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.training import arithmetic
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.optimizers.optimizer import AbstractOptimizer


@final
class NativeArithmetic(arithmetic.AbstractArithmetic):
    """PyTorch's float32.

    Guarantees:
        Equal bits for equal software, CPU type and thread count. Nothing is claimed across
        platforms; `OMP_NUM_THREADS` has no influence.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Deterministic algorithms and the configured threads."""
        deterministic = torch.are_deterministic_algorithms_enabled()
        with arithmetic.torch_threads(self._threads):
            self._require_threads()
            torch.use_deterministic_algorithms(True)
            try:
                yield
            finally:
                torch.use_deterministic_algorithms(deterministic)

    def seed_network(self, base_seed: int, step: int, shard: int) -> None:
        """Seed torch's generator from our stream; its own stream is torch's."""
        key = randomness.stream(base_seed, "network", step, shard).key
        torch.default_generator.manual_seed(int.from_bytes(key[:8], "little"))

    def gather(
        self, network: nn.Module, flat: FlatParameters, shards: int
    ) -> arithmetic.AbstractGathering:
        """Gradients add up in float32, in the order of the shards."""
        del network, flat
        return _InPlace(shards)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Torch's sum."""
        return values.sum()

    def update(
        self, optimizer: AbstractOptimizer, flat: FlatParameters, rate: float, count: int
    ) -> None:
        """By torch's operations, piece by piece."""
        optimizer.step(flat.values, flat.gradients, rate, count)

    def norm(self, values: torch.Tensor) -> float:
        """Torch's vector norm."""
        return float(torch.linalg.vector_norm(values))

    def _require_threads(self) -> None:
        if torch.get_num_threads() != self._threads:
            raise errors.PlatformError(
                where="[engine] threads",
                expected=f"{self._threads} threads",
                found=f"{torch.get_num_threads()}, limited from outside",
                remedy="remove OMP_THREAD_LIMIT from the environment",
            )


@final
class _InPlace(arithmetic.AbstractGathering):
    """Autograd adds every shard's gradient to the vector itself."""

    def __init__(self, shards: int) -> None:
        self.own_shards = range(shards)
        self._losses: list[float] = []

    @contextlib.contextmanager
    def shard(self, number: int) -> Iterator[arithmetic.Took]:
        """Keep the loss."""
        del number
        yield self._losses.append

    def finish(self) -> float:
        """The losses of the shards are parts of a sum."""
        return math.fsum(self._losses)
