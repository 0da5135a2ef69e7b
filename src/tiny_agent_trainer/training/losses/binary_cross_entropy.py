# SPDX-License-Identifier: Apache-2.0
"""Sigmoid cross-entropy of each label, for multi-label data."""

from typing import final

import numpy as np
import torch
from torch.nn import functional

from tiny_agent_trainer.config.optimizers import BinaryCrossEntropyOptions
from tiny_agent_trainer.tokenizer.samples import MASKED, LabelArray
from tiny_agent_trainer.training.losses import loss


@final
class BinaryCrossEntropy(loss.AbstractLoss):
    """Mean over known labels of the binary cross-entropy.

    A sample's loss is the sum over its known labels, divided by the number of all labels; a step's
    weight is the number of known labels, divided in the same way. The quotient of the two is the
    mean over all known labels of the step, however it is cut into shards.

    Args:
        options: Weights of positive cases and label smoothing.
        counts: Positive samples of each label in the training split, then its known samples.

    Source:
        torch.nn.functional.binary_cross_entropy_with_logits, `pos_weight` for the weights.
    """

    task = "multilabel"

    def __init__(self, options: BinaryCrossEntropyOptions, counts: list[int]) -> None:
        positives, known = counts[: len(counts) // 2], counts[len(counts) // 2 :]
        pairs = zip(positives, known, strict=True)
        balanced = [(among - count) / max(count, 1) for count, among in pairs]
        weights = loss.class_weights(
            options.class_weights, balanced, "[optimizer.loss] class_weights"
        )
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self._smoothing = options.label_smoothing

    def per_sample(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Shape (n, labels) twice to (n,)."""
        is_known = labels != MASKED
        targets = torch.where(is_known, labels, 0).to(torch.float32)
        if self._smoothing:
            targets = targets * (1 - self._smoothing) + self._smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=self._weights, reduction="none"
        )
        return torch.where(is_known, losses, 0.0).mean(dim=1)

    def total_weight(self, labels: LabelArray) -> float:
        """The number of known labels over the number of labels; without unknown ones, samples."""
        known, width = int(np.count_nonzero(labels != MASKED)), int(labels.shape[1])
        return known / width

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Sigmoid of each logit."""
        return torch.sigmoid(logits)
