# SPDX-License-Identifier: Apache-2.0
"""Distributions drawn from raw words by single IEEE float64 operations.

numpy's `log`, `cos` and `exp` change their last bit with the CPU, so the few functions that are
needed are polynomials here: additions and multiplications of numpy arrays are single IEEE
operations on every machine.
"""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.randomness import Stream

Floats = npt.NDArray[np.float64]

_LOG2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LOG2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_TWO_PI = float.fromhex("0x1.921fb54442d18p+2")
_SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_SERIES_TERMS = 12
_REJECTION_ROUNDS = 1000
"""Rounds of a truncated draw; more than needed if the bounds hold 3 % of the distribution."""


def uniform(stream: Stream, count: int, low: float, high: float) -> npt.NDArray[np.float32]:
    """Uniform on [low, high] in float32: low + u * (high - low), three roundings.

    `high` itself can only come out where the last rounding reaches it, as in torch.
    """
    width = np.float32(high) - np.float32(low)
    return np.float32(low) + stream.uniform(count) * width


def normal(stream: Stream, count: int, mean: float, deviation: float) -> Floats:
    """Normal numbers in float64, shape (count,).

    Source:
        Box and Muller (1958), on pairs of 52-bit uniforms.
    """
    pairs = stream.uniform64(count + count % 2).reshape(-1, 2)
    radius = np.sqrt(-2.0 * log(pairs[:, 0]))
    cosine, sine = turn(pairs[:, 1])
    both = np.stack([radius * cosine, radius * sine], axis=1).reshape(-1)[:count]
    return mean + deviation * both


def truncated_normal(
    streams: "RoundStreams", count: int, mean: float, deviation: float, low: float, high: float
) -> Floats:
    """Normal numbers within [low, high], by rejection: round k uses its own stream.

    Raises:
        ValueError: The bounds hold so little of the distribution that rejection does not end.
    """
    values = np.full(count, np.nan)
    waiting = np.arange(count)
    for attempt in range(_REJECTION_ROUNDS):
        drawn = normal(streams(attempt), len(waiting), mean, deviation)
        accepted = (drawn >= low) & (drawn <= high)
        values[waiting[accepted]] = drawn[accepted]
        waiting = waiting[~accepted]
        if not len(waiting):
            return values
    message = f"[{low}, {high}] holds too little of a normal({mean}, {deviation})"
    raise ValueError(message)


class RoundStreams:
    """The streams of the rounds of one draw: the stream itself, then ones derived from its key."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __call__(self, attempt: int) -> Stream:
        """The stream of round `attempt`, from 0."""
        if attempt == 0:
            return self._stream
        block = np.array([(1 << 63) + attempt], np.uint64)
        words = self._stream.blocks(block)[0, :8]
        return Stream(words.astype("<u4").tobytes())


def log(x: Floats) -> Floats:
    """Natural logarithm of positive normal numbers, within 3 units of 2^-53."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, 2.0 * mantissa, mantissa)
    exponent = (exponent - small).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = np.full_like(square, 1.0 / (2 * _SERIES_TERMS + 1))
    for k in range(_SERIES_TERMS - 1, -1, -1):
        series = series * square + 1.0 / (2 * k + 1)
    return exponent * _LOG2_HIGH + (exponent * _LOG2_LOW + 2.0 * ratio * series)


def turn(share: Floats) -> tuple[Floats, Floats]:
    """Cosine and sine of `share` full turns, share in [0, 1), within 2 units of 2^-53."""
    quarter = np.floor(4.0 * share + 0.5)
    angle = (share - 0.25 * quarter) * _TWO_PI
    square = angle * angle
    cosine, sine = np.ones_like(angle), np.ones_like(angle)
    for k in range(_SERIES_TERMS, 0, -1):
        cosine = 1.0 - cosine * square / ((2 * k - 1) * (2 * k))
        sine = 1.0 - sine * square / ((2 * k) * (2 * k + 1))
    sine = sine * angle
    swap = (quarter % 2) == 1
    first, second = np.where(swap, sine, cosine), np.where(swap, cosine, sine)
    negative_cosine = (quarter == 1) | (quarter == 2)
    negative_sine = (quarter == 2) | (quarter == 3)
    return np.where(negative_cosine, -first, first), np.where(negative_sine, -second, second)


def erfinv(x: Floats) -> Floats:
    """Inverse error function on (-1, 1), within 4e-7 of the value; +-infinity at +-1.

    Source:
        Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011), single precision,
        evaluated in float64 with this module's logarithm.
    """
    inside = np.abs(x) < 1.0
    safe = np.where(inside, x, 0.0)
    w = -log((1.0 - safe) * (1.0 + safe))
    central = _horner(w - 2.5, _ERFINV_CENTRAL)
    tail = _horner(np.sqrt(np.maximum(w, 5.0)) - 3.0, _ERFINV_TAIL)
    return np.where(inside, np.where(w < 5.0, central, tail) * safe, np.copysign(np.inf, x))


def _horner(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


_ERFINV_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_ERFINV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip
