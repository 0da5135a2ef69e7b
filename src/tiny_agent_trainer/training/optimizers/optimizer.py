# SPDX-License-Identifier: Apache-2.0
"""What an optimiser is: element-wise updates of one flat vector, with named state vectors.

Every formula is spelled out as single additions, multiplications, divisions and square roots, each
rounded once; fused forms such as `addcmul` are not used. Work goes through the vector in pieces
that stay in the cache, which has no influence on the values.
"""

import abc
from collections.abc import Mapping
from typing import ClassVar

import torch

from tiny_agent_trainer.config.optimizers import OptimizerOptions

PIECE_LENGTH = 1 << 16
"""Values worked on together: 256 KiB a vector, so that all vectors of a piece fit the L2 cache."""


class AbstractOptimizer(abc.ABC):
    """Updates a flat float32 vector of parameters.

    Args:
        options: The `[optimizer]` section.
        length: Number of values.
    """

    slots: ClassVar[tuple[str, ...]]
    """Names of the state vectors."""

    def __init__(self, options: OptimizerOptions, length: int) -> None:
        self.weight_decay = options.weight_decay
        self.state: Mapping[str, torch.Tensor] = {
            slot: torch.zeros(length, dtype=torch.float32) for slot in self.used_slots(options)
        }

    @classmethod
    def used_slots(cls, options: OptimizerOptions) -> tuple[str, ...]:
        """The state vectors that these options need."""
        return cls.slots

    def step(
        self, parameters: torch.Tensor, gradients: torch.Tensor, rate: float, count: int
    ) -> None:
        """Change the parameters in place.

        Args:
            parameters: float32, shape (length,).
            gradients: float32, shape (length,); its values are used up.
            rate: Learning rate of this step.
            count: Number of this step, from 1.
        """
        scalars = self.scalars(rate, count)
        state = [self.state[slot] for slot in self.state]
        vectors = [parameters, gradients, *state]
        for pieces in zip(*(torch.split(vector, PIECE_LENGTH) for vector in vectors), strict=True):
            self.update(pieces, scalars)

    def compiled_step(self, rate: float, count: int) -> tuple[str, tuple[float, ...]]:
        """The same step as a kernel of `exact.kernels.updates`: its name and its numbers."""
        return self.compiled(self.scalars(rate, count))

    @abc.abstractmethod
    def compiled(self, scalars: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
        """Name and numbers of that kernel, given `scalars`."""

    @abc.abstractmethod
    def scalars(self, rate: float, count: int) -> tuple[float, ...]:
        """Numbers that are the same for every element of a step."""

    @abc.abstractmethod
    def update(self, pieces: tuple[torch.Tensor, ...], scalars: tuple[float, ...]) -> None:
        """Update one piece of (parameters, gradients, *state) in place."""
