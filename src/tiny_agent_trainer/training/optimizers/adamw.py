# SPDX-License-Identifier: Apache-2.0
"""Adam, with the decay taken from the weights."""

from typing import final

import torch

from tiny_agent_trainer.training.optimizers import adam


@final
class Adamw(adam.AdamFamily):
    """AdamW: p *= 1 - rate * decay before Adam's step.

    Source:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.
    """

    def decay(self, parameters: torch.Tensor, gradients: torch.Tensor, rate: float) -> None:
        """Take the decay from the weights."""
        del gradients
        if self.weight_decay:
            parameters.mul_(1.0 - rate * self.weight_decay)
