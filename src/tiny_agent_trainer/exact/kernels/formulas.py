# SPDX-License-Identifier: Apache-2.0
"""Activations, their derivatives and the terms of losses: one written formula each, in float64.

Arguments come from float32, the result is rounded once to float32. Every product of two float32
numbers is exact in float64, so that a formula without a function from `functions.py` differs from
its true value by a few 2^-53 before that rounding.

Guarantees:
    Stated per formula where it is more than 0.51 units in the last place: near a zero of a
    derivative, where two terms cancel, the error is 2^-31 of the larger term.

Source:
    The documentation of torch.nn.functional. Formulas are arranged so that nothing overflows and
    no small result is the difference of large terms, as far as that is free.
"""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels import functions
from tiny_agent_trainer.exact.kernels.functions import exp, merged

_SQRT_HALF: Final = float.fromhex("0x1.6a09e667f3bcdp-1")
_INVERSE_SQRT_2_PI: Final = float.fromhex("0x1.9884533d43651p-2")
_GELU_INNER: Final = float.fromhex("0x1.9884533d43651p+0")
"""2 sqrt(2 / pi): 0.5 (1 + tanh(u)) is the sigmoid of 2 u."""

_GELU_CUBE: Final = 0.044715
_MISH_LIMIT: Final = 40.0
"""Where tanh(log(1 + e^x)) is 1 in float64, and e^(2 x) has not overflowed."""

_SIXTH: Final = float.fromhex("0x1.5555555555555p-3")

_LOG_FLOOR: Final = -100.0
"""torch's smallest logarithm in `binary_cross_entropy`."""

_VARIANCE_FLOOR: Final = 1e-12
"""torch's smallest p (1 - p) in its derivative."""


@merged
def softplus_of(x: Any) -> Any:
    """log(1 + e^x)."""
    return (x if x > 0.0 else 0.0) + functions.log1p(exp(-abs(x)))


@merged
def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return 1.0 / np.sqrt(x)


@merged
def cube(x: Any) -> Any:
    """The cube of x."""
    return x * x * x


@merged
def power_of_base(y: Any, base: Any) -> Any:
    """A base to the power y."""
    return functions.power(base, y)


@merged
def x_log_y(x: Any, y: Any) -> Any:
    """Weighted logarithm: x log(y), 0 where x is 0."""
    return 0.0 if x == 0.0 and y == y else x * functions.log(y)  # NaN is not itself


@merged
def sigmoid_backward(g: Any, y: Any) -> Any:
    """Derivative from the result y: g y (1 - y)."""
    return g * ((1.0 - y) * y)


@merged
def tanh_backward(g: Any, y: Any) -> Any:
    """Derivative from the result y: g (1 - y^2)."""
    return g * (1.0 - y * y)


@merged
def silu(x: Any) -> Any:
    """Swish: x sigmoid(x)."""
    return x / (exp(-x) + 1.0)


@merged
def silu_backward(g: Any, x: Any) -> Any:
    """Derivative: g s (1 + x (1 - s)), s = sigmoid(x)."""
    s = functions.sigmoid(x)
    return g * (s * (x * (1.0 - s) + 1.0))


@merged
def glu(a: Any, b: Any) -> Any:
    """Gated linear unit: a sigmoid(b)."""
    return a / (exp(-b) + 1.0)


@merged
def glu_gate_backward(g: Any, a: Any, b: Any) -> Any:
    """Derivative for b: g a sigmoid(b) sigmoid(-b)."""
    e = exp(-abs(b))
    return g * a * (e / ((e + 1.0) * (e + 1.0)))


@merged
def _normal(x: Any) -> Any:
    """The normal distribution function, and e^(-x^2 / 2)."""
    e = exp(-0.5 * (x * x))
    tail = 0.5 * functions.erfc_of_magnitude(x * _SQRT_HALF, e)
    return (tail if x < 0.0 else 1.0 - tail), e


@merged
def gelu(x: Any) -> Any:
    """Gaussian error linear unit: x Phi(x)."""
    cumulative, _ = _normal(x)
    return x * cumulative


@merged
def gelu_backward(g: Any, x: Any) -> Any:
    """Derivative: g (Phi(x) + x phi(x))."""
    cumulative, e = _normal(x)
    return g * (x * e * _INVERSE_SQRT_2_PI + cumulative)


