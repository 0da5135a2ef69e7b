# SPDX-License-Identifier: Apache-2.0
"""Records to report on, built by hand."""

import pytest

from tiny_agent_trainer.reports.measurement import Mean, Measurement
from tiny_agent_trainer.reports.training_summary import EpochHistory, TrainingSummary
from tiny_agent_trainer.reports.validation_report import (
    ClassResult,
    Curve,
    CurvePoint,
    ValidationReport,
)


def measured(name, numerator, denominator, over="samples"):
    return Measurement(name=name, numerator=numerator, denominator=denominator, over=over)


def class_result(name, tp, fp, fn, tn):
    positives, negatives = tp + fn, fp + tn
    return ClassResult(
        name=name,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        true_negatives=tn,
        auroc=measured(f"auroc[{name}]", 3 * positives * negatives // 2, 2 * positives * negatives),
        average_precision=measured(f"average_precision[{name}]", 3 << 62, positives << 64),
        curve=Curve(
            num_positives=positives,
            num_negatives=negatives,
            num_thresholds=2,
            points=(
                CurvePoint(threshold=0.5, true_positives=tp, false_positives=fp),
                CurvePoint(threshold=0.25, true_positives=positives, false_positives=negatives),
            )
            if positives and negatives
            else (),
        ),
    )


def build_report(split, names=("normal", "pneumonia"), cells=((40, 10), (5, 101))):
    """A report of two classes from its confusion matrix."""
    (a, b), (c, d) = cells
    results = (class_result(names[0], a, c, b, d), class_result(names[1], d, b, c, a))
    total = a + b + c + d
    last = results[-1]
    return ValidationReport(
        split=split,
        task="multiclass",
        classes=names,
        num_samples=total,
        num_patients=total,
        loss=0.3125,
        headline=(
            measured("auroc", last.auroc.numerator, last.auroc.denominator, "pairs"),
            measured("average_precision", 3 << 62, last.num_positives << 64),
            measured("accuracy", a + d, total),
            Mean(name="balanced_accuracy", of=(results[0].sensitivity, last.sensitivity)),
            Mean(name="macro_f1", of=(results[0].f1, last.f1)),
            measured("sensitivity", d, c + d),
            measured("specificity", a, a + b),
        ),
        results=results,
        confusion=cells,
    )


def build_training(classes=("normal", "pneumonia"), **changes):
    values = {
        "architecture": "resnet18",
        "num_parameters": 11_172_810,
        "num_samples": {"train": 900, "val": 156, "test": 156},
        "num_patients": {"train": 300, "val": 156, "test": 156},
        "classes": classes,
        "epochs_run": 3,
        "steps_run": 24,
        "best_epoch": 2,
        "best_metric": "auroc",
        "best_value": 0.75,
        "stopped_early": False,
        "history": tuple(
            EpochHistory(
                epoch=epoch,
                train_loss=1 / epoch,
                val_loss=1.25 / epoch,
                val_metrics={"auroc": 0.5 + 0.125 * epoch},
                learning_rate=0.001,
            )
            for epoch in (1, 2, 3)
        ),
        "experiment_digest": "sha256:experiment-v1:" + "ab" * 32,
        "selection_rule": "The epoch with the highest validation AUROC; the first of equals.",
        "dataset": "PneumoniaMNIST 28x28",
        "settings": {"Optimiser": "adamw", "Seed": "42"},
    }
    return TrainingSummary(**{**values, **changes})


@pytest.fixture
def report_of():
    return build_report


@pytest.fixture
def training_of():
    return build_training
