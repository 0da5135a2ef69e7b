# SPDX-License-Identifier: Apache-2.0
"""Sigmoid cross-entropy of each label, for multi-label data."""

from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tiny_agent_trainer.config.optimizers import BinaryCrossEntropyOptions
from tiny_agent_trainer.training.losses import loss


@final
class BinaryCrossEntropy(loss.AbstractLoss):
    """Mean over labels of the binary cross-entropy.

    Args:
        options: Weights of positive cases and label smoothing.
        counts: Positive samples of each label in the training split, then the number of samples.

    Source:
        torch.nn.functional.binary_cross_entropy_with_logits, `pos_weight` for the weights.
    """

    task = "multilabel"

    def __init__(self, options: BinaryCrossEntropyOptions, counts: list[int]) -> None:
        *positives, num_samples = counts
        balanced = [(num_samples - count) / max(count, 1) for count in positives]
        weights = loss.class_weights(
            options.class_weights, balanced, "[optimizer.loss] class_weights"
        )
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self._smoothing = options.label_smoothing

    def per_sample(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Shape (n, labels) twice to (n,)."""
        targets = labels.to(torch.float32)
        if self._smoothing:
            targets = targets * (1 - self._smoothing) + self._smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=self._weights, reduction="none"
        )
        return losses.mean(dim=1)

    def total_weight(self, labels: npt.NDArray[np.int64]) -> float:
        """The number of samples."""
        return float(len(labels))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Sigmoid of each logit."""
        return torch.sigmoid(logits)