@merged
def gelu_tanh(x: Any) -> Any:
    """Its approximation: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    return x / (exp(-_GELU_INNER * (x * (x * x * _GELU_CUBE + 1.0))) + 1.0)


@merged
def gelu_tanh_backward(g: Any, x: Any) -> Any:
    """Derivative: g (s + x s (1 - s) u'), where `gelu_tanh` is x s and s the sigmoid of u."""
    square = x * x
    s = functions.sigmoid(_GELU_INNER * (x * (square * _GELU_CUBE + 1.0)))
    slope = _GELU_INNER * (square * (3.0 * _GELU_CUBE) + 1.0)
    return g * (s * (x * (1.0 - s) * slope + 1.0))


@merged
def mish(x: Any) -> Any:
    """Mish: x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2)."""
    e = exp(_MISH_LIMIT if x > _MISH_LIMIT else x)
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


@merged
def mish_backward(g: Any, x: Any) -> Any:
    """Derivative: g (t + x (1 - t^2) sigmoid(x)), t the tangent in `mish`."""
    e = exp(_MISH_LIMIT if x > _MISH_LIMIT else x)
    n = e * (e + 2.0)
    slope = 4.0 * e * (e + 1.0) / ((n + 2.0) * (n + 2.0))
    return g * (n / (n + 2.0) + x * slope)


@merged
def softplus(x: Any, beta: Any, threshold: Any) -> Any:
    """Smooth rectifier: log(1 + e^(beta x)) / beta; x where beta x is above the threshold."""
    return x if x * beta > threshold else softplus_of(x * beta) / beta


@merged
def softplus_backward(g: Any, x: Any, beta: Any, threshold: Any) -> Any:
    """Derivative: g sigmoid(beta x); g where beta x is above the threshold."""
    return g if x * beta > threshold else g * functions.sigmoid(x * beta)


@merged
def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x))."""
    return -softplus_of(-x)


@merged
def log_sigmoid_backward(g: Any, x: Any) -> Any:
    """Derivative: g sigmoid(-x)."""
    return g * functions.sigmoid(-x)


@merged
def elu(x: Any, alpha: Any, scale: Any, input_scale: Any) -> Any:
    """ELU: scale x; alpha scale (e^(input_scale x) - 1) where x is not positive."""
    return x * scale if x > 0.0 else functions.expm1(x * input_scale) * (alpha * scale)


@merged
def elu_backward(g: Any, x: Any, alpha: Any, scale: Any, input_scale: Any) -> Any:
    """The derivative at the argument x."""
    slope = input_scale * (alpha * scale) * exp(x * input_scale)
    return g * scale if x > 0.0 else g * slope


@merged
def elu_backward_of_result(g: Any, y: Any, alpha: Any, scale: Any, input_scale: Any) -> Any:
    """The derivative where the result is y."""
    return g * scale if y > 0.0 else g * (input_scale * (y + alpha * scale))


@merged
def _of_six(x: Any) -> Any:
    """Between 0 and 6: x + 3."""
    x = x + 3.0
    x = 0.0 if x < 0.0 else x
    return 6.0 if x > 6.0 else x


@merged
def hardsigmoid(x: Any) -> Any:
    """Between 0 and 6, x + 3, divided by 6."""
    return _of_six(x) * _SIXTH


@merged
def hardsigmoid_backward(g: Any, x: Any) -> Any:
    """Derivative: g / 6 between -3 and 3."""
    return g * _SIXTH if x > -3.0 and x < 3.0 else 0.0


@merged
def hardswish(x: Any) -> Any:
    """Product of x and `hardsigmoid(x)`."""
    return x * _of_six(x) * _SIXTH


@merged
def hardswish_backward(g: Any, x: Any) -> Any:
    """Derivative: 0 up to -3, g (x / 3 + 1 / 2), g from 3."""
    inner = g * ((x * 2.0 + 3.0) * _SIXTH)
    inner = g if x >= 3.0 else inner
    return 0.0 if x <= -3.0 else inner


@merged
def binary_cross_entropy(x: Any, t: Any) -> Any:
    """-(t log(x) + (1 - t) log(1 - x)), logarithms not below -100."""
    hit, miss = functions.log(x), functions.log1p(-x)
    hit = _LOG_FLOOR if hit < _LOG_FLOOR else hit
    miss = _LOG_FLOOR if miss < _LOG_FLOOR else miss
    return -(t * hit + (1.0 - t) * miss)


@merged
def binary_cross_entropy_backward(g: Any, x: Any, t: Any, count: Any) -> Any:
    """Derivative: g (x - t) / (x (1 - x)), that divisor not below 1e-12; divided by the count."""
    variance = (1.0 - x) * x
    variance = _VARIANCE_FLOOR if variance < _VARIANCE_FLOOR else variance
    return g * ((x - t) / variance) / count


@merged
def binary_cross_entropy_with_logits(x: Any, t: Any, positive: Any) -> Any:
    """Of a logit: positive t log(1 + e^-x) + (1 - t) log(1 + e^x)."""
    rest = functions.log1p(exp(-abs(x)))
    hit = (0.0 if x > 0.0 else -x) + rest
    miss = (x if x > 0.0 else 0.0) + rest
    return positive * (t * hit) + (1.0 - t) * miss


@merged
def squared_error(x: Any, t: Any) -> Any:
    """(x - t)^2."""
    return (x - t) * (x - t)


@merged
def squared_error_backward(g: Any, x: Any, t: Any, count: Any) -> Any:
    """Derivative: 2 g (x - t) / count."""
    return 2.0 * g * (x - t) / count


@merged
def smooth_l1(x: Any, t: Any, beta: Any) -> Any:
    """Of d = |x - t|: d^2 / (2 beta) below beta, else d - beta / 2."""
    d = abs(x - t)
    return 0.5 * d * d / beta if d < beta else d - 0.5 * beta


@merged
def smooth_l1_backward(g: Any, x: Any, t: Any, beta: Any, count: Any) -> Any:
    """Derivative: g d / beta between -beta and beta, else g with the sign of d; / count."""
    d = x - t
    inner = g * d / beta
    inner = g if d >= beta else inner
    inner = -g if d <= -beta else inner
    return inner / count


@merged
def huber(x: Any, t: Any, delta: Any) -> Any:
    """Of d = |x - t|: d^2 / 2 below delta, else delta (d - delta / 2)."""
    d = abs(x - t)
    return 0.5 * d * d if d < delta else delta * (d - 0.5 * delta)


@merged
def huber_backward(g: Any, x: Any, t: Any, delta: Any, count: Any) -> Any:
    """Derivative: g d / count, d = x - t kept between -delta and delta."""
    d = x - t
    d = delta if d > delta else d
    d = -delta if d < -delta else d
    return g * d / count


@merged
def soft_margin(x: Any, t: Any) -> Any:
    """log(1 + e^(-t x))."""
    return softplus_of(-t * x)


@merged
def soft_margin_backward(g: Any, x: Any, t: Any, count: Any) -> Any:
    """Derivative: -t g sigmoid(-t x) / count."""
    return -t * g * functions.sigmoid(-t * x) / count
