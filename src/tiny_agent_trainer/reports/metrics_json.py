# SPDX-License-Identifier: Apache-2.0
"""metrics.json: both validation reports and the training's summary as canonical JSON.

The format is described in docs/formats/metrics-v1.md.
"""

from tiny_agent_trainer import canonical
from tiny_agent_trainer.canonical import JsonValue
from tiny_agent_trainer.reports.measurement import encode_metric
from tiny_agent_trainer.reports.training_summary import EpochHistory, TrainingSummary
from tiny_agent_trainer.reports.validation_report import ClassResult, Curve, Task, ValidationReport

type_name = "metrics-v1"


def encode_metrics(
    val: ValidationReport, test: ValidationReport, training: TrainingSummary
) -> bytes:
    """Encode a run's figures as one line of canonical JSON.

    Raises:
        ValueError: A loss, rate or value that is NaN or infinite.

    Guarantees:
        Equal records give equal bytes, and `canonical.decode_canonical` accepts them.
    """
    return canonical.encode_line(
        {
            "schema": type_name,
            "splits": {"val": _report(val), "test": _report(test)},
            "training": _training(training),
        }
    )


def _report(report: ValidationReport) -> JsonValue:
    return {
        "task": report.task,
        "positive_class": report.positive_class,
        "num_samples": report.num_samples,
        "num_patients": report.num_patients,
        "loss": report.loss,
        "metrics": {metric.name: encode_metric(metric) for metric in report.headline},
        "classes": [_class_result(result, report.task) for result in report.results],
        "confusion": report.confusion,
    }


def _class_result(result: ClassResult, task: Task) -> JsonValue:
    measurements = {
        "prevalence": result.prevalence,
        "sensitivity": result.sensitivity,
        "specificity": result.specificity,
        "ppv": result.ppv,
        "npv": result.npv,
        "f1": result.f1,
        "auroc": result.auroc,
        "average_precision": result.average_precision,
    }
    known = {"num_known": result.num_samples} if task == "multilabel" else {}
    return {
        "name": result.name,
        **known,
        "true_positives": result.true_positives,
        "false_positives": result.false_positives,
        "false_negatives": result.false_negatives,
        "true_negatives": result.true_negatives,
        "metrics": {name: encode_metric(value) for name, value in measurements.items()},
        "curve": _curve(result.curve),
    }


def _curve(curve: Curve) -> JsonValue:
    return {
        "num_positives": curve.num_positives,
        "num_negatives": curve.num_negatives,
        "num_thresholds": curve.num_thresholds,
        "threshold": [point.threshold for point in curve.points],
        "true_positives": [point.true_positives for point in curve.points],
        "false_positives": [point.false_positives for point in curve.points],
    }


def _training(training: TrainingSummary) -> JsonValue:
    remarks = {"remarks": training.remarks} if training.remarks else {}
    return {
        **remarks,
        "architecture": training.architecture,
        "num_parameters": training.num_parameters,
        "dataset": training.dataset,
        "settings": dict(training.settings),
        "num_samples": dict(training.num_samples),
        "num_patients": dict(training.num_patients),
        "classes": training.classes,
        "class_counts": dict(training.class_counts),
        "leaks": training.leaks,
        "epochs_run": training.epochs_run,
        "steps_run": training.steps_run,
        "best_epoch": training.best_epoch,
        "best_metric": training.best_metric,
        "best_value": training.best_value,
        "stopped_early": training.stopped_early,
        "selection_rule": training.selection_rule,
        "experiment_digest": training.experiment_digest,
        "history": [_epoch(entry) for entry in training.history],
    }


def _epoch(entry: EpochHistory) -> JsonValue:
    return {
        "epoch": entry.epoch,
        "train_loss": entry.train_loss,
        "val_loss": entry.val_loss,
        "val_metrics": dict(entry.val_metrics),
        "learning_rate": entry.learning_rate,
    }
