# SPDX-License-Identifier: Apache-2.0
"""Weighted means of integers along one dim, rounded once."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import kernel


@kernel
def weighted_means(
    start: int, stop: int, images_OLI: Any, indices_NT: Any, weights_NT: Any, total: int,
    means_ONI: Any,
) -> None:  # fmt: skip
    """Of each new place the sum of weights times old values, over `total`, halves to even."""
    inner = images_OLI.shape[2]
    sums = np.empty(inner, np.int64)
    for o in range(start, stop):
        for n in range(len(indices_NT)):
            sums[:] = 0
            for t in range(indices_NT.shape[1]):
                index, weight = indices_NT[n, t], weights_NT[n, t]
                if weight:
                    for i in range(inner):
                        sums[i] += weight * np.int64(images_OLI[o, index, i])
            for i in range(inner):
                quotient = sums[i] // total
                twice = 2 * (sums[i] - quotient * total)
                if twice > total or (twice == total and quotient & 1):
                    quotient += 1
                means_ONI[o, n, i] = quotient
