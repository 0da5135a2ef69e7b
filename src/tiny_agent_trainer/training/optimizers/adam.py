# SPDX-License-Identifier: Apache-2.0
"""Adam, with the decay added to the gradient."""

import math
from typing import ClassVar

import torch

from tiny_agent_trainer.config.optimizers import AdamFamilyOptions
from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.training.optimizers import optimizer


class AdamFamily(optimizer.AbstractOptimizer):
    """What Adam and AdamW have in common: p -= (rate / c1) * m / (sqrt(v) / sqrt(c2) + epsilon).

    c1 = 1 - beta1^count and c2 = 1 - beta2^count are computed with `exact.elementary`.

    Source:
        Kingma and Ba, "Adam" (2015), algorithm 1, in the order of operations of torch.optim.Adam.
    """

    slots: ClassVar[tuple[str, ...]] = ("mean", "mean_square")

    def __init__(self, options: AdamFamilyOptions, length: int) -> None:
        super().__init__(options, length)
        self._beta1, self._beta2, self._epsilon = options.beta1, options.beta2, options.epsilon

    def scalars(self, rate: float, count: int) -> tuple[float, ...]:
        """Rate, rate / c1, sqrt(c2)."""
        correction1 = 1.0 - elementary.power(self._beta1, float(count))
        correction2 = 1.0 - elementary.power(self._beta2, float(count))
        return rate, rate / correction1, math.sqrt(correction2)

    def update(self, pieces: tuple[torch.Tensor, ...], scalars: tuple[float, ...]) -> None:
        """One piece."""
        parameters, gradients, mean, mean_square = pieces
        rate, step_size, root_correction = scalars
        kept, decay = self.shares(rate)
        if kept != 1:
            parameters.mul_(kept)
        if decay:
            gradients.add_(parameters * decay)
        mean.mul_(self._beta1).add_(gradients * (1.0 - self._beta1))
        gradients.mul_(gradients).mul_(1.0 - self._beta2)
        mean_square.mul_(self._beta2).add_(gradients)
        torch.sqrt(mean_square, out=gradients)
        gradients.div_(root_correction).add_(self._epsilon)
        torch.div(mean, gradients, out=gradients)
        parameters.sub_(gradients.mul_(step_size))

    def compiled(self, scalars: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
        """`adam`."""
        rate, step_size, root_correction = scalars
        kept, decay = self.shares(rate)
        return "adam", (
            kept, decay, self._beta1, 1.0 - self._beta1, self._beta2, 1.0 - self._beta2,
            root_correction, self._epsilon, step_size,
        )  # fmt: skip

    def shares(self, rate: float) -> tuple[float, float]:
        """What the parameters are multiplied by, and their share that is added to the gradient."""
        del rate
        return 1.0, self.weight_decay


class Adam(AdamFamily):
    """Adam."""
