# SPDX-License-Identifier: Apache-2.0
"""An oracle for exact arithmetic in rational numbers, and a way to compare bits."""

from fractions import Fraction

import numpy as np


def round_to_integer(x):
    """The nearest integer, ties to even."""
    return round(x)  # Python rounds a Fraction to even


def round_to_float32(x):
    """The float32 nearest to a Fraction, ties to even, gradual underflow included."""
    if x == 0:
        return np.float32(0)
    sign, magnitude = (-1 if x < 0 else 1), abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    step = Fraction(2) ** max(exponent - 23, -149)
    return np.float32(float(sign * round_to_integer(magnitude / step) * step))


def exponent_of(values, floor):
    """Smallest e with |x| < 2^e for all, at least the floor: equation (1) word for word."""
    largest = max((abs(Fraction(float(value))) for value in values), default=Fraction(0))
    exponent = floor
    while Fraction(2) ** exponent <= largest:
        exponent += 1
    return exponent


def on_grid(values):
    """Operands as the exact rationals that they are rounded to."""
    step = Fraction(2) ** (exponent_of(values, -100) - 13)
    return [round_to_integer(Fraction(float(value)) / step) * step for value in values]


def exact_dot(left, right):
    """Equation (2)."""
    products = zip(on_grid(left), on_grid(right), strict=True)
    return round_to_float32(sum((a * b for a, b in products), Fraction(0)))


def same_bits(left, right):
    """Equality that tells -0 from 0."""
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    return left.shape == right.shape and left.tobytes() == right.tobytes()
