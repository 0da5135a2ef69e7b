# SPDX-License-Identifier: Apache-2.0
"""Batch, group and instance normalisation, each in one call: scan, sum, combine, apply.

Arrays as in `normalise.py`. A row r of parameters serves the rows n of an array with n % R = r;
`pool_RC` says which statistics a cell shares, `channel_RC` whose weight it has. Equations (8), (9)
and (10) of `exact/README.md`.
"""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels import normalise, scan
from tiny_agent_trainer.exact.kernels.blocks import (
    NOT_FINITE,
    exponent_of,
    exponent_of_float64,
    power_as_float64,
)
from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel
from tiny_agent_trainer.exact.kernels.handing_out import phase

PHASES: Final = 5

_scan = phase(scan.largest_of_columns)
_add_up = phase(normalise.moments)
_apply = phase(normalise.apply)
_add_gradients_up = phase(normalise.gradient_moments)
_apply_gradients = phase(normalise.gradient_apply)


@kernel
def forward(
    progress_P2: Any,
    x_NSC: Any,
    parts: int,
    pool_RC: Any,
    channel_RC: Any,
    count: int,
    sum_bits: int,
    floor: int,
    epsilon: float,
    weight_C: Any,
    bias_C: Any,
    largest_NPC: Any,
    sums_NPC2: Any,
    shifts_G: Any,
    scales_2RC: Any,
    mean_G: Any,
    deviation_G: Any,
    unbiased_G: Any,
    cells_3RC: Any,
    fault: Any,
    out_NSC: Any,
) -> None:
    """Fill `out`, and mean, 1 / sqrt(variance + epsilon) and unbiased variance of each pool.

    Args:
        progress_P2: See `handing_out`.
        x_NSC: float32.
        parts: That the places of a row are cut into.
        pool_RC, channel_RC: int64.
        count: Values of a pool.
        sum_bits, floor: Of sums; equation (3).
        epsilon: Added to the variance.
        weight_C, bias_C: float32.
        largest_NPC, sums_NPC2, shifts_G, scales_2RC, cells_3RC: int32, int64, int64, float64 and
            float32; room for what is in between.
        mean_G, deviation_G, unbiased_G: float32.
        fault: int64 (1,); 1 where x holds NaN or infinity, and nothing else is filled.
        out_NSC: float32.
    """
    tasks = len(x_NSC) * parts
    _scan(progress_P2[0], tasks, x_NSC.view(np.int32), parts, largest_NPC)
    _find_scales(
        progress_P2[1], 1, largest_NPC, pool_RC, sum_bits, floor, shifts_G, scales_2RC,
        fault,
    )  # fmt: skip
    if fault[0]:
        return
    _add_up(progress_P2[2], tasks, x_NSC, parts, scales_2RC[0], scales_2RC[1], sums_NPC2)
    _combine(
        progress_P2[3], 1, sums_NPC2, pool_RC, channel_RC, count, shifts_G, sum_bits,
        epsilon, weight_C, bias_C, mean_G, deviation_G, unbiased_G, cells_3RC,
    )  # fmt: skip
    _apply(
        progress_P2[4], tasks, x_NSC, parts, cells_3RC[0], cells_3RC[1], cells_3RC[2], out_NSC
    )  # fmt: skip


@phase
@inlined
def _find_scales(
    _start: int,
    _stop: int,
    largest_NPC: Any,
    pool_RC: Any,
    sum_bits: int,
    floor: int,
    shifts_G: Any,
    scales_2RC: Any,
    fault: Any,
) -> None:
    """The grid of each pool's values, and of their squares."""
    rows, columns = pool_RC.shape
    largest_G = np.zeros(len(shifts_G), np.int32)
    for n in range(len(largest_NPC)):
        for part in range(largest_NPC.shape[1]):
            for c in range(columns):
                pool = pool_RC[n % rows, c]
                largest_G[pool] = max(largest_G[pool], largest_NPC[n, part, c])
    for pool in range(len(shifts_G)):
        if largest_G[pool] >= NOT_FINITE:
            fault[0] = 1
        shifts_G[pool] = sum_bits - exponent_of(largest_G[pool], floor)
    for r in range(rows):
        for c in range(columns):
            shift = shifts_G[pool_RC[r, c]]
            scales_2RC[0, r, c] = power_as_float64(shift)
            scales_2RC[1, r, c] = power_as_float64(2 * shift - sum_bits)


