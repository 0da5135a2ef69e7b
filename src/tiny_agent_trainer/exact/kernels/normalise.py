# SPDX-License-Identifier: Apache-2.0
"""Sums and applications of batch, group and instance normalisation.

Arrays are (N, S, C): samples, places, channels innermost; or (N * C, S, 1) where places are
innermost. Parameters stand per cell, (N, C) or (N * C, 1), or per channel, (1, C) or (C, 1): row n
of an array belongs to row n % R of its parameters. Each task is one part of one sample's places.
"""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel
from tiny_agent_trainer.exact.kernels.sums import to_grid


@kernel
def moments(
    start: int, stop: int, x_NSC: Any, parts: int, scale_RC: Any, scale2_RC: Any, out_NPC2: Any
) -> None:
    """Sums of x and of its squares on their grids, as int64."""
    places, channels = x_NSC.shape[1:]
    for task in range(start, stop):
        n, part = task // parts, task % parts
        out_C2 = out_NPC2[n, part]
        out_C2[:] = 0
        first, last = places * part // parts, places * (part + 1) // parts
        if channels == 1:
            _moments_of_line(
                x_NSC[n, first:last, 0],
                scale_RC[n % len(scale_RC), 0],
                scale2_RC[n % len(scale2_RC), 0],
                out_C2[0],
            )
            continue
        first_C, second_C = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
        scale_C, scale2_C = scale_RC[n % len(scale_RC)], scale2_RC[n % len(scale2_RC)]
        for place in range(first, last):
            x_C = x_NSC[n, place]
            for c in range(channels):
                x = np.float64(x_C[c])
                first_C[c] += to_grid(x, scale_C[c])
                second_C[c] += to_grid(x * x, scale2_C[c])
        out_C2[:, 0] = first_C
        out_C2[:, 1] = second_C


@inlined
def _moments_of_line(x_S: Any, scale: float, scale2: float, out_2: Any) -> None:
    first, second = np.int64(0), np.int64(0)
    for place in range(len(x_S)):
        x = np.float64(x_S[place])
        first += to_grid(x, scale)
        second += to_grid(x * x, scale2)
    out_2[0], out_2[1] = first, second


@kernel
def apply(
    start: int,
    stop: int,
    x_NSC: Any,
    parts: int,
    mean_RC: Any,
    factor_RC: Any,
    shift_RC: Any,
    out_NSC: Any,
) -> None:
    """(x - mean) * factor + shift, three roundings."""
    places, channels = x_NSC.shape[1:]
    for task in range(start, stop):
        n, part = task // parts, task % parts
        first, last = places * part // parts, places * (part + 1) // parts
        if channels == 1:
            mean, factor, shift = (
                mean_RC[n % len(mean_RC), 0],
                factor_RC[n % len(factor_RC), 0],
                shift_RC[n % len(shift_RC), 0],
            )
            x_S, out_S = x_NSC[n, first:last, 0], out_NSC[n, first:last, 0]
            for place in range(len(x_S)):
                out_S[place] = (x_S[place] - mean) * factor + shift
            continue
        mean_C, factor_C, shift_C = (
            mean_RC[n % len(mean_RC)],
            factor_RC[n % len(factor_RC)],
            shift_RC[n % len(shift_RC)],
        )
        for place in range(first, last):
            x_C, out_C = x_NSC[n, place], out_NSC[n, place]
            for c in range(channels):
                out_C[c] = (x_C[c] - mean_C[c]) * factor_C[c] + shift_C[c]


