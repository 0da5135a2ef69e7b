# SPDX-License-Identifier: Apache-2.0
"""Curves of brightness in integers, and noise in single float32 operations."""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels import functions
from tiny_agent_trainer.exact.kernels.compiler import kernel

PIECES: Final = 256
"""Straight pieces of a curve."""

CURVE_BITS: Final = 16
"""A curve goes from 0 to 2^16."""

_PIECE_BITS: Final = 8
_ONE: Final = 1 << CURVE_BITS


@kernel
def power_curves(start: int, stop: int, exponents_N: Any, curves_NK: Any) -> None:
    """Knots of x^exponent on [0, 1]: exp(exponent * log(x)), rounded to 16 bits."""
    for n in range(start, stop):
        curves_NK[n, 0] = 0
        for k in range(1, PIECES + 1):
            value = functions.exp(exponents_N[n] * functions.log(k / PIECES))
            curves_NK[n, k] = min(np.int64(value * _ONE + 0.5), _ONE)


@kernel
def apply_curves(
    start: int, stop: int, images_NP: Any, lows_N: Any, spans_N: Any, curves_NK: Any, curved_NP: Any
) -> None:
    """Low + span * curve((x - low) / span); each division rounds down, each shift to nearest."""
    for n in range(start, stop):
        low, span = lows_N[n], spans_N[n]
        for p in range(images_NP.shape[1]):
            share = ((np.int64(images_NP[n, p]) - low) << CURVE_BITS) // span
            k = min(share >> _PIECE_BITS, PIECES - 1)
            rest = share - (k << _PIECE_BITS)
            value = curves_NK[n, k] * (PIECES - rest) + curves_NK[n, k + 1] * rest
            value = (value + (1 << (_PIECE_BITS - 1))) >> _PIECE_BITS
            curved_NP[n, p] = low + ((value * span + (1 << (CURVE_BITS - 1))) >> CURVE_BITS)


@kernel
def add_noise(
    start: int, stop: int, inputs_NP: Any, words_NQ: Any, factors_N: Any, noisy_NP: Any
) -> None:
    """X + factor * (sum of eight bytes - 1020), two float32 operations, each rounded once."""
    for n in range(start, stop):
        for p in range(inputs_NP.shape[1]):
            total = -1020
            for half in range(2):
                word = words_NQ[n, 2 * p + half]
                total += (word & 255) + ((word >> 8) & 255) + ((word >> 16) & 255) + (word >> 24)
            noisy_NP[n, p] = inputs_NP[n, p] + factors_N[n] * np.float32(total)
