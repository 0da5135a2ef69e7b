# SPDX-License-Identifier: Apache-2.0
"""What a loss is: a value per sample, and the weight that the step's sum is divided by."""

import abc

import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.samples import LabelArray


class AbstractLoss(abc.ABC):
    """A loss over logits.

    The loss of a step is the sum of `per_sample` over all its shards divided by `total_weight` of
    the whole step, which is known before the first shard is computed.
    """

    task: str
    """Kind of labels that the loss is made for."""

    @abc.abstractmethod
    def per_sample(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Weighted losses.

        Args:
            logits: float32, shape (n, classes).
            labels: As in the cohort.

        Returns:
            float32, shape (n,).
        """

    @abc.abstractmethod
    def total_weight(self, labels: LabelArray) -> float:
        """What the sum over these samples is divided by; 0 where no label is known."""

    @abc.abstractmethod
    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """float32 in [0, 1], shape (n, classes); for regression estimates, shape (n, 1)."""


def class_weights(
    chosen: str | tuple[float, ...], balanced: list[float], where: str
) -> list[float] | None:
    """One weight per class, or None for equal weights.

    Raises:
        DatasetError: The configuration names another number of weights than there are classes.
    """
    if chosen == "none":
        return None
    if chosen == "balanced":
        return balanced
    weights = list(chosen)
    if len(weights) != len(balanced):
        raise errors.DatasetError(
            where=where,
            expected=f"{len(balanced)} weights, one per class",
            found=str(len(weights)),
            remedy="write one number per class",
        )
    return weights  # type: ignore[return-value]
