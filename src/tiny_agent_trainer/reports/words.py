# SPDX-License-Identifier: Apache-2.0
"""How figures are said to people: titles, rounded values, counts, and sentences."""

from collections.abc import Mapping

from tiny_agent_trainer.reports.measurement import GRID_BITS, Figure, Mean, Metric
from tiny_agent_trainer.reports.validation_report import Task, ValidationReport

TITLES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "loss": "Mean loss",
    "mae": "Mean absolute error",
    "rmse": "Root mean square error",
    "r2": "R2",
    "pearson_r": "Pearson r",
    "quadratic_weighted_kappa": "Quadratic weighted kappa",
    "rank_mae": "Mean absolute error in grades",
}

_MAIN: Mapping[Task, tuple[str, ...]] = {
    "multiclass": ("auroc", "accuracy", "balanced_accuracy"),
    "multilabel": ("auroc", "accuracy", "balanced_accuracy"),
    "regression": ("mae", "rmse", "r2", "pearson_r"),
    "ordinal": ("quadratic_weighted_kappa", "accuracy", "rank_mae"),
}

_OF_CLASSES = (
    (
        "AUROC",
        "How often the model gives a higher score to an image of the class than to an image "
        "without it, a tie counting half. 0.5 is chance, 1 is perfect order. It does not depend on "
        "a threshold, nor on how common the class is. The counts take every pair twice, so that a "
        "tie can count once.",
    ),
    (
        "Sensitivity and specificity",
        "The share of images of the class that the model finds, and the share of the other images "
        "that it leaves alone, both at the decision rule stated with the results.",
    ),
    (
        "PPV and NPV",
        "How often the model is right when it names the class, and when it does not. Both change "
        "with how common the class is: where it is rarer than here, the PPV will be lower.",
    ),
    (
        "Balanced accuracy",
        "The mean sensitivity over the classes, so that a common class cannot hide a rare one. Of "
        "labels it is the mean of all sensitivities and specificities.",
    ),
    (
        "F1",
        "Two times the right finds, over the images of the class plus the images called so. Macro "
        "F1 is its unweighted mean over the classes.",
    ),
    (
        "Average precision",
        "The mean, over the images of the class, of the precision at their score. For a model "
        "without skill it is the prevalence.",
    ),
    (
        "Undefined",
        "The split has no image for the denominator, for instance none of the class. A mean over "
        "classes is undefined as soon as one part is; nothing is left out silently.",
    ),
)


_OF_NUMBERS = (
    (
        "Mean absolute error",
        "How far the estimate is from the true value, on average, in the unit of the target. The "
        "root mean square error weighs large errors more.",
    ),
    (
        "R2",
        "One minus the squared errors over the squared distances of the true values from their "
        "mean in the split. 1 is perfect, 0 is no better than always answering that mean, and a "
        "negative value is worse.",
    ),
    (
        "Pearson r",
        "How well a straight line leads from the estimates to the true values, from -1 to 1. It "
        "does not see a constant shift or a wrong scale.",
    ),
    ("Undefined", "All true values, or all estimates, of the split are equal."),
)

_OF_GRADES = (
    (
        "Quadratic weighted kappa",
        "Agreement with the true grades beyond what the frequencies of both would give by chance, "
        "where an error counts by the square of its distance in grades. 1 is perfect, 0 is chance.",
    ),
    (
        "Mean absolute error in grades",
        "How many grades the answer is from the true one, on average.",
    ),
)


def explanations(task: Task) -> tuple[tuple[str, str], ...]:
    """What the measures of a task mean, as terms and sentences."""
    if task == "regression":
        return _OF_NUMBERS
    return (*_OF_GRADES, *_OF_CLASSES) if task == "ordinal" else _OF_CLASSES


def main_metrics(task: Task) -> tuple[str, ...]:
    """The metrics that stand at the head of a report, the most telling first."""
    return _MAIN[task]


def title(name: str) -> str:
    """The name of a metric as a heading."""
    return TITLES.get(name, name.replace("_", " "))


def split_name(split: str) -> str:
    """The name of a split in full: `val` is validation."""
    return {"train": "training", "val": "validation"}.get(split, split)


def split(report: ValidationReport) -> str:
    """The split of a report in a sentence, such as `validation split`."""
    return f"{split_name(report.split)} split"


def show(value: float | None, decimals: int = 3) -> str:
    """A value with a fixed number of decimals, or the word undefined."""
    return "undefined" if value is None else format(value, f".{decimals}f")


def show_percent(value: float | None) -> str:
    """A value from 0 to 1 as a percentage with one decimal."""
    return "undefined" if value is None else f"{value * 100:.1f} %"


def show_count(count: int) -> str:
    """A count with commas between thousands."""
    return f"{count:,}"


def show_counts(metric: Metric) -> str:
    """The two counts behind a value, or what it is the mean of."""
    if isinstance(metric, Figure):
        return f"n={show_count(metric.num_samples)}"
    if isinstance(metric, Mean):
        missing = sum(part.value is None for part in metric.of)
        return f"mean of {len(metric.of)}" + (f", {missing} undefined" if missing else "")
    if metric.denominator >> GRID_BITS:
        return f"mean over {show_count(metric.denominator >> GRID_BITS)}"
    return f"{show_count(metric.numerator)} / {show_count(metric.denominator)}"


def class_counts(report: ValidationReport) -> dict[str, tuple[int, ...]]:
    """How many samples each class has, under the name of the split."""
    return {report.split: tuple(result.num_positives for result in report.results)}


def decision_rule(report: ValidationReport) -> str:
    """When the model is taken to call a sample by a class, as one sentence."""
    if report.task == "multilabel":
        return "An image is called by each label whose probability is above 0.5."
    if report.task == "regression":
        return f"The model answers with an estimate of {report.classes[0]}, in its own unit."
    return "An image is called by the class of the highest probability; ties go to the first."


def headline(report: ValidationReport) -> str:
    """What the first figure of a split says, in one or two sentences."""
    if report.task == "regression":
        return (
            f"In the {split(report)} the estimate of {report.classes[0]} is off by "
            f"{show(report.value('mae'))} on average."
        )
    value = report.value("auroc")
    if value is None:
        reason = report.find("auroc").undefined_because
        return f"The AUROC of the {split(report)} is undefined ({reason})."
    share = show_percent(value)
    if report.positive_class is not None:
        other = report.classes[0]
        return (
            f"Of all pairs of one {report.positive_class} image and one {other} image in the "
            f"{split(report)}, the model gives the {report.positive_class} image the higher score "
            f"in {share} (ties count half; 50 % is chance)."
        )
    multilabel = report.task == "multilabel"
    groups, group = ("labels", "label") if multilabel else ("classes", "class")
    rest = "an image without it" if multilabel else "an image of another class"
    return (
        f"Averaged over the {len(report.classes)} {groups}, the model gives an image of the "
        f"{group} a higher score for it than {rest} in {share} of all pairs of the "
        f"{split(report)} (ties count half; 50 % is chance)."
    )


def positive(report: ValidationReport) -> str:
    """Which class is the positive one, in one sentence; empty unless there are two classes."""
    if report.positive_class is None:
        return ""
    return (
        f"The positive class is {report.positive_class}, the last one, as in MedMNIST: sensitivity "
        f"is the share of {report.positive_class} images that were found, specificity that of "
        f"{report.classes[0]} images. Check that this is the finding you care about."
    )
