# SPDX-License-Identifier: Apache-2.0
"""Elementary functions of one number, the same on every machine.

`math.exp`, `math.cos` and `**` come from the C library, whose last bit changes with its version
and with the CPU it dispatches for. These are computed in integers: an argument becomes a number
with `_BITS` fractional bits, a Taylor series is summed with truncating integer operations,
and the result is rounded once to float64.

Guarantees:
    The error before the final rounding is below 2^-150 of the result for |x| <= 700, so the float64
    returned is the correctly rounded one unless the true value lies that close to the middle of two
    floats. Tested against `mpmath`; independent of the C library by construction.
"""

import functools
import math

_BITS = 256
"""Fractional bits of the fixed-point numbers; series lose fewer than 20 of them."""

_ONE = 1 << _BITS
_EXP_LIMIT = 745.0
"""Beyond +-745.2 the exponential leaves the range of float64."""

_SQRT_HALF = 0.7071067811865476
_SIN_IS_X = 2.0**-27
"""Below it x - sin(x) < x^3 / 6 is less than half a unit of x, so x is the nearest float64."""


def exp(x: float) -> float:
    """The exponential of x.

    Raises:
        OverflowError: x > 709.78, where the result leaves float64.
        ValueError: x is NaN or infinite.
    """
    _require_finite(x)
    if x < -_EXP_LIMIT - 1:
        return 0.0
    if x > _EXP_LIMIT:
        raise OverflowError("exp: the result is beyond float64")
    return _exp_of_fixed(_to_fixed(x))


def log(x: float) -> float:
    """The natural logarithm of x.

    Raises:
        ValueError: x is not a positive finite number.
    """
    return _round(_log_to_fixed(x))


def power(base: float, exponent: float) -> float:
    """A positive base to any finite power; 0 to a positive power is 0.

    Raises:
        ValueError: A negative base, or 0 to a power that is not positive.
        OverflowError: The result leaves float64.
    """
    _require_finite(exponent)
    if base == 0 and exponent > 0:
        return 0.0
    numerator, denominator = exponent.as_integer_ratio()
    product = _log_to_fixed(base) * numerator // denominator
    if abs(product) > int(_EXP_LIMIT) << _BITS:
        if product < 0:
            return 0.0
        raise OverflowError("power: the result is beyond float64")
    return _exp_of_fixed(product)


def cos(x: float) -> float:
    """The cosine of x radians, |x| <= 2^60."""
    quarter, rest = _reduce_angle(x)
    return _round((_cos_series, _sin_series)[quarter % 2](rest) * (1, -1, -1, 1)[quarter])


def sin(x: float) -> float:
    """The sine of x radians, |x| <= 2^60."""
    if abs(x) < _SIN_IS_X:
        return x
    quarter, rest = _reduce_angle(x)
    return _round((_sin_series, _cos_series)[quarter % 2](rest) * (1, 1, -1, -1)[quarter])


@functools.cache
def pi_fixed() -> int:
    """Pi in fixed point, by Machin's formula: 16 atan(1/5) - 4 atan(1/239)."""
    return 16 * _inverse_arctangent(5) - 4 * _inverse_arctangent(239)


@functools.cache
def log2_fixed() -> int:
    """The logarithm of 2 in fixed point: 2 atanh(1/3)."""
    return 2 * _atanh_series(_ONE // 3)


def _require_finite(x: float) -> None:
    if not math.isfinite(x):
        message = f"a finite number is needed, found {x}"
        raise ValueError(message)


def _to_fixed(x: float) -> int:
    numerator, denominator = x.as_integer_ratio()
    return (numerator << _BITS) // denominator


def _round(fixed: int) -> float:
    return fixed / _ONE  # the quotient of two Python integers is correctly rounded


def _exp_of_fixed(x: int) -> float:
    halvings = 16
    count, rest = divmod(x, log2_fixed())
    reduced, term, total, n = rest >> halvings, _ONE, _ONE, 1
    while term:
        term = (term * reduced >> _BITS) // n
        total += term
        n += 1
    for _ in range(halvings):
        total = total * total >> _BITS
    return (total << count) / _ONE if count >= 0 else total / (_ONE << -count)


def _log_to_fixed(x: float) -> int:
    if not 0 < x < math.inf:
        message = f"a positive finite number is needed, found {x}"
        raise ValueError(message)
    mantissa, exponent = math.frexp(x)
    if mantissa < _SQRT_HALF:  # so that nothing cancels near 1, and log(1) is 0
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    fixed = _to_fixed(mantissa)
    return 2 * _atanh_series(((fixed - _ONE) << _BITS) // (fixed + _ONE)) + exponent * log2_fixed()


def _atanh_series(x: int) -> int:
    square, power_of_x, total, n = x * x >> _BITS, x, 0, 1
    while power_of_x not in (0, -1):
        total += power_of_x // n
        power_of_x = power_of_x * square >> _BITS
        n += 2
    return total


def _inverse_arctangent(n: int) -> int:
    term, total, divisor = _ONE // n, 0, 1
    while term:
        total += term // divisor
        term = -term // (n * n)
        divisor += 2
        if term == -1:
            break
    return total


def _reduce_angle(x: float) -> tuple[int, int]:
    """The quarter turn (0 to 3) nearest to x, and the angle left, in fixed point."""
    _require_finite(x)
    if abs(x) > 2.0**60:
        message = f"an angle of at most 2^60 radians is needed, found {x}"
        raise ValueError(message)
    half_pi = pi_fixed() // 2
    angle = _to_fixed(x)
    count = (2 * angle + half_pi) // (2 * half_pi)
    return count % 4, angle - count * half_pi


def _cos_series(x: int) -> int:
    return _alternating_series(x, first=_ONE, n=0)


def _sin_series(x: int) -> int:
    return _alternating_series(x, first=x, n=1)


def _alternating_series(x: int, first: int, n: int) -> int:
    square, term, total = x * x >> _BITS, first, 0
    while term not in (0, -1):
        total += term
        term = -(term * square >> _BITS) // ((n + 1) * (n + 2))
        n += 2
    return total
