# SPDX-License-Identifier: Apache-2.0
"""Losses against rational arithmetic and torch in float64, forward and gradient.

Not tested here: the sums that a mean is made of (test_sums.py), the logarithm of a softmax
(test_softmax.py).
"""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from monai import losses as monai_losses
from rational import exponent_of, round_to_float32
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import grids, mode

CLOSE = 2.0**-21
"""A few roundings to float32."""


def example(*shape, name="losses"):
    drawn = randomness.stream(6, name, *shape).uniform(math.prod(shape)).reshape(shape)
    return torch.from_numpy((drawn - np.float32(0.5)) * np.float32(6))


def classes(*shape, count=5):
    drawn = randomness.stream(6, "classes", *shape).uniform(math.prod(shape)).reshape(shape)
    return torch.from_numpy(np.asarray(drawn * count).astype(np.int64))


def run(loss, x):
    leaf = x.clone().requires_grad_()
    result = loss(leaf)
    result.backward(torch.arange(1.0, result.numel() + 1).to(x.dtype).reshape(result.shape))
    return result.detach(), leaf.grad


def compare(loss, x, wide_loss=None):
    with mode.arithmetic():
        result, derivative = run(loss, x)
    expected, expected_derivative = run(wide_loss or loss, x.double())
    assert (result - expected).abs().max() <= CLOSE * (1 + expected.abs().max())
    scale = expected_derivative.abs().max()
    assert scale > 0
    assert (derivative - expected_derivative).abs().max() <= CLOSE * scale


REDUCTIONS = ["none", "mean", "sum"]


class TestNegativeLogLikelihood:
    """Chosen log-probabilities times weights; the sums are exact."""

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("is_weighted", [False, True])
    @pytest.mark.parametrize("shape", [(30, 5), (3, 5, 4, 6), (2, 5, 3, 2, 2), (5,)])
    def test_cross_entropy_agrees(self, shape, is_weighted, reduction):
        x, target = example(*shape), classes(*(shape[:1] if len(shape) > 1 else ()), *shape[2:])
        if target.dim():
            target.view(-1)[::4] = -100
        weight = torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0]) if is_weighted else None
        wide = weight.double() if is_weighted else None
        compare(
            lambda leaf: F.cross_entropy(leaf, target, weight, reduction=reduction),
            x,
            lambda leaf: F.cross_entropy(leaf, target, wide, reduction=reduction),
        )

    def test_label_smoothing_and_probabilities_agree(self):
        x, target, weight = example(30, 5), classes(30), torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0])
        compare(
            lambda leaf: F.cross_entropy(leaf, target, weight, label_smoothing=0.125),
            x,
            lambda leaf: F.cross_entropy(leaf, target, weight.double(), label_smoothing=0.125),
        )
        soft = torch.softmax(example(30, 5, name="soft"), 1)
        compare(
            lambda leaf: F.cross_entropy(leaf, soft),
            x,
            lambda leaf: F.cross_entropy(leaf, soft.double()),
        )

    def test_a_weighted_mean_equals_rational_arithmetic(self):
        x, target = example(41, 5), classes(41)
        weight = torch.tensor([0.1, 1.7, 2.3, 0.3, 3.1])
        target[7] = target[11] = -100
        with mode.arithmetic():
            found = F.nll_loss(x, target, weight)

        def total(values):
            step = Fraction(2) ** (
                exponent_of(values, grids.SUM_FLOOR) - grids.sum_bits(len(values))
            )
            added = sum((round(Fraction(float(value)) / step) for value in values), Fraction(0))
            return Fraction(float(round_to_float32(added * step)))

        weights = [0.0 if t == -100 else float(weight[t]) for t in target.tolist()]
        chosen = [float(x[row, max(t, 0)]) for row, t in enumerate(target.tolist())]
        terms = [
            round_to_float32(Fraction(-w) * Fraction(v))
            for w, v in zip(weights, chosen, strict=True)
        ]
        assert found.item() == float(round_to_float32(total(terms) / total(weights)))

    def test_ignored_targets_get_zero_and_nothing_gets_nan(self):
        x = example(4, 5).requires_grad_()
        with mode.arithmetic():
            losses = F.nll_loss(x, torch.tensor([1, -100, 2, -100]), reduction="none")
            losses.sum().backward()
            empty = F.nll_loss(x, torch.full((4,), -100))
        assert losses[[1, 3]].tolist() == [0.0, 0.0]
        assert x.grad[[1, 3]].abs().max() == 0
        assert empty.isnan()

    def test_infinite_losses_are_refused_where_they_are_added(self):
        x = torch.full((3, 5), -math.inf)
        with mode.arithmetic(), pytest.raises(errors.NotFiniteError):
            F.nll_loss(x, torch.tensor([0, 1, 2]))
        with mode.arithmetic():
            assert F.nll_loss(x, torch.tensor([0, -100, 2]), reduction="none")[1] == 0

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (2, 0, 3, 1), (3, 1, 2, 0)])
    def test_layout_does_not_matter(self, order):
        x, target = example(3, 5, 4, 6), (torch.arange(72).view(3, 4, 6) % 5)
        inverse = [order.index(dim) for dim in range(4)]
        laid = x.permute(order).contiguous().permute(inverse)
        found = []
        for leaf in (x.clone().requires_grad_(), laid.requires_grad_()):
            with mode.arithmetic():
                loss = F.nll_loss(leaf, target, torch.arange(5) + 0.5, ignore_index=3)
                loss.backward()
            found.append((loss, leaf.grad))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])

    def test_a_target_that_is_no_class_is_an_error(self):
        with mode.arithmetic(), pytest.raises(IndexError, match="target -1 is out of bounds"):
            F.nll_loss(example(2, 5), torch.tensor([0, -1]))
        with mode.arithmetic(), pytest.raises((RuntimeError, IndexError), match="out of bounds"):
            F.nll_loss(example(2, 5), torch.tensor([0, 7]))


