# SPDX-License-Identifier: Apache-2.0
"""`run_validation`: a network's predictions on one split, and the report on them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tiny_agent_trainer.reports.validation_report import ValidationReport
from tiny_agent_trainer.tokenizer.batches import Feed
from tiny_agent_trainer.tokenizer.samples import Split
from tiny_agent_trainer.validator import evaluate, views
from tiny_agent_trainer.validator.predictions import Predictions

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def predict_split(
    network: nn.Module,
    feed: Feed,
    split: Split,
    batch_size: int,
    *,
    probabilities: Callable[[torch.Tensor], torch.Tensor],
    per_sample: Measure,
) -> Predictions:
    """What a network says about every sample of a split.

    Args:
        network: Put into evaluation mode; left in it.
        feed: Brings the samples.
        split: Which of them.
        batch_size: Samples that are evaluated together.
        probabilities: From logits, shape (n, classes), to float32 in [0, 1].
        per_sample: From logits and labels to losses, shape (n,).
    """
    network.eval()
    chosen, scores, losses = [], [], []
    with torch.no_grad():
        for batch in feed.plain_batches(split, batch_size):
            logits = views.average(network(torch.from_numpy(batch.inputs)), batch.views)
            chosen.append(batch.samples)
            scores.append(probabilities(logits).numpy())
            losses.append(per_sample(logits, torch.from_numpy(batch.labels)).numpy())
    samples = np.concatenate(chosen)
    return Predictions(
        samples=samples,
        patients=feed.cohort.patients[samples],
        labels=feed.cohort.labels[samples],
        probabilities=np.concatenate(scores),
        losses=np.concatenate(losses),
        classes=feed.cohort.classes,
        task=feed.cohort.task,
    )


def run_validation(
    network: nn.Module,
    feed: Feed,
    split: Split,
    batch_size: int,
    *,
    probabilities: Callable[[torch.Tensor], torch.Tensor],
    per_sample: Measure,
) -> ValidationReport:
    """Predict a split and report on it; arguments as in `predict_split`."""
    predictions = predict_split(
        network, feed, split, batch_size, probabilities=probabilities, per_sample=per_sample
    )
    return evaluate.evaluate(predictions, split)
