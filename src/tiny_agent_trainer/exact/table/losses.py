# SPDX-License-Identifier: Apache-2.0
"""Losses: one written formula per element, exact sums, then one division for a mean.

The derivative of a mean is divided by the count, as a float32, inside its formula; a weight per
element is one multiplication more.
"""

from typing import Final, TypeAlias

import torch

from tiny_agent_trainer.exact.kernels import formulas
from tiny_agent_trainer.exact.table import launch, reductions, shapes
from tiny_agent_trainer.exact.table.registry import implements

aten = torch.ops.aten

NONE: Final = 0
MEAN: Final = 1
"""ATen's numbers of the reductions; 2 is the sum."""

_IMAGES: Final = 4
"""Dims of logits that have a class for every place of an image."""

Optional: TypeAlias = torch.Tensor | None


@implements(aten.nll_loss_forward.default, aten.nll_loss2d_forward.default)
def nll_loss_forward(
    x: torch.Tensor, target: torch.Tensor, weight: Optional, reduction: int, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """-weight x of the target's class; a mean is divided by the sum of the weights.

    Raises:
        RuntimeError: A target is not the number of a class.
        NotFiniteError: A loss that is added is not finite.
    """
    launch.require_float32(x)
    if not _belong_together(x, target, weight):
        native = aten.nll_loss2d_forward if x.dim() == _IMAGES else aten.nll_loss_forward
        shapes.refuse(native.default, x, target, weight, reduction, ignore_index)
    is_used, classes, weights = _targets(target, weight, ignore_index)
    dim = min(x.dim() - 1, 1)
    picked = x.gather(dim, classes.unsqueeze(dim)).squeeze(dim)
    losses = torch.where(is_used, -(weights * picked), 0.0)
    if reduction == NONE:
        return losses, torch.zeros(())
    total_weight = reductions.sum_all(weights)
    total = reductions.sum_all(losses)
    return total / total_weight if reduction == MEAN else total, total_weight


@implements(aten.nll_loss_backward.default, aten.nll_loss2d_backward.default)
def nll_loss_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    weight: Optional,
    reduction: int,
    ignore_index: int,
    total_weight: torch.Tensor,
) -> torch.Tensor:
    """-(weight g) at the target's class, for a mean divided by the sum of the weights."""
    is_used, classes, weights = _targets(target, weight, ignore_index)
    values = -(weights * gradient)
    if reduction == MEAN:
        values = values / total_weight
    values = torch.where(is_used, values, 0.0)
    dim = min(x.dim() - 1, 1)
    return torch.zeros_like(x).scatter_(dim, classes.unsqueeze(dim), values.unsqueeze(dim))


@implements(aten.binary_cross_entropy.default)
def binary_cross_entropy(
    x: torch.Tensor, target: torch.Tensor, weight: Optional = None, reduction: int = MEAN
) -> torch.Tensor:
    """Of probabilities."""
    losses = launch.wide(formulas.binary_cross_entropy, x, target)
    return _reduced(_weighted(losses, weight), reduction)


@implements(aten.binary_cross_entropy_backward.default)
def binary_cross_entropy_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    weight: Optional = None,
    reduction: int = MEAN,
) -> torch.Tensor:
    """For the probabilities."""
    count = (_count(x, reduction),)
    function = formulas.binary_cross_entropy_backward
    return _weighted(launch.wide(function, gradient, x, target, parameters=count), weight)


@implements(aten.binary_cross_entropy_with_logits.default)
def binary_cross_entropy_with_logits(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: Optional = None,
    pos_weight: Optional = None,
    reduction: int = MEAN,
) -> torch.Tensor:
    """Of logits; torch composes its derivative of operations of this table."""
    function = formulas.binary_cross_entropy_with_logits
    if pos_weight is None:
        losses = launch.wide(function, x, target, parameters=(1.0,))
    else:
        losses = launch.wide(function, x, target, pos_weight)
    return _reduced(_weighted(losses, weight), reduction)


@implements(aten.mse_loss.default)
def mse_loss(x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN) -> torch.Tensor:
    """The squared difference."""
    return _reduced(launch.wide(formulas.squared_error, x, target), reduction)


@implements(aten.mse_loss_backward.default)
def mse_loss_backward(
    gradient: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int
) -> torch.Tensor:
    """For the first operand; the second's has the other sign."""
    count = (_count(x, reduction),)
    return launch.wide(formulas.squared_error_backward, gradient, x, target, parameters=count)


@implements(aten.smooth_l1_loss.default)
def smooth_l1_loss(
    x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN, beta: float = 1.0
) -> torch.Tensor:
    """A parabola below beta, a line above."""
    return _reduced(launch.wide(formulas.smooth_l1, x, target, parameters=(beta,)), reduction)


@implements(aten.smooth_l1_loss_backward.default)
def smooth_l1_loss_backward(
    gradient: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int, beta: float
) -> torch.Tensor:
    """For the first operand."""
    parameters = (beta, _count(x, reduction))
    return launch.wide(formulas.smooth_l1_backward, gradient, x, target, parameters=parameters)


@implements(aten.huber_loss.default)
def huber_loss(
    x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN, delta: float = 1.0
) -> torch.Tensor:
    """A parabola below delta, a line above."""
    return _reduced(launch.wide(formulas.huber, x, target, parameters=(delta,)), reduction)


@implements(aten.huber_loss_backward.default)
def huber_loss_backward(
    gradient: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int, delta: float
) -> torch.Tensor:
    """For the first operand."""
    parameters = (delta, _count(x, reduction))
    return launch.wide(formulas.huber_backward, gradient, x, target, parameters=parameters)


@implements(aten.soft_margin_loss.default)
def soft_margin_loss(x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN) -> torch.Tensor:
    """Of targets 1 and -1."""
    return _reduced(launch.wide(formulas.soft_margin, x, target), reduction)


@implements(aten.soft_margin_loss_backward.default)
def soft_margin_loss_backward(
    gradient: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int
) -> torch.Tensor:
    """For the first operand."""
    count = (_count(x, reduction),)
    return launch.wide(formulas.soft_margin_backward, gradient, x, target, parameters=count)


def _belong_together(x: torch.Tensor, target: torch.Tensor, weight: Optional) -> bool:
    """Whether there is one target for each row of logits, and one weight for each class."""
    classes = x.shape[min(x.dim() - 1, 1)]
    return (
        target.shape == x.shape[: x.dim() > 1] + x.shape[2:]
        and target.dtype in (torch.int64, torch.uint8)
        and (weight is None or weight.shape == (classes,))
    )


def _targets(
    target: torch.Tensor, weight: Optional, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which targets count, their classes (0 for the others), their weights (0 for the others)."""
    is_used = target != ignore_index
    classes = torch.where(is_used, target, 0).to(torch.int64)
    weights = is_used.to(torch.float32)
    return (
        is_used,
        classes,
        weights if weight is None else torch.where(is_used, weight[classes], 0.0),
    )


def _weighted(losses: torch.Tensor, weight: Optional) -> torch.Tensor:
    return losses if weight is None else losses * weight


def _reduced(losses: torch.Tensor, reduction: int) -> torch.Tensor:
    if reduction == NONE:
        return losses
    return reductions.mean_all(losses) if reduction == MEAN else reductions.sum_all(losses)


def _count(x: torch.Tensor, reduction: int) -> int:
    """What the derivative is divided by."""
    return x.numel() if reduction == MEAN else 1
