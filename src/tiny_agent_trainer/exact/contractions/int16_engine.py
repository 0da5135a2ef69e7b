# SPDX-License-Identifier: Apache-2.0
"""Pairs of int16 multiplied and added to int32, in our own compiled loop: the fastest engine."""

from typing import final

import torch

from tiny_agent_trainer.exact.contractions import (
    int16_convolutions,
    int16_matrices,
    int16_weight_gradients,
)
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine
from tiny_agent_trainer.exact.contractions.geometry import Geometry


@final
class Int16Engine(AbstractEngine):
    """One product of 14-bit integers per multiplication; twice the rate of float32 with VNNI."""

    name = "int16"

    def multiply(
        self, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See the base class."""
        return int16_matrices.multiply(left, right, bias)

    def convolve(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        shape: Geometry,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the base class."""
        return int16_convolutions.convolve(x, weight, shape, bias)

    def input_gradient(
        self, gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        return int16_convolutions.input_gradient(gradient, weight, shape)

    def weight_gradient(
        self, x: torch.Tensor, gradient: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """See the base class."""
        return int16_weight_gradients.weight_gradient(x, gradient, shape)
