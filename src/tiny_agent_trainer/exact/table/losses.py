# SPDX-License-Identifier: Apache-2.0
"""Losses: one written formula per element, exact sums, then one division for a mean.

The derivative of a mean is divided by the count, as a float32, inside its formula; a weight per
element is one multiplication more.
"""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.kernels import formulas, likelihood
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
        IndexError: A target is not the number of a class.
        NotFiniteError: A loss that is added is not finite.
    """
    launch.require_float32(x)
    if not _belong_together(x, target, weight):
        native = aten.nll_loss2d_forward if x.dim() == _IMAGES else aten.nll_loss_forward
        shapes.refuse(native.default, x, target, weight, reduction, ignore_index)
    losses, weights = torch.empty(target.shape), torch.empty(target.shape)
    fault = np.zeros(2, np.int64)
    threads.run(
        likelihood.pick, target.numel(), *_arrays(x, target), _weights(x, weight), ignore_index,
        _by_place(losses), _by_place(weights), fault,
    )  # fmt: skip
    if fault[0]:
        message = f"target {fault[1]} is out of bounds for {x.shape[_class_dim(x)]} classes"
        raise IndexError(message)
    if reduction == NONE:
        return losses, torch.zeros(())
    total_weight = _count_of(weights) if weight is None else reductions.sum_all(weights)
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
    is_like_x = x.dim() < 4 or x.is_contiguous() or x.movedim(1, -1).is_contiguous()
    out = torch.empty_like(x) if is_like_x else torch.empty(x.shape)
    divisor = np.float32(total_weight.item() if reduction == MEAN else 1.0)
    array, targets = _arrays(out, target)
    threads.run(
        likelihood.spread, target.numel(), _by_place(gradient.expand(target.shape)), targets,
        _weights(x, weight), ignore_index, divisor, array,
    )  # fmt: skip
    return out


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


def _class_dim(x: torch.Tensor) -> int:
    return min(x.dim() - 1, 1)


def _belong_together(x: torch.Tensor, target: torch.Tensor, weight: Optional) -> bool:
    """Whether there is one target for each row of logits, and one weight for each class."""
    return (
        target.shape == x.shape[: x.dim() > 1] + x.shape[2:]
        and target.dtype in (torch.int64, torch.uint8)
        and (weight is None or weight.shape == (x.shape[_class_dim(x)],))
    )


def _arrays(
    x: torch.Tensor, target: torch.Tensor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(N, C, I) and (N, I); the first shares memory with x if its places are one axis."""
    classes = x.shape[_class_dim(x)]
    shape = (x.shape[0] if x.dim() > 1 else 1, classes, -1)
    places = target.to(torch.int64).reshape(shape[0], -1)
    return grids.as_array(x.reshape(shape)), places.numpy()


def _by_place(x: torch.Tensor) -> npt.NDArray[np.float32]:
    """Of (N, ...): (N, I), without a copy where strides are even."""
    return grids.as_array(x.reshape(x.shape[0] if x.dim() else 1, -1))


def _weights(x: torch.Tensor, weight: Optional) -> npt.NDArray[np.float32]:
    """Of the classes."""
    if weight is None:
        return np.ones(x.shape[_class_dim(x)], np.float32)
    return grids.as_float32(weight.contiguous())


def _count_of(weights: torch.Tensor) -> torch.Tensor:
    """The exact sum of zeros and ones."""
    return torch.tensor(np.float32(torch.count_nonzero(weights).item()))


def _weighted(losses: torch.Tensor, weight: Optional) -> torch.Tensor:
    return losses if weight is None else losses * weight


def _reduced(losses: torch.Tensor, reduction: int) -> torch.Tensor:
    if reduction == NONE:
        return losses
    return reductions.mean_all(losses) if reduction == MEAN else reductions.sum_all(losses)


def _count(x: torch.Tensor, reduction: int) -> int:
    """What the derivative is divided by."""
    return x.numel() if reduction == MEAN else 1
