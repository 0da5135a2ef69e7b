# SPDX-License-Identifier: Apache-2.0
"""Weighted sums over boxes of places: average pooling, interpolation and their gradients.

Terms of one result are added in float64 in the order of their places (depth, height, width), which
is a part of the definition, and rounded once to float32. A box reads one sample only.
"""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel


@kernel
def weighted_windows(
    start: int,
    stop: int,
    x_NDHWC: Any,
    first_D: Any,
    weights_D: Any,
    first_H: Any,
    weights_H: Any,
    first_W: Any,
    weights_W: Any,
    out_NDHWC: Any,
) -> None:
    """out[o] = sum of x[first[o] + k] * (weights_d[o, k] * weights_h[..] * weights_w[..]).

    Args:
        start, stop: Planes of the output (sample and depth).
        x_NDHWC: float32.
        first_D, first_H, first_W: int64, where the box of each output place begins.
        weights_D, weights_H, weights_W: float64 (places, longest box); a weight of 0 is no term.
        out_NDHWC: float32.
    """
    _, depth, height, width, channels = out_NDHWC.shape
    sums_C = np.empty(channels, np.float64)
    for task in range(start, stop):
        n, d = task // depth, task % depth
        for h in range(height):
            for w in range(width):
                sums_C[:] = 0.0
                for i in range(weights_D.shape[1]):
                    for j in range(weights_H.shape[1]):
                        plane = weights_D[d, i] * weights_H[h, j]
                        if plane == 0.0:
                            continue
                        for k in range(weights_W.shape[1]):
                            weight = plane * weights_W[w, k]
                            if weight != 0.0:
                                x_C = x_NDHWC[n, first_D[d] + i, first_H[h] + j, first_W[w] + k]
                                _add(sums_C, x_C, weight)
                out_C = out_NDHWC[n, d, h, w]
                for c in range(channels):
                    out_C[c] = np.float32(sums_C[c])


@inlined
def _add(sums_C: Any, x_C: Any, weight: float) -> None:
    for c in range(len(sums_C)):
        sums_C[c] += np.float64(x_C[c]) * weight
