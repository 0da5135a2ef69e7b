# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation of rows: grid, sums and application while the row is in cache."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import (
    bits_of_float32,
    float64_of_bits,
    inlined,
    kernel,
)
from tiny_agent_trainer.exact.kernels.sums import to_grid

_NOT_FINITE = 0x7F800000


@inlined
def exponent(bits: Any, floor: int) -> Any:
    """Smallest e with |x| < 2^e for a float32 of these bits, at least the floor."""
    return max((bits >> 23) - 126, floor)


@inlined
def power_of_two(e: int) -> float:
    """2^e as float64, -1022 <= e <= 1023."""
    return float64_of_bits(np.int64(e + 1023) << 52)


@inlined
def largest(x_C: Any) -> Any:
    """Bits of max|x|."""
    found = np.int32(0)
    for c in range(len(x_C)):
        found = max(found, bits_of_float32(x_C[c]) & np.int32(0x7FFFFFFF))
    return found


@kernel
def forward(
    start: int,
    stop: int,
    x_RC: Any,
    weight_C: Any,
    bias_C: Any,
    epsilon: float,
    bits: int,
    floor: int,
    mean_R: Any,
    deviation_R: Any,
    out_RC: Any,
    faults_R: Any,
) -> None:
    """Rows; `bits` are those of a term of a sum, `floor` the smallest exponent of its grid."""
    columns = x_RC.shape[1]
    for row in range(start, stop):
        x_C, out_C = x_RC[row], out_RC[row]
        found = largest(x_C)
        faults_R[row] = found >= _NOT_FINITE
        e = exponent(found, floor)
        scale, scale2 = power_of_two(bits - e), power_of_two(bits - 2 * e)
        first, second = np.int64(0), np.int64(0)
        for c in range(columns):
            x = np.float64(x_C[c])
            first += to_grid(x, scale)
            second += to_grid(x * x, scale2)
        mean = np.float64(first) * power_of_two(e - bits) / columns
        square = np.float64(second) * power_of_two(2 * e - bits) / columns
        variance = max(square - mean * mean, 0.0)
        deviation = np.float32(1.0 / np.sqrt(variance + epsilon))
        centre = np.float32(mean)
        for c in range(columns):
            out_C[c] = (x_C[c] - centre) * deviation * weight_C[c] + bias_C[c]
        mean_R[row], deviation_R[row] = centre, deviation


@kernel
def backward(
    start: int,
    stop: int,
    dy_RC: Any,
    x_RC: Any,
    weight_C: Any,
    mean_R: Any,
    deviation_R: Any,
    bits: int,
    floor: int,
    out_RC: Any,
    slope_RC: Any,
    faults_R: Any,
) -> None:
    """Gradient of x into `out`, dy times the normalised x into `slope`."""
    columns = x_RC.shape[1]
    for row in range(start, stop):
        dy_C, x_C, out_C, slope_C = dy_RC[row], x_RC[row], out_RC[row], slope_RC[row]
        mean, deviation = mean_R[row], deviation_R[row]
        for c in range(columns):
            normal = (x_C[c] - mean) * deviation
            slope_C[c] = dy_C[c] * normal
            out_C[c] = dy_C[c] * weight_C[c]
        of_gradient, of_normal = largest(out_C), np.int32(0)
        for c in range(columns):
            normal = (x_C[c] - mean) * deviation
            of_normal = max(of_normal, bits_of_float32(normal) & np.int32(0x7FFFFFFF))
        faults_R[row] = max(of_gradient, of_normal, largest(slope_C)) >= _NOT_FINITE
        e = exponent(of_gradient, floor)
        e2 = e + exponent(of_normal, floor)
        scale, scale2 = power_of_two(bits - e), power_of_two(bits - e2)
        first, second = np.int64(0), np.int64(0)
        for c in range(columns):
            weighted = np.float64(out_C[c])
            first += to_grid(weighted, scale)
            second += to_grid(weighted * np.float64((x_C[c] - mean) * deviation), scale2)
        shift = np.float32(np.float64(first) * power_of_two(e - bits) / columns)
        slope = np.float32(np.float64(second) * power_of_two(e2 - bits) / columns)
        for c in range(columns):
            normal = (x_C[c] - mean) * deviation
            out_C[c] = ((out_C[c] - shift) - normal * slope) * deviation
