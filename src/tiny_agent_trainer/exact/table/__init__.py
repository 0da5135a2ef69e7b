# SPDX-License-Identifier: Apache-2.0
"""The ATen operations that exact arithmetic knows; any other is refused."""

from tiny_agent_trainer.exact.table import (
    activations,
    bounds,
    convolution,
    elementwise,
    indexing,
    interpolation,
    losses,
    matmul,
    movement,
    normalisation,
    ordering,
    padding,
    pooling,
    random,
    ranges,
    reductions,
    softmax,
    uninitialised,
)
from tiny_agent_trainer.exact.table.registry import TABLE

__all__ = [
    "TABLE",
    "activations",
    "bounds",
    "convolution",
    "elementwise",
    "indexing",
    "interpolation",
    "losses",
    "matmul",
    "movement",
    "normalisation",
    "ordering",
    "padding",
    "pooling",
    "random",
    "ranges",
    "reductions",
    "softmax",
    "uninitialised",
]
