# SPDX-License-Identifier: Apache-2.0
"""Squared error of a standardised target, for regression."""

from typing import final

import numpy as np
import torch
from torch.nn import functional

from tiny_agent_trainer.config.optimizers import MeanSquaredErrorOptions
from tiny_agent_trainer.tokenizer import statistics
from tiny_agent_trainer.tokenizer.samples import LabelArray
from tiny_agent_trainer.training.losses import loss


@final
class MeanSquaredError(loss.AbstractLoss):
    """Mean squared error, in units of the target's variance in the training split.

    The network answers with (target - mean) / deviation, so that learning rates mean the same
    whatever the unit of the target is.

    Args:
        options: Nothing to choose yet.
        targets: Targets of the training split, float32.

    Guarantees:
        Mean and deviation come from exact sums; each is rounded to float64, then to float32.
        Standardising is one subtraction and one division in float32, its inverse one product
        and one sum.
    """

    task = "regression"

    def __init__(self, options: MeanSquaredErrorOptions, targets: LabelArray) -> None:
        del options
        mean, deviation = statistics.measure_targets(targets)
        self._mean, self._deviation = float(np.float32(mean)), float(np.float32(deviation))

    def per_sample(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Shape (n, 1) and (n,) to (n,)."""
        standard = (labels - self._mean) / self._deviation
        return functional.mse_loss(logits[:, 0], standard, reduction="none")

    def total_weight(self, labels: LabelArray) -> float:
        """The number of samples."""
        return float(len(labels))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Estimates in the unit of the target, shape (n, 1)."""
        return logits * self._deviation + self._mean
