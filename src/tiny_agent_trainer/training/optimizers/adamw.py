# SPDX-License-Identifier: Apache-2.0
"""Adam, with the decay taken from the weights."""

from typing import final

from tiny_agent_trainer.training.optimizers import adam


@final
class Adamw(adam.AdamFamily):
    """AdamW: p *= 1 - rate * decay before Adam's step.

    Source:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.
    """

    def shares(self, rate: float) -> tuple[float, float]:
        """The decay is taken from the parameters, and nothing is added to the gradient."""
        return 1.0 - rate * self.weight_decay, 0.0
