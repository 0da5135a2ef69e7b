# SPDX-License-Identifier: Apache-2.0
"""What a metric is: two integers, or the mean of such, and a value that is rounded once."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from tiny_agent_trainer import canonical

GRID_BITS = 64
"""A measurement that is itself a sum of fractions, average precision, counts units of 2^-64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A ratio of two counts.

    Args:
        name: What is measured, `sensitivity`, or with its class, `sensitivity[pneumonia]`.
        numerator: Zero or more.
        denominator: Zero or more; zero means that the measurement is undefined.
        over: What the denominator counts, in words that go on from "there are no ...".

    Raises:
        ValueError: A negative count.

    Guarantees:
        `value` is the float64 nearest to numerator/denominator (one rounding, ties to even), as
        Python divides integers. Tested against `fractions.Fraction`.
    """

    name: str
    numerator: int
    denominator: int
    over: str = "samples"

    def __post_init__(self) -> None:
        if self.numerator < 0 or self.denominator < 0:
            message = f"{self.name}: expected two counts, found {self.numerator}/{self.denominator}"
            raise ValueError(message)

    @property
    def value(self) -> float | None:
        """The ratio, or None where it is undefined."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def undefined_because(self) -> str | None:
        """Why there is no value, as a sentence without its full stop; None where there is one."""
        return None if self.denominator else f"{self.name}: there are no {self.over}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The unweighted mean of measurements, such as a macro average over classes.

    Args:
        name: What is measured, `macro_f1`.
        of: The measurements, at least one.

    Raises:
        ValueError: No measurement to take the mean of.

    Guarantees:
        `value` is the float64 nearest to the exact rational mean: no part is rounded first. It is
        undefined as soon as one part is; no class is left out silently.
    """

    name: str
    of: tuple[Measurement, ...]

    def __post_init__(self) -> None:
        if not self.of:
            message = f"{self.name}: expected at least one measurement, found none"
            raise ValueError(message)

    @property
    def value(self) -> float | None:
        """The mean, or None where a part is undefined."""
        if self.undefined_because is not None:
            return None
        total = sum((Fraction(part.numerator, part.denominator) for part in self.of), Fraction(0))
        mean = total / len(self.of)
        return mean.numerator / mean.denominator

    @property
    def undefined_because(self) -> str | None:
        """The reasons of all undefined parts, joined by semicolons; None where there is none."""
        reasons = [part.undefined_because for part in self.of]
        return "; ".join(reason for reason in reasons if reason is not None) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value from exact sums that is no ratio of two counts, such as a mean error or a root.

    Args:
        name: What is measured, `rmse`.
        value: Finite; None where it is undefined.
        num_samples: Samples that it is over.
        reason: Why there is no value, in words that go on from the name.
    """

    name: str
    value: float | None
    num_samples: int
    reason: str = ""

    @property
    def undefined_because(self) -> str | None:
        """Why there is no value; None where there is one."""
        return f"{self.name}: {self.reason}" if self.value is None else None


Metric: TypeAlias = Measurement | Mean | Figure
"""All have `name`, `value` and `undefined_because`."""


def encode_count(count: int) -> canonical.JsonValue:
    """A count as JSON: a number up to 2^53 - 1, beyond it a string of decimal digits."""
    return count if abs(count) <= canonical.INTEGER_LIMIT else str(count)


def encode_metric(metric: Metric) -> dict[str, canonical.JsonValue]:
    """A metric as a JSON object.

    A measurement has `name`, `value`, `numerator` and `denominator`; a mean has `name`, `value` and
    `mean_of`, the names of its parts; a figure has `name`, `value` and `num_samples`. An undefined
    one has the value null and `undefined_because`.
    """
    encoded: dict[str, canonical.JsonValue] = {"name": metric.name, "value": metric.value}
    if isinstance(metric, Measurement):
        encoded["numerator"] = encode_count(metric.numerator)
        encoded["denominator"] = encode_count(metric.denominator)
    elif isinstance(metric, Figure):
        encoded["num_samples"] = metric.num_samples
    else:
        encoded["mean_of"] = [part.name for part in metric.of]
    if metric.undefined_because is not None:
        encoded["undefined_because"] = metric.undefined_because
    return encoded
