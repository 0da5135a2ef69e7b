# SPDX-License-Identifier: Apache-2.0
"""Softmax cross-entropy with class weights and label smoothing."""

import math
from typing import final

import torch
from torch.nn import functional

from tiny_agent_trainer.config.optimizers import CrossEntropyOptions
from tiny_agent_trainer.tokenizer.samples import LabelArray
from tiny_agent_trainer.training.losses import loss


@final
class CrossEntropy(loss.AbstractLoss):
    """Cross-entropy of one class per sample.

    Args:
        options: Class weights and label smoothing.
        counts: Samples of each class in the training split.

    Source:
        torch.nn.functional.cross_entropy, with the mean over the whole step's weights.
    """

    task = "multiclass"

    def __init__(self, options: CrossEntropyOptions, counts: list[int]) -> None:
        balanced = [sum(counts) / (len(counts) * max(count, 1)) for count in counts]
        weights = loss.class_weights(
            options.class_weights, balanced, "[optimizer.loss] class_weights"
        )
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self._smoothing = options.label_smoothing

    def per_sample(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Shape (n, classes) and (n,) to (n,)."""
        return functional.cross_entropy(
            logits, labels, self._weights, reduction="none", label_smoothing=self._smoothing
        )

    def total_weight(self, labels: LabelArray) -> float:
        """The class weights of the samples, added exactly and rounded once."""
        if self._weights is None:
            return float(len(labels))
        return math.fsum(self._weights[torch.from_numpy(labels)].tolist())

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Softmax over the classes."""
        return torch.softmax(logits, dim=1)
