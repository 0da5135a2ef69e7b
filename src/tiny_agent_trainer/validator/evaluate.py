# SPDX-License-Identifier: Apache-2.0
"""From predictions to a ValidationReport."""

import math
from dataclasses import asdict

import numpy as np

from tiny_agent_trainer.reports.validation_report import ClassResult, ValidationReport
from tiny_agent_trainer.validator import accuracy, confusion, ranking
from tiny_agent_trainer.validator.predictions import Predictions

HEADLINES = (ranking.headline, accuracy.headline)
"""The families of metrics; a new one is a new file and a new entry here."""


def evaluate(predictions: Predictions, split: str) -> ValidationReport:
    """Measure a split.

    Args:
        predictions: What the network said.
        split: `val` or `test`.

    Guarantees:
        The report does not depend on the order of the samples: everything is counted in integers,
        and the losses are summed exactly before the one rounding and the one division. Tested by
        permuting samples.
    """
    results = tuple(_class_results(predictions))
    return ValidationReport(
        split=split,
        task=predictions.task,
        classes=predictions.classes,
        num_samples=predictions.num_samples,
        num_patients=len(np.unique(predictions.patients)),
        loss=math.fsum(predictions.losses.tolist()) / predictions.num_samples,
        headline=tuple(
            metric for family in HEADLINES for metric in family(predictions.task, results)
        ),
        results=results,
        confusion=confusion.matrix(predictions),
    )


def _class_results(predictions: Predictions) -> list[ClassResult]:
    positive, called = predictions.positive, predictions.called
    results = []
    for column, name in enumerate(predictions.classes):
        ranked = ranking.rank(predictions.probabilities[:, column], positive[:, column])
        results.append(
            ClassResult(
                name=name,
                **asdict(confusion.count(positive[:, column], called[:, column])),
                auroc=ranking.auroc(name, ranked),
                average_precision=ranking.average_precision(name, ranked),
                curve=ranking.curve(ranked),
            )
        )
    return results