@phase
@inlined
def _combine(
    _start: int,
    _stop: int,
    sums_NPC2: Any,
    pool_RC: Any,
    channel_RC: Any,
    count: int,
    shifts_G: Any,
    sum_bits: int,
    epsilon: float,
    weight_C: Any,
    bias_C: Any,
    mean_G: Any,
    deviation_G: Any,
    unbiased_G: Any,
    cells_3RC: Any,
) -> None:
    """Mean and variance of each pool, and what its cells are normalised with."""
    rows, columns = pool_RC.shape
    sums_G2 = np.zeros((len(shifts_G), 2), np.int64)
    for n in range(len(sums_NPC2)):
        for part in range(sums_NPC2.shape[1]):
            for c in range(columns):
                pool = pool_RC[n % rows, c]
                sums_G2[pool, 0] += sums_NPC2[n, part, c, 0]
                sums_G2[pool, 1] += sums_NPC2[n, part, c, 1]
    for pool in range(len(shifts_G)):
        shift = shifts_G[pool]
        mean = np.float64(sums_G2[pool, 0]) * power_as_float64(-shift) / count
        square = np.float64(sums_G2[pool, 1]) * power_as_float64(sum_bits - 2 * shift) / count
        variance = max(square - mean * mean, 0.0)
        mean_G[pool] = np.float32(mean)
        deviation_G[pool] = np.float32(1.0 / np.sqrt(variance + epsilon))
        unbiased_G[pool] = np.float32(variance * count / max(count - 1, 1))
    for r in range(rows):
        for c in range(columns):
            pool, channel = pool_RC[r, c], channel_RC[r, c]
            cells_3RC[0, r, c] = mean_G[pool]
            cells_3RC[1, r, c] = deviation_G[pool] * weight_C[channel]
            cells_3RC[2, r, c] = bias_C[channel]


@kernel
def backward(
    progress_P2: Any,
    dy_NSC: Any,
    x_NSC: Any,
    parts: int,
    pool_RC: Any,
    channel_RC: Any,
    samples: int,
    count: int,
    sum_bits: int,
    floor: int,
    mean_G: Any,
    deviation_G: Any,
    weight_C: Any,
    is_constant: bool,
    largest_2NPC: Any,
    sums_NPC2: Any,
    shifts_2C: Any,
    scales_2RC: Any,
    cells_5RC: Any,
    means_2G: Any,
    fault: Any,
    gradients_2C: Any,
    out_NSC: Any,
) -> None:
    """Fill the gradients of x, of the bias and of the weight.

    Args:
        dy_NSC: float32, like x.
        samples: Whose pools are their own; 1 where all samples share them.
        count: Values of a pool.
        sum_bits: For the values of a channel.
        is_constant: Whether the statistics were no function of x.
        largest_2NPC, sums_NPC2, shifts_2C, scales_2RC, cells_5RC, means_2G: Room.
        fault: int64 (1,); 1 where x, 2 where dy holds NaN or infinity.
        gradients_2C: float32; bias, then weight.
        progress_P2, x_NSC, parts, pool_RC, channel_RC, floor, mean_G, deviation_G, weight_C,
            out_NSC: As in `forward`.
    """
    tasks = len(x_NSC) * parts
    _scan_both(progress_P2[0], 2 * tasks, dy_NSC, x_NSC, parts, largest_2NPC)
    _find_gradient_scales(
        progress_P2[1], 1, largest_2NPC, pool_RC, channel_RC, sum_bits, floor,
        mean_G, deviation_G, shifts_2C, scales_2RC, cells_5RC, fault,
    )  # fmt: skip
    if fault[0]:
        return
    _add_gradients_up(
        progress_P2[2], tasks, dy_NSC, x_NSC, parts, cells_5RC[0],
        cells_5RC[1], scales_2RC[0], scales_2RC[1], sums_NPC2,
    )  # fmt: skip
    _combine_gradients(
        progress_P2[3], 1, sums_NPC2, pool_RC, channel_RC, samples, count, weight_C,
        is_constant, shifts_2C, gradients_2C, cells_5RC, means_2G,
    )  # fmt: skip
    _apply_gradients(
        progress_P2[4], tasks, dy_NSC, x_NSC, parts, cells_5RC[0],
        cells_5RC[1], cells_5RC[2], cells_5RC[3], cells_5RC[4], out_NSC,
    )  # fmt: skip


@phase
@inlined
def _scan_both(
    start: int, stop: int, dy_NSC: Any, x_NSC: Any, parts: int, largest_2NPC: Any
) -> None:
    tasks = len(x_NSC) * parts
    scan.largest_of_columns(
        min(start, tasks), min(stop, tasks), dy_NSC.view(np.int32), parts, largest_2NPC[0]
    )
    scan.largest_of_columns(
        max(start - tasks, 0), max(stop - tasks, 0), x_NSC.view(np.int32), parts, largest_2NPC[1]
    )