TARGET = torch.sigmoid(example(6, 7, name="target"))
WEIGHT = torch.sigmoid(example(6, 7, name="weight"))
ELEMENTWISE = {
    "bce": lambda x, t, w, r: F.binary_cross_entropy(torch.sigmoid(x), t, reduction=r),
    "bce weight": lambda x, t, w, r: F.binary_cross_entropy(torch.sigmoid(x), t, w, reduction=r),
    "logits": lambda x, t, w, r: F.binary_cross_entropy_with_logits(x, t, reduction=r),
    "logits pos": lambda x, t, w, r: F.binary_cross_entropy_with_logits(
        x, t, w, reduction=r, pos_weight=2 * w[0]
    ),
    "huber": lambda x, t, w, r: F.huber_loss(x, t, reduction=r, delta=0.75),
    "kl": lambda x, t, w, r: F.kl_div(torch.log_softmax(x, 1), t, reduction=r),
    "l1": lambda x, t, w, r: F.l1_loss(x, t, reduction=r),
    "mse": lambda x, t, w, r: F.mse_loss(x, t, reduction=r),
    "poisson": lambda x, t, w, r: F.poisson_nll_loss(x, t, reduction=r),
    "smooth l1": lambda x, t, w, r: F.smooth_l1_loss(x, t, reduction=r, beta=0.75),
    "soft margin": lambda x, t, w, r: F.soft_margin_loss(x, (t - 0.5).sign(), reduction=r),
}


class TestOfElements:
    """One formula per element."""

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("name", ELEMENTWISE)
    @pytest.mark.filterwarnings("ignore:reduction")
    def test_agrees_with_float64(self, name, reduction):
        loss, target, weight = ELEMENTWISE[name], TARGET, WEIGHT
        compare(
            lambda leaf: loss(leaf, target, weight, reduction),
            example(6, 7),
            lambda leaf: loss(leaf, target.double(), weight.double(), reduction),
        )

    def test_extreme_logits_cost_what_they_should(self):
        x, target = torch.tensor([-200.0, -30.0, 30.0, 200.0]), torch.tensor([0.0, 0.0, 1.0, 0.0])
        with mode.arithmetic():
            losses = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        rest = np.float32(math.log1p(math.exp(-30)))
        assert losses.tolist() == [0.0, rest, rest, 200.0]

    def test_extreme_probabilities_cost_100(self):
        with mode.arithmetic():
            losses = F.binary_cross_entropy(
                torch.tensor([0.0, 1.0, 0.0, 1.0]),
                torch.tensor([0.0, 1.0, 1.0, 0.0]),
                reduction="none",
            )
        assert losses.tolist() == [0.0, 0.0, 100.0, 100.0]


SEGMENTATION = {
    "dice": lambda: monai_losses.DiceLoss(to_onehot_y=True, softmax=True),
    "dice sigmoid": lambda: monai_losses.DiceLoss(to_onehot_y=True, sigmoid=True, batch=True),
    "dice and ce": lambda: monai_losses.DiceCELoss(to_onehot_y=True, softmax=True),
    "dice and focal": lambda: monai_losses.DiceFocalLoss(to_onehot_y=True, softmax=True),
    "focal": lambda: monai_losses.FocalLoss(to_onehot_y=True),
    "focal softmax": lambda: monai_losses.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=1.5),
    "tversky": lambda: monai_losses.TverskyLoss(to_onehot_y=True, softmax=True),
}


class TestMonai:
    """The losses of segmentation reach only operations of the table."""

    @pytest.mark.parametrize("name", SEGMENTATION)
    def test_agrees_with_float64(self, name):
        target = classes(2, 1, 6, 5, 4, count=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = SEGMENTATION[name]()
            compare(lambda leaf: loss(leaf, target), example(2, 3, 6, 5, 4))
