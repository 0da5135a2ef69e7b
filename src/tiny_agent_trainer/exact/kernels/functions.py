# SPDX-License-Identifier: Apache-2.0
"""Elementary functions of float64 in single IEEE-754 operations, for kernels.

Each takes a float64 that came from float32 and returns a float64 to be rounded once to float32.
Only + - * /, comparisons, conversions and operations on the bits occur, none of which differ
between machines. There are no branches and no tables, so that loops over arrays become vector
instructions.

Guarantees:
    After the rounding to float32 the result is within 0.51 units in the last place of the true
    value, subnormal results included; NaN gives NaN; signs of zeros are those of the C standard.
    Tested against `mpmath` in `tests/reference/exact/test_functions_of_tensors.py`.

Source:
    Polynomials by the Remez exchange in 50-digit arithmetic, for the smallest relative error of the
    function named beside them; the error is given as a power of two. Reductions of the argument
    as in Cody and Waite, "Software Manual for the Elementary Functions" (1980).
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

from tiny_agent_trainer.exact.kernels.compiler import bits_of_float64, float64_of_bits

F = TypeVar("F", bound=Callable[..., Any])


def merged(function: F) -> F:
    """Compile a function that becomes part of every kernel that calls it, however long it is.

    LLVM would call a long function, and a loop with a call in it is not vectorised.
    """
    compiled = numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)
    return cast("F", compiled)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float.fromhex(word) for word in text.split())


_NAN: Final = float("nan")
_INFINITY: Final = float("inf")
_SIGN: Final = -(1 << 63)
_MAGNITUDE: Final = (1 << 63) - 1
_MANTISSA: Final = (1 << 52) - 1
_ONE_BITS: Final = 0x3FF0000000000000
_SQRT_HALF_BITS: Final = 0x3FE6A09E667F3BCD

_ROUNDER: Final = 6755399441055744.0
"""1.5 * 2^52: adding it leaves the nearest integer, ties to even, in the last bits; |x| < 2^51."""

_LOG2_E: Final = float.fromhex("0x1.71547652b82fep+0")
_LN_2: Final = float.fromhex("0x1.62e42fefa39efp-1")
_LOG10_E: Final = float.fromhex("0x1.bcb7b1526e50ep-2")

_EXP_LOW: Final = -708.0
_EXP_HIGH: Final = 709.0
"""Where 2^n is a normal float64; beyond, float32 has long reached 0 and infinity."""

_EXPM1: Final = _numbers(
    "0x1.a019ea887dd82p-13 0x1.6d748029566a7p-10 0x1.1111a67301d7bp-7 0x1.5554adb688c66p-5 "
    "0x1.555554c60b62fp-3 0x1.0000002812e7cp-1 0x1.00000000224cdp+0"
)
"""(e^r - 1) / r for |r| <= log(2) / 2; 2^-32.0."""

_LOG: Final = _numbers(
    "0x1.2f51d6acea3a9p-3 0x1.39994deaece75p-3 0x1.74669de604cb7p-3 0x1.c71c4fe8bffc6p-3 "
    "0x1.249249453302ep-2 0x1.999999997ac3bp-2 0x1.55555555555aep-1 0x1.0000000000000p+1"
)
"""2 atanh(s) / s as a polynomial of s^2, |s| <= (sqrt(2) - 1) / (sqrt(2) + 1); 2^-59.6."""

_ERF: Final = _numbers(
    "0x1.384fe3cd010e8p-25 -0x1.663fd52c9ecbfp-21 0x1.5f1b8d62bfa30p-18 -0x1.6d0044f61ff30p-16 "
    "0x1.558f87715c175p-15 0x1.f54bc027b4684p-15 -0x1.44dcba17a23c9p-11 0x1.c0e9d3ed87abcp-10 "
    "-0x1.c25600e92e95ap-13 -0x1.3961f283d20bcp-6 0x1.a4f4c5824641ep-4 0x1.45f307001243fp-1 "
    "0x1.20dd75040dde1p+0"
)
"""-log(erfc(x)) / x for 0 <= x <= 4; 2^-35.4 of erf(x)."""

_ERF_LIMIT: Final = 4.0
"""1 - erf(4) is less than half a unit of float32 below 1."""

_ERFCX: Final = _numbers(
    "-0x1.1fb55d5c034eep-5 0x1.e3e02f79d288ep-3 -0x1.45601d154ab77p-1 0x1.b54b130798e49p-1 "
    "-0x1.5ffa8c81c2db1p-1 0x1.0a33eea377b3bp-1 -0x1.d13fd552184f7p-5 0x1.bf11f7b2faa60p-3 "
    "0x1.6de41b3020476p-3 0x1.a31d285fa0e76p-3 0x1.9fb62601e6920p-3 0x1.2dcd55291f802p-18"
)
"""e^(x^2) erfc(x) as a polynomial of 1 / (1 + 0.36 x), 0 <= x <= 10.3; 2^-33.7."""

_ERFCX_SCALE: Final = 0.36

_SIN: Final = _numbers(
    "-0x1.a94afe442ab61p-26 0x1.71d720793bdfcp-19 -0x1.a019f87d366ccp-13 "
    "0x1.1111110bbdcf6p-7 -0x1.5555555550c78p-3 0x1.fffffffffffd7p-1"
)
"""sin(r) / r as a polynomial of r^2, |r| <= pi / 4; 2^-47.6."""

_COS: Final = _numbers(
    "-0x1.23b6c523eb45fp-22 0x1.a00e3991ec47cp-16 -0x1.6c16b209c5f39p-10 "
    "0x1.555555430e9d2p-5 -0x1.ffffffffdff2fp-2 0x1.ffffffffffdb1p-1"
)
"""cos(r) as a polynomial of r^2, |r| <= pi / 4; 2^-43.7."""

ANGLE_LIMIT: Final = 1048576.0
"""2^20: below it the first two parts of pi / 2, of 33 bits each, times a quarter turn are exact."""

_TWO_OVER_PI: Final = float.fromhex("0x1.45f306dc9c883p-1")
_HALF_PI_1: Final = float.fromhex("0x1.921fb544p+0")
_HALF_PI_2: Final = float.fromhex("0x1.0b4611a6p-34")
_HALF_PI_3: Final = float.fromhex("0x1.3198a2e037073p-69")


@merged
def polynomial(x: Any, coefficients: Any) -> Any:
    """A sum of powers, that of the highest first: four terms at a time, in the order written here.

    Horner's rule would make every operation wait for the one before.
    """
    square = x * x
    fourth = square * square
    first = (len(coefficients) - 1) % 4 + 1
    total = coefficients[0]
    for i in range(1, first):
        total = total * x + coefficients[i]
    for i in range(first, len(coefficients), 4):
        high = coefficients[i] * x + coefficients[i + 1]
        low = coefficients[i + 2] * x + coefficients[i + 3]
        total = total * fourth + (high * square + low)
    return total


@merged
def with_sign(magnitude: Any, x: Any) -> Any:
    """The magnitude with the sign of x, zeros included."""
    sign = bits_of_float64(x) & _SIGN
    return float64_of_bits((bits_of_float64(magnitude) & _MAGNITUDE) | sign)


@merged
def rounded(x: Any) -> Any:
    """The integer nearest to x, ties to even, |x| < 2^51."""
    return (x + _ROUNDER) - _ROUNDER


@merged
def _reduced(x: Any) -> Any:
    """With x = n log(2) + r, |r| <= log(2) / 2: n in the last bits of a float64, and e^r - 1."""
    x = _EXP_LOW if x < _EXP_LOW else x
    x = _EXP_HIGH if x > _EXP_HIGH else x
    shifted = x * _LOG2_E + _ROUNDER
    r = x - (shifted - _ROUNDER) * _LN_2
    return shifted, r * polynomial(r, _EXPM1)


@merged
def exp(x: Any) -> Any:
    """The exponential of x; it stays at e^-708 and e^709 beyond, 0 and infinity in float32.

    2^n is multiplied by an addition to the exponent. The last bits of a NaN are zeros: it stays.
    """
    shifted, rest = _reduced(x)
    return float64_of_bits(bits_of_float64(rest + 1.0) + (bits_of_float64(shifted) << 52))


@merged
def exp2(x: Any) -> Any:
    """Two to the power x."""
    return exp(x * _LN_2)


@merged
def expm1(x: Any) -> Any:
    """The exponential less 1, accurate near 0."""
    shifted, rest = _reduced(x)
    power = float64_of_bits((bits_of_float64(shifted) << 52) + _ONE_BITS)
    return x if x == 0.0 else power * rest + (power - 1.0)


@merged
def _log_parts(x: Any) -> Any:
    """With x = 2^n m, m between sqrt(1/2) and sqrt(2): n and m."""
    bits = bits_of_float64(x) + (_ONE_BITS - _SQRT_HALF_BITS)
    biased = (bits >> 52) & 0x7FF
    n = float64_of_bits(biased | 0x4330000000000000) - (4503599627370496.0 + 1023.0)
    return n, float64_of_bits((bits & _MANTISSA) + _SQRT_HALF_BITS)


@merged
def _log_series(f: Any) -> Any:
    """The logarithm of 1 + f, where that lies between sqrt(1/2) and sqrt(2)."""
    s = f / (f + 2.0)
    return s * polynomial(s * s, _LOG)


@merged
def _log_special(x: Any, result: Any) -> Any:
    """The logarithm of zero, infinity, NaN and negative numbers."""
    result = -_INFINITY if x == 0.0 else result
    result = x if x == _INFINITY else result
    return result if x >= 0.0 else _NAN


@merged
def log(x: Any) -> Any:
    """The natural logarithm: -inf of 0, NaN of negative numbers. Any normal float64 is allowed."""
    n, m = _log_parts(x)
    return _log_special(x, _log_series(m - 1.0) + n * _LN_2)


@merged
def log2(x: Any) -> Any:
    """The logarithm to base 2, exact for powers of two."""
    n, m = _log_parts(x)
    return _log_special(x, _log_series(m - 1.0) * _LOG2_E + n)


@merged
def log10(x: Any) -> Any:
    """The logarithm to base 10."""
    return log(x) * _LOG10_E


@merged
def log1p(x: Any) -> Any:
    """The logarithm of 1 + x, accurate near 0."""
    u = x + 1.0
    n, m = _log_parts(u)
    result = _log_special(u, _log_series(x if n == 0.0 else m - 1.0) + n * _LN_2)
    return x if x == 0.0 else result


@merged
def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    e = expm1(-2.0 * abs(x))
    return with_sign(e / (e + 2.0), x)


@merged
def sigmoid(x: Any) -> Any:
    """The logistic function, 1 / (1 + e^-x)."""
    return 1.0 / (exp(-x) + 1.0)


@merged
def erf(x: Any) -> Any:
    """The error function."""
    magnitude = abs(x)
    magnitude = _ERF_LIMIT if magnitude > _ERF_LIMIT else magnitude
    return with_sign(expm1(-magnitude * polynomial(magnitude, _ERF)), x)


@merged
def erfc_of_magnitude(x: Any, e: Any) -> Any:
    """The complement of the error function at |x|, where e is exp(-x^2)."""
    return e * polynomial(1.0 / (abs(x) * _ERFCX_SCALE + 1.0), _ERFCX)


@merged
def erfc(x: Any) -> Any:
    """The complement 1 - erf(x), accurate down to the smallest float32."""
    tail = erfc_of_magnitude(x, exp(-(x * x)))
    return 2.0 - tail if x < 0.0 else tail


@merged
def _turned(x: Any, quarters: Any) -> Any:
    """Sine of x plus so many quarter turns, |x| <= ANGLE_LIMIT."""
    shifted = x * _TWO_OVER_PI + _ROUNDER
    k = shifted - _ROUNDER
    r = ((x - k * _HALF_PI_1) - k * _HALF_PI_2) - k * _HALF_PI_3
    square = r * r
    quarter = bits_of_float64(shifted) + quarters
    sine, cosine = r * polynomial(square, _SIN), polynomial(square, _COS)
    value = cosine if quarter & 1 else sine
    return float64_of_bits(bits_of_float64(value) ^ ((quarter & 2) << 62))


@merged
def sin(x: Any) -> Any:
    """The sine of x radians, |x| <= ANGLE_LIMIT."""
    return _turned(x, 0)


@merged
def cos(x: Any) -> Any:
    """The cosine of x radians, |x| <= ANGLE_LIMIT."""
    return _turned(x, 1)


@merged
def _parity(y: Any) -> Any:
    """0 for an even integer, 1 for an odd one, 0.5 for what is not an integer."""
    magnitude = abs(y)
    magnitude = 33554432.0 if magnitude > 33554432.0 else magnitude  # 2^25: even, as all above
    half = magnitude * 0.5
    odd = 1.0 if rounded(half) != half else 0.0
    return odd if rounded(magnitude) == magnitude else 0.5


@merged
def power(x: Any, y: Any) -> Any:
    """A number to a power, with the special cases of the C standard's pow."""
    magnitude = abs(x)
    result = exp(y * log(magnitude))
    parity = _parity(y)
    result = -result if parity == 1.0 and bits_of_float64(x) < 0 else result
    result = _NAN if parity == 0.5 and x < 0.0 and magnitude != _INFINITY else result
    is_one = y == 0.0 or x == 1.0 or (x == -1.0 and abs(y) == _INFINITY)
    return 1.0 if is_one else result
