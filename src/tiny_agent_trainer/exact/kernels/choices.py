# SPDX-License-Identifier: Apache-2.0
"""Choices between numbers, and square roots: float32 in, float32 out, at most one rounding.

Two numbers that compare equal have equal bits, or are 0 and -0: then the first operand wins,
everywhere. torch's vectorised loops and their scalar ends disagree about it. NaN stays NaN.
"""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.functions import merged

_ZERO: Final = np.float32(0.0)


@merged
def root(x: Any) -> Any:
    """The square root, one instruction of every CPU; torch's goes through MKL's library."""
    return np.sqrt(x)


@merged
def relu(x: Any) -> Any:
    """The positive part; +0 for -0."""
    return _ZERO if x <= _ZERO else x


@merged
def threshold_backward(g: Any, x: Any, threshold: Any) -> Any:
    """Derivative of a rectifier: g above the threshold, 0 at it and below."""
    return _ZERO if x <= threshold else g


@merged
def prelu_backward(x: Any, g: Any, slope: Any) -> Any:
    """Derivative of a parametric rectifier for its argument: g, times the slope but above 0."""
    return g if x > _ZERO else slope * g


@merged
def prelu_slope_backward(x: Any, g: Any) -> Any:
    """Its derivative for the slope: x g, and 0 above 0."""
    return _ZERO if x > _ZERO else x * g


@merged
def clamp_low(x: Any, low: Any) -> Any:
    """The larger of x and low."""
    return low if x < low else x


@merged
def clamp_high(x: Any, high: Any) -> Any:
    """The smaller of x and high."""
    return high if x > high else x


@merged
def clamp(x: Any, low: Any, high: Any) -> Any:
    """Between low and high; high where high is below low."""
    return clamp_high(clamp_low(x, low), high)


@merged
def hardtanh_backward(g: Any, x: Any, low: Any, high: Any) -> Any:
    """Derivative of a clamp: g where x lies between low and high, and at neither."""
    return _ZERO if x <= low or x >= high else g


@merged
def maximum(a: Any, b: Any) -> Any:
    """The larger; NaN if one is NaN."""
    return b if b > a or b != b else a  # NaN is not itself


@merged
def minimum(a: Any, b: Any) -> Any:
    """The smaller; NaN if one is NaN."""
    return b if b < a or b != b else a  # NaN is not itself


@merged
def hardshrink(x: Any, limit: Any) -> Any:
    """0 between -limit and limit, both included."""
    return _ZERO if x >= -limit and x <= limit else x


@merged
def softshrink(x: Any, limit: Any) -> Any:
    """Closer to 0 by the limit; 0 between -limit and limit."""
    below = x + limit if x < -limit else hardshrink(x, limit)
    return x - limit if x > limit else below


@merged
def shrink_backward(g: Any, x: Any, limit: Any) -> Any:
    """0 between -limit and limit, both included."""
    return _ZERO if x >= -limit and x <= limit else g
