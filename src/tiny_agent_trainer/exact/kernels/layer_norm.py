# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation of rows: grid, sums and application while the row is in cache."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.blocks import NOT_FINITE, exponent_of, power_as_float64
from tiny_agent_trainer.exact.kernels.compiler import bits_of_float32, kernel
from tiny_agent_trainer.exact.kernels.scan import largest_of_line
from tiny_agent_trainer.exact.kernels.sums import to_grid


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
        found = largest_of_line(x_C.view(np.int32))
        faults_R[row] = found >= NOT_FINITE
        e = exponent_of(found, floor)
        scale, scale2 = power_as_float64(bits - e), power_as_float64(bits - 2 * e)
        first, second = np.int64(0), np.int64(0)
        for c in range(columns):
            x = np.float64(x_C[c])
            first += to_grid(x, scale)
            second += to_grid(x * x, scale2)
        mean = np.float64(first) * power_as_float64(e - bits) / columns
        square = np.float64(second) * power_as_float64(2 * e - bits) / columns
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
        of_gradient, of_normal = largest_of_line(out_C.view(np.int32)), np.int32(0)
        for c in range(columns):
            normal = (x_C[c] - mean) * deviation
            of_normal = max(of_normal, bits_of_float32(normal) & np.int32(0x7FFFFFFF))
        faults_R[row] = (
            max(of_gradient, of_normal, largest_of_line(slope_C.view(np.int32))) >= NOT_FINITE
        )
        e = exponent_of(of_gradient, floor)
        e2 = e + exponent_of(of_normal, floor)
        scale, scale2 = power_as_float64(bits - e), power_as_float64(bits - e2)
        first, second = np.int64(0), np.int64(0)
        for c in range(columns):
            weighted = np.float64(out_C[c])
            first += to_grid(weighted, scale)
            second += to_grid(weighted * np.float64((x_C[c] - mean) * deviation), scale2)
        shift = np.float32(np.float64(first) * power_as_float64(e - bits) / columns)
        slope = np.float32(np.float64(second) * power_as_float64(e2 - bits) / columns)
        for c in range(columns):
            normal = (x_C[c] - mean) * deviation
            out_C[c] = ((out_C[c] - shift) - normal * slope) * deviation
