# SPDX-License-Identifier: Apache-2.0
"""Whose arithmetic training runs in: the seam between the loop and the engine of its sums.

The loop enters `context()` around every forward, backward and step, and calls each reduction of its
own by name. Whoever brings another arithmetic implements this class and nothing else.
"""

import abc
import contextlib
from collections.abc import Iterator
from typing import final

import torch

from tiny_agent_trainer import errors, randomness


class AbstractArithmetic(abc.ABC):
    """A context for tensor operations and the reductions that the loop needs."""

    @abc.abstractmethod
    def context(self) -> contextlib.AbstractContextManager[None]:
        """Everything computed inside belongs to this arithmetic."""

    @abc.abstractmethod
    def seed_network(self, base_seed: int, step: int, shard: int) -> None:
        """Fix what random layers such as dropout draw in one shard of one step."""

    @abc.abstractmethod
    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a float32 vector, differentiable, shape ()."""

    @abc.abstractmethod
    def norm(self, values: torch.Tensor) -> float:
        """The Euclidean norm of a float32 vector."""


@final
class NativeArithmetic(AbstractArithmetic):
    """PyTorch's own float32 with its deterministic algorithms and a fixed number of threads.

    Guarantees:
        Equal bits for equal software, CPU type and thread count. Nothing is claimed across
        platforms; `OMP_NUM_THREADS` has no influence.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Deterministic algorithms and the configured threads."""
        threads, deterministic = (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
        )
        torch.set_num_threads(self._threads)
        self._require_threads()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(threads)

    def seed_network(self, base_seed: int, step: int, shard: int) -> None:
        """Seed torch's generator from our stream; its own stream is torch's."""
        key = randomness.stream(base_seed, "network", step, shard).key
        torch.default_generator.manual_seed(int.from_bytes(key[:8], "little"))

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Torch's sum."""
        return values.sum()

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
