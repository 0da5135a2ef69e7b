# SPDX-License-Identifier: Apache-2.0
"""From predictions to a ValidationReport."""

import math
from dataclasses import asdict

import numpy as np

from tiny_agent_trainer.reports.measurement import Metric
from tiny_agent_trainer.reports.validation_report import ClassResult, ValidationReport
from tiny_agent_trainer.validator import accuracy, confusion, ordinal, ranking, regression
from tiny_agent_trainer.validator.predictions import Predictions

HEADLINES = (ranking.headline, accuracy.headline)
"""The families of metrics of classes; a new one is a new file and a new entry here."""


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
    is_regression = predictions.task == "regression"
    results = () if is_regression else tuple(_class_results(predictions))
    matrix = confusion.matrix(predictions)
    return ValidationReport(
        split=split,
        task=predictions.task,
        classes=predictions.classes,
        num_samples=predictions.num_samples,
        num_patients=len(np.unique(predictions.patients)),
        loss=math.fsum(predictions.losses.tolist()) / _weight(predictions),
        headline=_headline(predictions, results, matrix),
        results=results,
        confusion=matrix,
        estimates=regression.pairs(predictions) if is_regression else (),
    )


def _headline(
    predictions: Predictions,
    results: tuple[ClassResult, ...],
    matrix: tuple[tuple[int, ...], ...] | None,
) -> tuple[Metric, ...]:
    if predictions.task == "regression":
        return regression.headline(predictions)
    found = [metric for family in HEADLINES for metric in family(predictions.task, results)]
    if predictions.task == "ordinal" and matrix is not None:
        found = [*ordinal.headline(matrix), *found]
    return tuple(found)


def _weight(predictions: Predictions) -> float:
    """What the losses are divided by: samples, or the share of them whose labels are known."""
    if predictions.task != "multilabel":
        return predictions.num_samples
    return int(np.count_nonzero(predictions.known)) / len(predictions.classes)


def _class_results(predictions: Predictions) -> list[ClassResult]:
    positive, called, known = predictions.positive, predictions.called, predictions.known
    results = []
    for column, name in enumerate(predictions.classes):
        rows = known[:, column]
        truth, said = positive[rows, column], called[rows, column]
        ranked = ranking.rank(predictions.probabilities[rows, column], truth)
        results.append(
            ClassResult(
                name=name,
                **asdict(confusion.count(truth, said)),
                auroc=ranking.auroc(name, ranked),
                average_precision=ranking.average_precision(name, ranked),
                curve=ranking.curve(ranked),
            )
        )
    return results
