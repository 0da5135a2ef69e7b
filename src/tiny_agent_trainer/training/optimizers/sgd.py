# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient descent with momentum and Nesterov's look-ahead."""

from typing import ClassVar, final

import torch

from tiny_agent_trainer.config.optimizers import OptimizerOptions, SgdOptions
from tiny_agent_trainer.training.optimizers import optimizer


@final
class Sgd(optimizer.AbstractOptimizer):
    """p -= rate * d; d is the gradient, or the momentum v = m v + g, or g + m v with Nesterov.

    Source:
        torch.optim.SGD, dampening 0. Differs from it in: the first momentum is m * 0 + g, the same
        value.
    """

    slots: ClassVar[tuple[str, ...]] = ("momentum",)

    def __init__(self, options: SgdOptions, length: int) -> None:
        super().__init__(options, length)
        self._momentum, self._nesterov = options.momentum, options.nesterov

    @classmethod
    def used_slots(cls, options: OptimizerOptions) -> tuple[str, ...]:
        """No vector without momentum."""
        return cls.slots if isinstance(options, SgdOptions) and options.momentum else ()

    def scalars(self, rate: float, count: int) -> tuple[float, ...]:
        """The rate."""
        return (rate,)

    def compiled(self, scalars: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
        """`sgd`, or `sgd_with_momentum`."""
        numbers = (self.weight_decay, scalars[0])
        if not self.state:
            return "sgd", numbers
        return "sgd_with_momentum", (*numbers, self._momentum, float(self._nesterov))

    def update(self, pieces: tuple[torch.Tensor, ...], scalars: tuple[float, ...]) -> None:
        """One piece."""
        parameters, direction, *state = pieces
        if self.weight_decay:
            direction.add_(parameters * self.weight_decay)
        if state:
            velocity = state[0]
            velocity.mul_(self._momentum).add_(direction)
            direction = direction.add_(velocity * self._momentum) if self._nesterov else velocity
        parameters.sub_(direction * scalars[0])