@phase
@inlined
def _find_gradient_scales(
    _start: int,
    _stop: int,
    largest_2NPC: Any,
    pool_RC: Any,
    channel_RC: Any,
    sum_bits: int,
    floor: int,
    mean_G: Any,
    deviation_G: Any,
    shifts_2C: Any,
    scales_2RC: Any,
    cells_5RC: Any,
    fault: Any,
) -> None:
    """One grid per channel for dy, and one for dy * xhat."""
    rows, columns = pool_RC.shape
    channels = shifts_2C.shape[1]
    largest_C, bound_C = np.zeros(channels, np.int32), np.zeros(channels)
    for n in range(largest_2NPC.shape[1]):
        for c in range(columns):
            pool, channel = pool_RC[n % rows, c], channel_RC[n % rows, c]
            found = np.int32(0)
            for part in range(largest_2NPC.shape[2]):
                largest_C[channel] = max(largest_C[channel], largest_2NPC[0, n, part, c])
                found = max(found, largest_2NPC[1, n, part, c])
            if found >= NOT_FINITE:
                fault[0] = 1
            size = power_as_float64(exponent_of(found, floor)) + abs(np.float64(mean_G[pool]))
            bound_C[channel] = max(bound_C[channel], size * deviation_G[pool])
    for channel in range(channels):
        if largest_C[channel] >= NOT_FINITE and not fault[0]:
            fault[0] = 2
        shifts_2C[0, channel] = sum_bits - exponent_of(largest_C[channel], floor)
        shifts_2C[1, channel] = shifts_2C[0, channel] - (exponent_of_float64(bound_C[channel]) + 1)
    for r in range(rows):
        for c in range(columns):
            pool, channel = pool_RC[r, c], channel_RC[r, c]
            scales_2RC[0, r, c] = power_as_float64(shifts_2C[0, channel])
            scales_2RC[1, r, c] = power_as_float64(shifts_2C[1, channel])
            cells_5RC[0, r, c] = mean_G[pool]
            cells_5RC[1, r, c] = deviation_G[pool]


@phase
@inlined
def _combine_gradients(
    _start: int,
    _stop: int,
    sums_NPC2: Any,
    pool_RC: Any,
    channel_RC: Any,
    samples: int,
    count: int,
    weight_C: Any,
    is_constant: bool,
    shifts_2C: Any,
    gradients_2C: Any,
    cells_5RC: Any,
    means_2G: Any,
) -> None:
    """Gradients of bias and weight, and what the mean and the deviation pass on to x.

    Channels of a pool have weights of their own: they are added one after another in float64.
    """
    rows, columns = pool_RC.shape
    channels, pools = len(weight_C), means_2G.shape[1]
    sums_2SC = np.zeros((2, samples, channels), np.int64)
    for n in range(len(sums_NPC2)):
        for part in range(sums_NPC2.shape[1]):
            for c in range(columns):
                sample = pool_RC[n % rows, c] * samples // pools
                for kind in range(2):
                    sums_2SC[kind, sample, channel_RC[n % rows, c]] += sums_NPC2[n, part, c, kind]
    for kind in range(2):
        for channel in range(channels):
            power = power_as_float64(-shifts_2C[kind, channel])
            total = np.float32(sums_2SC[kind, :, channel].sum())
            gradients_2C[kind, channel] = np.float32(np.float64(total) * power)
        _pooled_means(sums_2SC[kind], shifts_2C[kind], weight_C, count, means_2G[kind])
    for r in range(rows):
        for c in range(columns):
            cells_5RC[2, r, c] = weight_C[channel_RC[r, c]]
            for kind in range(2):
                mean = means_2G[kind, pool_RC[r, c]]
                cells_5RC[3 + kind, r, c] = np.float32(0) if is_constant else mean


@inlined
def _pooled_means(sums_SC: Any, shift_C: Any, weight_C: Any, count: int, mean_G: Any) -> None:
    """Of sums times weights, over the channels of each pool; pools lie sample after sample."""
    samples, channels = sums_SC.shape
    groups = len(mean_G) // samples
    width = channels // groups
    for sample in range(samples):
        for group in range(groups):
            total = 0.0
            for channel in range(group * width, (group + 1) * width):
                value = np.float64(sums_SC[sample, channel]) * power_as_float64(-shift_C[channel])
                value *= np.float64(weight_C[channel])
                total = value if channel == group * width else total + value
            mean_G[sample * groups + group] = np.float32(total / count)
