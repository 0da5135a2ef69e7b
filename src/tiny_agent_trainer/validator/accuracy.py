# SPDX-License-Identifier: Apache-2.0
"""Metrics of the decision that was taken: accuracy and its relatives, from counts."""

from dataclasses import replace

from tiny_agent_trainer.reports.measurement import Mean, Measurement, Metric
from tiny_agent_trainer.reports.validation_report import ClassResult, Task


def headline(task: Task, results: tuple[ClassResult, ...]) -> tuple[Metric, ...]:
    """Accuracy, balanced accuracy, macro F1; of two classes also sensitivity and specificity.

    Of two classes, sensitivity and specificity speak of the last one, as AUROC does.
    """
    metrics: list[Metric] = [
        accuracy(task, results),
        balanced_accuracy(task, results),
        Mean(name="macro_f1", of=tuple(result.f1 for result in results)),
    ]
    if task == "multiclass" and len(results) == 2:
        metrics.append(replace(results[-1].sensitivity, name="sensitivity"))
        metrics.append(replace(results[-1].specificity, name="specificity"))
    return tuple(metrics)


def accuracy(task: Task, results: tuple[ClassResult, ...]) -> Measurement:
    """Share of right decisions.

    Multiclass: a decision per sample. Multilabel: a decision per sample and known label; rare
    labels make it high whatever the model does.

    Source:
        MedMNIST, `Evaluator.getACC`.
    """
    right = sum(result.true_positives for result in results)
    decisions = results[0].num_samples
    if task == "multilabel":
        right += sum(result.true_negatives for result in results)
        decisions = sum(result.num_samples for result in results)
    return Measurement(name="accuracy", numerator=right, denominator=decisions)


def balanced_accuracy(task: Task, results: tuple[ClassResult, ...]) -> Mean:
    """Mean sensitivity over classes; of labels, the mean of sensitivities and specificities.

    Source:
        scikit-learn, `balanced_accuracy_score`. It leaves absent classes out with a warning; here
        an absent class makes the metric undefined.
    """
    parts = [result.sensitivity for result in results]
    if task == "multilabel":
        parts += [result.specificity for result in results]
    return Mean(name="balanced_accuracy", of=tuple(parts))
