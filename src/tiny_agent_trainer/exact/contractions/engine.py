# SPDX-License-Identifier: Apache-2.0
"""What an engine of contractions is: several compute the same integers by different means."""

import abc
from typing import Final

import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact.contractions.geometry import Geometry

MOST_TERMS: Final = 2**27
"""Of a dot product: sums of 2^27 products of 2^26 fill the 53 bits of float64. Equation (7)."""


def require_length(terms: int) -> None:
    """Refuse a contracted axis that no engine can add exactly.

    Raises:
        UnsupportedOperationError: It is longer than `MOST_TERMS`.
    """
    if terms > MOST_TERMS:
        raise errors.UnsupportedOperationError(
            where="a product or convolution",
            expected=f"at most {MOST_TERMS} terms in a sum of products",
            found=str(terms),
            remedy="make [engine] shard_size smaller, or crop the volumes",
        )


class AbstractEngine(abc.ABC):
    """Computes dot products of operands that were rounded once to 14 bits. Equations (1), (2).

    Guarantees:
        All engines return the same bits for the same arguments, whatever the number of threads.
        Grids: of a product, one per row on the left and per column on the right. Of a convolution,
        per sample of input and output gradient; per output channel of the weight (in the input
        gradient per input channel); in the weight gradient per channel on both sides.
        A bias is added with a rounding of its own.

    Raises:
        NotFiniteError: An operand holds NaN or infinity.
    """

    name: str
    """As the configuration and `doctor` call it."""

    @abc.abstractmethod
    def multiply(
        self, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """float32 (B, M, K) times (B, K, N), plus a bias (N,) where B is 1: (B, M, N)."""

    @abc.abstractmethod
    def convolve(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        shape: Geometry,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Channels-innermost (N, D, H, W, C) with (O, C / groups, *kernel): (N, D', H', W', O)."""

    @abc.abstractmethod
    def input_gradient(
        self, gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """(N, D', H', W', O) with the weight of the convolution: (N, D, H, W, C)."""

    @abc.abstractmethod
    def weight_gradient(
        self, x: torch.Tensor, gradient: torch.Tensor, shape: Geometry
    ) -> torch.Tensor:
        """(N, D, H, W, C) with (N, D', H', W', O): (O, C / groups, D, H, W) of the kernel."""
