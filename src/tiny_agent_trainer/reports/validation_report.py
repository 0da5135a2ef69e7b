# SPDX-License-Identifier: Apache-2.0
"""ValidationReport: what a model did on one split, as counts from which every figure follows."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tiny_agent_trainer import errors
from tiny_agent_trainer.reports.measurement import Measurement, Metric

Task: TypeAlias = Literal["multiclass", "multilabel", "regression", "ordinal"]
"""Multiclass: one class per sample (two classes are "binary"). Multilabel: any number of labels,
some of which may be unknown. Regression: a number. Ordinal: one of several grades, lowest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What happens when every sample scoring at least `threshold` is called positive."""

    threshold: float
    true_positives: int
    false_positives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The ROC and the precision-recall curve of one class, which share their points.

    Args:
        num_positives: Samples of the class.
        num_negatives: All others.
        num_thresholds: Distinct scores, each of which is a point of the full curve.
        points: By falling threshold, ending at (num_positives, num_negatives); the start at (0, 0)
            is not listed. Empty when the class, or every other class, is absent. A long curve is
            thinned (`validator.ranking`); each point that is kept is exact.
    """

    num_positives: int
    num_negatives: int
    num_thresholds: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class against the rest.

    Args:
        name: The class.
        true_positives: Samples of the class that were called so.
        false_positives: Other samples that were called so.
        false_negatives: Samples of the class that were not called so.
        true_negatives: Other samples that were not called so.
        auroc: Numerator 2 * concordant + tied pairs, denominator 2 * positives * negatives.
        average_precision: Numerator on a grid of 2^-64 (see `validator.ranking`).
        curve: The points of both curves.
    """

    name: str
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    auroc: Measurement
    average_precision: Measurement
    curve: Curve

    @property
    def num_samples(self) -> int:
        """All samples of the split whose label is known."""
        return self.num_positives + self.false_positives + self.true_negatives

    @property
    def num_positives(self) -> int:
        """Samples of this class, TP + FN."""
        return self.true_positives + self.false_negatives

    @property
    def prevalence(self) -> Measurement:
        """Share of the samples that are of this class."""
        return self._ratio("prevalence", self.num_positives, self.num_samples, "samples")

    @property
    def sensitivity(self) -> Measurement:
        """TP / (TP + FN), also called recall or true positive rate."""
        over = f"samples of class {self.name}"
        return self._ratio("sensitivity", self.true_positives, self.num_positives, over)

    @property
    def specificity(self) -> Measurement:
        """TN / (TN + FP)."""
        negatives = self.true_negatives + self.false_positives
        over = f"samples without class {self.name}"
        return self._ratio("specificity", self.true_negatives, negatives, over)

    @property
    def ppv(self) -> Measurement:
        """TP / (TP + FP), positive predictive value or precision; it depends on prevalence."""
        called = self.true_positives + self.false_positives
        over = f"samples that were called {self.name}"
        return self._ratio("ppv", self.true_positives, called, over)

    @property
    def npv(self) -> Measurement:
        """TN / (TN + FN), negative predictive value; it depends on prevalence."""
        not_called = self.true_negatives + self.false_negatives
        over = f"samples that were not called {self.name}"
        return self._ratio("npv", self.true_negatives, not_called, over)

    @property
    def f1(self) -> Measurement:
        """2 TP / (2 TP + FP + FN)."""
        twice = 2 * self.true_positives
        over = f"samples that are of class {self.name} or were called so"
        return self._ratio("f1", twice, twice + self.false_positives + self.false_negatives, over)

    def _ratio(self, what: str, numerator: int, denominator: int, over: str) -> Measurement:
        name = f"{what}[{self.name}]"
        return Measurement(name=name, numerator=numerator, denominator=denominator, over=over)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """What a model did on one split.

    Args:
        split: `val` or `test`.
        task: How labels are to be read.
        classes: Their names, in the order of the model's outputs; the target's for regression.
        num_samples: Samples of the split.
        num_patients: Distinct patients among them.
        loss: Mean loss per sample: the exact sum, rounded to float64, then divided. Unknown labels
            count neither above nor below.
        headline: The metrics of the whole split, by unique name.
        results: One per class, in the order of `classes`; none for regression.
        confusion: `confusion[true][called]` as counts; None for multilabel and regression.
        estimates: For regression (true value, estimate) of the first 256 samples by ordinal, for a
            drawing; ordinals are by content, so that these are no special ones.

    Guarantees:
        No time, host, path or order of samples is in it: equal predictions give equal reports.
    """

    split: str
    task: Task
    classes: tuple[str, ...]
    num_samples: int
    num_patients: int
    loss: float
    headline: tuple[Metric, ...]
    results: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    estimates: tuple[tuple[float, float], ...] = ()

    @property
    def positive_class(self) -> str | None:
        """The class that binary figures speak of: the last of two, as in MedMNIST; else None."""
        return self.classes[-1] if self.task == "multiclass" and len(self.classes) == 2 else None

    @property
    def num_unknown(self) -> tuple[int, ...]:
        """How many samples of each class have no known label."""
        return tuple(self.num_samples - result.num_samples for result in self.results)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What `metric` and `value` accept."""
        return (*(metric.name for metric in self.headline), "loss")

    def find(self, name: str) -> Metric:
        """The headline metric of that name.

        Raises:
            KeyError: There is none.
        """
        for metric in self.headline:
            if metric.name == name:
                return metric
        message = f"no metric {name!r}; there are {', '.join(self.metric_names)}"
        raise KeyError(message)

    def value(self, name: str) -> float | None:
        """The value of a headline metric or of `loss`; None where it is undefined.

        Raises:
            KeyError: There is no such metric.
        """
        return self.loss if name == "loss" else self.find(name).value

    def metric(self, name: str) -> float:
        """A value by which epochs can be compared.

        Args:
            name: One of `metric_names`.

        Raises:
            DatasetError: The metric is undefined on this split.
            KeyError: There is no such metric.
        """
        value = self.value(name)
        if value is None:
            raise errors.DatasetError(
                where=f"split {self.split}",
                expected=f"samples that define {name}",
                found=self.find(name).undefined_because or "none",
                remedy="choose another metric, such as accuracy or loss, or other splits",
            )
        return value
