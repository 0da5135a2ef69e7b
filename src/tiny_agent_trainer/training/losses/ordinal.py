# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of the steps between grades, for ordinal data."""

import itertools
from typing import final

import torch
from torch.nn import functional

from tiny_agent_trainer.config.optimizers import OrdinalOptions
from tiny_agent_trainer.tokenizer.samples import LabelArray
from tiny_agent_trainer.training.losses import loss


@final
class Ordinal(loss.AbstractLoss):
    """Mean over the K - 1 steps between K grades of the binary cross-entropy of "above it".

    Args:
        options: Nothing to choose yet.
        counts: Samples of each grade in the training split; only their number K is used.

    Source:
        Niu et al., Ordinal regression with multiple output CNN, CVPR 2016. Where the network calls
        a higher step more probable than a lower one, the lower one counts for both, as a running
        minimum; Cao et al., CORAL (Pattern Recogn. Lett. 140, 2020) tie the weights instead.
    """

    task = "ordinal"

    def __init__(self, options: OrdinalOptions, counts: list[int]) -> None:
        del options
        grades = torch.arange(len(counts))
        self._steps = (grades[:, None] > grades[None, :-1]).to(torch.float32)

    def per_sample(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Shape (n, K - 1) and (n,) to (n,)."""
        losses = functional.binary_cross_entropy_with_logits(
            logits, self._steps[labels], reduction="none"
        )
        return losses.mean(dim=1)

    def total_weight(self, labels: LabelArray) -> float:
        """The number of samples."""
        return float(len(labels))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of the K grades: differences of those of being above a step.

        Guarantees:
            In [0, 1]: the running minimum never grows, and a difference is rounded once.
        """
        chances = torch.sigmoid(logits)
        above = [chances[:, 0]]
        for step in range(1, chances.shape[1]):
            above.append(torch.minimum(above[-1], chances[:, step]))
        lowest, highest = 1.0 - above[0], above[-1]
        between = [low - high for low, high in itertools.pairwise(above)]
        return torch.stack([lowest, *between, highest], dim=1)
