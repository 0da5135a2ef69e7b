# SPDX-License-Identifier: Apache-2.0
"""Counting who was called what: the confusion matrix, and each class against the rest."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from tiny_agent_trainer.validator.predictions import Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One class against the rest."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


def count(positive: Bool[np.ndarray, " n"], called: Bool[np.ndarray, " n"]) -> Counts:
    """Count one class against the rest, at the decision that was taken."""
    true_positives = int(np.count_nonzero(positive & called))
    num_positives = int(np.count_nonzero(positive))
    num_called = int(np.count_nonzero(called))
    return Counts(
        true_positives=true_positives,
        false_positives=num_called - true_positives,
        false_negatives=num_positives - true_positives,
        true_negatives=len(positive) - num_positives - num_called + true_positives,
    )


def matrix(predictions: Predictions) -> tuple[tuple[int, ...], ...] | None:
    """`matrix[true][called]` as counts; None for multilabel and regression, which have none."""
    if predictions.task in ("multilabel", "regression"):
        return None
    width = len(predictions.classes)
    cells = np.bincount(
        predictions.labels * width + predictions.called_class, minlength=width * width
    )
    return tuple(tuple(row) for row in cells.reshape(width, width).tolist())
