# SPDX-License-Identifier: Apache-2.0
"""Negative log-likelihood of targets, and its derivative: at most one rounding per element."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import kernel


@kernel
def pick(
    start: int,
    stop: int,
    x_NCI: Any,
    target_NI: Any,
    weight_C: Any,
    ignored: int,
    losses_NI: Any,
    weights_NI: Any,
    fault_2: Any,
) -> None:
    """Fill the loss and the weight of each target, 0 where it is ignored.

    Args:
        start, stop: Targets, counted through all samples.
        x_NCI: float32, in any layout.
        target_NI: int64.
        weight_C: float32.
        ignored: The target that does not count.
        losses_NI, weights_NI: float32.
        fault_2: int64; 1 and a target where one is no class.
    """
    _, classes, places = x_NCI.shape
    for task in range(start, stop):
        n, i = task // places, task % places
        target = target_NI[n, i]
        if target == ignored:
            losses_NI[n, i] = weights_NI[n, i] = np.float32(0)
        elif 0 <= target < classes:
            losses_NI[n, i] = -(weight_C[target] * x_NCI[n, target, i])
            weights_NI[n, i] = weight_C[target]
        else:
            fault_2[0], fault_2[1] = 1, target


@kernel
def spread(
    start: int,
    stop: int,
    gradient_NI: Any,
    target_NI: Any,
    weight_C: Any,
    ignored: int,
    divisor: Any,
    out_NCI: Any,
) -> None:
    """Fill the derivative: -(weight g) / divisor at the class of each target, 0 elsewhere.

    Args:
        start, stop: Targets, counted through all samples.
        gradient_NI: float32; strides of 0 where all targets share one.
        target_NI, weight_C, ignored: As above.
        divisor: float32; 1 divides nothing.
        out_NCI: float32, in any layout.
    """
    _, classes, places = out_NCI.shape
    for task in range(start, stop):
        n, i = task // places, task % places
        for c in range(classes):
            out_NCI[n, c, i] = np.float32(0)
        target = target_NI[n, i]
        if target != ignored:
            out_NCI[n, target, i] = -(weight_C[target] * gradient_NI[n, i]) / divisor
