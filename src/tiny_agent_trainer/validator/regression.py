# SPDX-License-Identifier: Apache-2.0
"""Metrics of estimates of a number, from exact sums.

A float32 is an integer times 2^-149, so every sum below is a sum of integers: no order and no
machine has an influence, and each metric is rounded when it is divided, and at its root.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from tiny_agent_trainer.reports.measurement import Figure, Metric
from tiny_agent_trainer.validator.predictions import Predictions

_GRID_BITS: Final = 149
"""The smallest positive float32 is 2^-149."""
_MOST_PAIRS: Final = 256
"""More dots would make a drawing larger, not clearer."""


def headline(predictions: Predictions) -> tuple[Metric, ...]:
    """Mean absolute error, root mean square error, R2 and Pearson's r.

    R2 is undefined where all true values are equal, r also where all estimates are.

    Source:
        scikit-learn, `mean_absolute_error`, `root_mean_squared_error` and `r2_score`; SciPy,
        `pearsonr`.
    """
    count = predictions.num_samples
    truth = _on_grid(predictions.labels.tolist())
    said = _on_grid(predictions.probabilities[:, 0].tolist())
    errors = [estimate - true for true, estimate in zip(truth, said, strict=True)]
    squares = _product(errors, errors)
    return (
        Figure(name="mae", value=sum(map(abs, errors)) / (count << _GRID_BITS), num_samples=count),
        Figure(name="rmse", value=_root(squares, count << 2 * _GRID_BITS), num_samples=count),
        _r2(truth, squares),
        _pearson(truth, said),
    )


def pairs(predictions: Predictions) -> tuple[tuple[float, float], ...]:
    """True value and estimate of the first samples by ordinal, for a drawing."""
    first = np.argsort(predictions.samples)[:_MOST_PAIRS]
    truth, said = predictions.labels[first], predictions.probabilities[first, 0]
    return tuple(zip(truth.tolist(), said.tolist(), strict=True))


def _r2(truth: Sequence[int], squares: int) -> Figure:
    count, spread = len(truth), _spread(truth, truth)
    if not spread:
        reason = "all true values are equal"
        return Figure(name="r2", value=None, num_samples=count, reason=reason)
    return Figure(name="r2", value=(spread - count * squares) / spread, num_samples=count)


def _pearson(truth: Sequence[int], said: Sequence[int]) -> Figure:
    count, of_truth, of_said = len(truth), _spread(truth, truth), _spread(said, said)
    if not of_truth or not of_said:
        reason = "all true values, or all estimates, are equal"
        return Figure(name="pearson_r", value=None, num_samples=count, reason=reason)
    common = _spread(truth, said)
    value = math.copysign(_root(common * common, of_truth * of_said), common)
    return Figure(name="pearson_r", value=value, num_samples=count)


def _on_grid(values: Sequence[float]) -> list[int]:
    """Multiples of 2^-149, exactly."""
    ratios = [value.as_integer_ratio() for value in values]
    return [above * ((1 << _GRID_BITS) // below) for above, below in ratios]


def _spread(one: Sequence[int], other: Sequence[int]) -> int:
    """n^2 times the covariance: n * sum(x * y) - sum(x) * sum(y)."""
    return len(one) * _product(one, other) - sum(one) * sum(other)


def _product(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(one, other, strict=True))


def _root(above: int, below: int) -> float:
    return math.sqrt(Fraction(above, below))
