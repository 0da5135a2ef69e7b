# SPDX-License-Identifier: Apache-2.0
"""Matrix products. A bias is a second rounding."""

import torch

from tiny_agent_trainer.exact.contractions import current
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten


@implements(aten.mm.default)
def mm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(M, K) times (K, N)."""
    if not _fit(left, right, rank=2):
        shapes.refuse(aten.mm.default, left, right)
    return current.engine().multiply(left[None], right[None])[0]


@implements(aten.bmm.default)
def bmm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(B, M, K) times (B, K, N)."""
    if not _fit(left, right, rank=3):
        shapes.refuse(aten.bmm.default, left, right)
    return current.engine().multiply(left, right)


@implements(aten.addmm.default)
def addmm(
    bias: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> torch.Tensor:
    """Product, times alpha, plus beta times bias; each a rounding of its own."""
    if not _fit(left, right, rank=2):
        shapes.refuse(aten.addmm.default, bias, left, right)
    if alpha == beta == 1 and bias.shape == right.shape[1:]:
        return current.engine().multiply(left[None], right[None], bias)[0]
    return _add_scaled(mm(left, right), bias, beta, alpha)


@implements(aten.baddbmm.default)
def baddbmm(
    bias: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> torch.Tensor:
    """The same for batches."""
    return _add_scaled(bmm(left, right), bias, beta, alpha)


@implements(aten.dot.default, aten.vdot.default)
def dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(K,) times (K,)."""
    if not left.dim() == right.dim() == 1 or left.shape != right.shape:
        shapes.refuse(aten.dot.default, left, right)
    return mm(left[None], right[:, None])[0, 0]


@implements(aten.mv.default)
def mv(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(M, K) times (K,)."""
    if right.dim() != 1 or not _fit(left, right[:, None], rank=2):
        shapes.refuse(aten.mv.default, left, right)
    return mm(left, right[:, None])[:, 0]


def _fit(left: torch.Tensor, right: torch.Tensor, rank: int) -> bool:
    """Whether these are matrices that can be multiplied, in equal batches."""
    return (
        left.dim() == right.dim() == rank
        and left.shape[:-2] == right.shape[:-2]
        and left.shape[-1] == right.shape[-2]
    )


def _add_scaled(
    product: torch.Tensor, bias: torch.Tensor, beta: float, alpha: float
) -> torch.Tensor:
    if alpha != 1:
        product.mul_(alpha)
    if beta == 0:
        return product
    return product.add_(bias if beta == 1 else bias * beta)
