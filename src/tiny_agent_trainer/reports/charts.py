# SPDX-License-Identifier: Apache-2.0
"""Which charts a report has: learning curves, ROC, precision-recall, confusion matrix."""

from collections.abc import Callable

from tiny_agent_trainer.reports import svg, words
from tiny_agent_trainer.reports.training_summary import TrainingSummary
from tiny_agent_trainer.reports.validation_report import ClassResult, Curve, ValidationReport

_SQUARE_PX = 230


def loss_chart(training: TrainingSummary) -> str:
    """Training and validation loss over epochs, with the kept epoch marked."""
    train = tuple((float(entry.epoch), entry.train_loss) for entry in training.history)
    val = tuple((float(entry.epoch), entry.val_loss) for entry in training.history)
    series = (
        svg.Series(label="train", points=train, marked=True),
        svg.Series(label="val", points=val, style=1, marked=True),
    )
    return _epochs_chart("Mean loss per epoch, training and validation", "loss", series, training)


def metric_chart(training: TrainingSummary) -> str:
    """The metric that chose the epoch, on the validation split; nothing if that was the loss."""
    name = training.best_metric
    values = [(entry.epoch, entry.val_metrics.get(name)) for entry in training.history]
    points = tuple((float(epoch), value) for epoch, value in values if value is not None)
    if not points:
        return ""
    series = (svg.Series(label="val", points=points, style=1, marked=True),)
    title = f"{words.title(name)} per epoch on the validation split"
    return _epochs_chart(title, words.title(name), series, training)


def roc_chart(name: str, val: ClassResult, test: ClassResult) -> str:
    """Sensitivity over false positive rate for one class; the diagonal is chance."""
    plot = svg.Plot(
        title=f"ROC curve of class {name}, validation and test",
        x=svg.unit_axis("false positive rate"),
        y=svg.unit_axis("sensitivity"),
        series=_both(val, test, roc_points),
        reference=((0.0, 0.0), (1.0, 1.0)),
        width=_SQUARE_PX,
        height=_SQUARE_PX,
    )
    return svg.line_chart(plot)


def precision_recall_chart(name: str, val: ClassResult, test: ClassResult) -> str:
    """Precision over sensitivity for one class; the flat line is the test split's prevalence."""
    prevalence = test.prevalence.value or 0.0
    plot = svg.Plot(
        title=f"Precision-recall curve of class {name}, validation and test",
        x=svg.unit_axis("sensitivity (recall)"),
        y=svg.unit_axis("precision (PPV)"),
        series=_both(val, test, precision_recall_points),
        reference=((0.0, prevalence), (1.0, prevalence)),
        width=_SQUARE_PX,
        height=_SQUARE_PX,
    )
    return svg.line_chart(plot)


def confusion_chart(report: ValidationReport) -> str:
    """The confusion matrix of a split; nothing for multilabel."""
    if report.confusion is None:
        return ""
    title = f"Confusion matrix of the {words.split_name(report.split)} split"
    return svg.heat_map(title, report.classes, report.confusion)


def estimates_chart(report: ValidationReport) -> str:
    """Estimates over true values, a dot per sample; on the diagonal the model is right."""
    if not report.estimates:
        return ""
    ends = [value for pair in report.estimates for value in pair]
    low, high = min(ends), max(ends)
    title = f"Estimates of {report.classes[0]} over true values, {words.split(report)}"
    dots = svg.Series(label=report.split, points=report.estimates, joined=False)
    plot = svg.Plot(
        title=title,
        x=svg.build_axis("true value", ends),
        y=svg.build_axis("estimate", ends),
        series=(dots,),
        reference=((low, low), (high, high)),
        width=_SQUARE_PX,
        height=_SQUARE_PX,
    )
    return svg.line_chart(plot)


def roc_points(curve: Curve) -> tuple[svg.Point, ...]:
    """(false positive rate, sensitivity) from (0, 0) on; nothing if either is undefined."""
    points = tuple(
        (
            point.false_positives / curve.num_negatives,
            point.true_positives / curve.num_positives,
        )
        for point in curve.points
    )
    return ((0.0, 0.0), *points) if points else ()


def precision_recall_points(curve: Curve) -> tuple[svg.Point, ...]:
    """(sensitivity, precision) as steps, so that the area is the average precision."""
    corners: list[svg.Point] = []
    reached = 0.0
    for point in curve.points:
        recall = point.true_positives / curve.num_positives
        precision = point.true_positives / (point.true_positives + point.false_positives)
        if recall > reached:
            corners += [(reached, precision), (recall, precision)]
            reached = recall
    return tuple(corners)


def _both(
    val: ClassResult, test: ClassResult, trace: Callable[[Curve], tuple[svg.Point, ...]]
) -> tuple[svg.Series, ...]:
    return (
        svg.Series(label="val", points=trace(val.curve), style=1),
        svg.Series(label="test", points=trace(test.curve)),
    )


def _epochs_chart(
    title: str, label: str, series: tuple[svg.Series, ...], training: TrainingSummary
) -> str:
    epochs = [float(entry.epoch) for entry in training.history]
    values = [y for line in series for _, y in line.points]
    plot = svg.Plot(
        title=title,
        x=svg.build_axis("epoch", epochs, whole=True),
        y=svg.build_axis(label, values),
        series=series,
        mark=(float(training.best_epoch), f"kept: epoch {training.best_epoch}"),
    )
    return svg.line_chart(plot)