@kernel
def gradient_moments(
    start: int,
    stop: int,
    dy_NSC: Any,
    x_NSC: Any,
    parts: int,
    mean_RC: Any,
    deviation_RC: Any,
    scale_RC: Any,
    scale2_RC: Any,
    out_NPC2: Any,
) -> None:
    """Sums of dy and of dy times the normalised x on their grids; `deviation` is 1 / sqrt(var)."""
    places, channels = x_NSC.shape[1:]
    for task in range(start, stop):
        n, part = task // parts, task % parts
        out_C2 = out_NPC2[n, part]
        first, last = places * part // parts, places * (part + 1) // parts
        if channels == 1:
            _gradient_moments_of_line(
                dy_NSC[n, first:last, 0], x_NSC[n, first:last, 0],
                mean_RC[n % len(mean_RC), 0], deviation_RC[n % len(deviation_RC), 0],
                scale_RC[n % len(scale_RC), 0], scale2_RC[n % len(scale2_RC), 0], out_C2[0],
            )  # fmt: skip
            continue
        first_C, second_C = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
        mean_C, deviation_C = mean_RC[n % len(mean_RC)], deviation_RC[n % len(deviation_RC)]
        scale_C, scale2_C = scale_RC[n % len(scale_RC)], scale2_RC[n % len(scale2_RC)]
        for place in range(first, last):
            x_C, dy_C = x_NSC[n, place], dy_NSC[n, place]
            for c in range(channels):
                normal = np.float64((x_C[c] - mean_C[c]) * deviation_C[c])
                dy = np.float64(dy_C[c])
                first_C[c] += to_grid(dy, scale_C[c])
                second_C[c] += to_grid(dy * normal, scale2_C[c])
        out_C2[:, 0] = first_C
        out_C2[:, 1] = second_C


@inlined
def _gradient_moments_of_line(
    dy_S: Any, x_S: Any, mean: float, deviation: float, scale: float, scale2: float, out_2: Any
) -> None:
    first, second = np.int64(0), np.int64(0)
    for place in range(len(x_S)):
        normal = np.float64((x_S[place] - mean) * deviation)
        dy = np.float64(dy_S[place])
        first += to_grid(dy, scale)
        second += to_grid(dy * normal, scale2)
    out_2[0], out_2[1] = first, second


@kernel
def gradient_apply(
    start: int,
    stop: int,
    dy_NSC: Any,
    x_NSC: Any,
    parts: int,
    mean_RC: Any,
    deviation_RC: Any,
    weight_RC: Any,
    shift_RC: Any,
    slope_RC: Any,
    out_NSC: Any,
) -> None:
    """((dy * weight - shift) - normal * slope) * deviation, each operation rounded."""
    places, channels = x_NSC.shape[1:]
    for task in range(start, stop):
        n, part = task // parts, task % parts
        first, last = places * part // parts, places * (part + 1) // parts
        if channels == 1:
            mean, deviation, weight = (
                mean_RC[n % len(mean_RC), 0],
                deviation_RC[n % len(deviation_RC), 0],
                weight_RC[n % len(weight_RC), 0],
            )
            shift, slope = shift_RC[n % len(shift_RC), 0], slope_RC[n % len(slope_RC), 0]
            x_S, dy_S = x_NSC[n, first:last, 0], dy_NSC[n, first:last, 0]
            out_S = out_NSC[n, first:last, 0]
            for place in range(len(x_S)):
                normal = (x_S[place] - mean) * deviation
                out_S[place] = ((dy_S[place] * weight - shift) - normal * slope) * deviation
            continue
        mean_C, deviation_C, weight_C = (
            mean_RC[n % len(mean_RC)],
            deviation_RC[n % len(deviation_RC)],
            weight_RC[n % len(weight_RC)],
        )
        shift_C, slope_C = shift_RC[n % len(shift_RC)], slope_RC[n % len(slope_RC)]
        for place in range(first, last):
            x_C, dy_C, out_C = x_NSC[n, place], dy_NSC[n, place], out_NSC[n, place]
            for c in range(channels):
                normal = (x_C[c] - mean_C[c]) * deviation_C[c]
                out_C[c] = (
                    (dy_C[c] * weight_C[c] - shift_C[c]) - normal * slope_C[c]
                ) * deviation_C[c]
