# SPDX-License-Identifier: Apache-2.0
"""Masked labels, numbers and grades: what a sample's loss is, and what a step's is divided by.

Not tested here: training with them (tests/story/test_kinds_of_labels.py), arithmetic itself.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tiny_agent_trainer.config.optimizers import (
    BinaryCrossEntropyOptions,
    MeanSquaredErrorOptions,
    OrdinalOptions,
)
from tiny_agent_trainer.exact import mode
from tiny_agent_trainer.tokenizer import statistics
from tiny_agent_trainer.training.losses.binary_cross_entropy import BinaryCrossEntropy
from tiny_agent_trainer.training.losses.mean_squared_error import MeanSquaredError
from tiny_agent_trainer.training.losses.ordinal import Ordinal

seeds = st.integers(0, 2**32)


def draw(seed, count=12, width=3, masked=0.4):
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(size=(count, width)).astype(np.float32))
    labels = generator.integers(0, 2, (count, width))
    labels[generator.random(labels.shape) < masked] = -1
    return logits, labels


def binary(counts=(3, 4, 5, 10, 10, 10), **options):
    made = BinaryCrossEntropyOptions(name="binary_cross_entropy", **options)
    return BinaryCrossEntropy(made, list(counts))


class TestMasked:
    @given(seeds)
    def test_a_step_is_the_mean_over_its_known_labels(self, seed):
        logits, labels = draw(seed)
        loss = binary()
        known = torch.from_numpy(labels >= 0)
        if not known.any():
            assert loss.total_weight(labels) == 0
            return
        total = loss.per_sample(logits, torch.from_numpy(labels)).sum()
        step = float(total) / loss.total_weight(labels)
        targets = torch.from_numpy(labels).double()
        expected = functional.binary_cross_entropy_with_logits(
            logits.double()[known], targets[known]
        )
        assert step == pytest.approx(float(expected), rel=1e-5)

    @given(seeds)
    def test_a_masked_label_has_no_gradient_whatever_the_logit(self, seed):
        logits, labels = draw(seed)
        logits[labels == -1] *= 1e4
        logits.requires_grad_()
        loss = binary(class_weights="balanced", label_smoothing=0.1)
        loss.per_sample(logits, torch.from_numpy(labels)).sum().backward()
        assert (logits.grad[torch.from_numpy(labels == -1)] == 0).all()
        assert (logits.grad[torch.from_numpy(labels >= 0)] != 0).any() or (labels == -1).all()

    @given(seeds, st.integers(1, 11))
    def test_shards_add_up_to_the_step(self, seed, cut):
        logits, labels = draw(seed)
        loss, given_labels = binary(), torch.from_numpy(labels)
        whole = loss.per_sample(logits, given_labels)
        parts = [
            loss.per_sample(logits[place], given_labels[place])
            for place in (slice(0, cut), slice(cut, None))
        ]
        assert torch.cat(parts).numpy().tobytes() == whole.numpy().tobytes()
        weights = [loss.total_weight(part) for part in (labels[:cut], labels[cut:])]
        assert math.fsum(weights) == pytest.approx(loss.total_weight(labels))

    @given(seeds)
    def test_without_masks_bits_are_those_of_torch(self, seed):
        logits, labels = draw(seed, masked=0)
        loss, given_labels = binary(), torch.from_numpy(labels)
        plain = functional.binary_cross_entropy_with_logits(
            logits, given_labels.to(torch.float32), reduction="none"
        ).mean(dim=1)
        assert loss.per_sample(logits, given_labels).numpy().tobytes() == plain.numpy().tobytes()
        assert loss.total_weight(labels) == len(labels)

    def test_balanced_weights_come_from_known_labels_alone(self):
        loss = binary((2, 1, 8, 4), class_weights="balanced")
        assert loss._weights.tolist() == [3.0, 3.0]


class TestNumbers:
    @given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30, unique=True))
    def test_mean_and_deviation_are_those_of_the_rationals(self, values):
        targets = np.array(values, np.float32)
        mean, deviation = statistics.measure_targets(targets)
        exact = targets.astype(np.float64)
        assert mean == pytest.approx(exact.mean(), rel=1e-9, abs=1e-6)
        assert deviation == pytest.approx(exact.std(), rel=1e-6)
        assert statistics.measure_targets(targets[::-1]) == (mean, deviation)

    def test_equal_targets_have_deviation_one(self):
        assert statistics.measure_targets(np.array([3, 3, 3], np.float32)) == (3.0, 1.0)

    def test_the_loss_is_in_units_of_the_variance(self):
        targets = np.array([10, 20, 30, 40], np.float32)
        loss = MeanSquaredError(MeanSquaredErrorOptions(name="mean_squared_error"), targets)
        logits = torch.zeros((4, 1))
        losses = loss.per_sample(logits, torch.from_numpy(targets))
        assert float(losses.sum()) / loss.total_weight(targets) == pytest.approx(1.0)
        assert loss.probabilities(logits).tolist() == [[25.0]] * 4

    @given(st.floats(-1000, 1000, width=32))
    def test_an_answer_goes_to_the_unit_of_the_target_and_back(self, target):
        targets = np.array([-500, 100, 700], np.float32)
        loss = MeanSquaredError(MeanSquaredErrorOptions(name="mean_squared_error"), targets)
        answer = (torch.tensor([target]) - loss._mean) / loss._deviation
        assert float(loss.per_sample(answer[:, None], torch.tensor([target]))) == 0
        assert float(loss.probabilities(answer[:, None])) == pytest.approx(target, abs=1e-3)


class TestGrades:
    loss = Ordinal(OrdinalOptions(name="ordinal"), [5, 5, 5, 5])

    def test_targets_are_the_steps_below_a_grade(self):
        assert self.loss._steps.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]

    @given(seeds)
    def test_probabilities_are_in_range_and_add_up(self, seed):
        logits, _ = draw(seed)
        chances = self.loss.probabilities(logits * 10).double()
        assert chances.shape == (12, 4)
        assert ((chances >= 0) & (chances <= 1)).all()
        assert torch.allclose(chances.sum(dim=1), torch.ones(12, dtype=torch.float64), atol=1e-6)

    def test_a_step_more_probable_than_the_one_below_counts_as_that_one(self):
        chances = self.loss.probabilities(torch.tensor([[0.0, 5.0, -50.0]]))
        assert chances[0].tolist() == pytest.approx([0.5, 0.0, 0.5, 0.0])

    def test_the_right_side_of_every_step_costs_nothing(self):
        labels = torch.arange(4)
        logits = (self.loss._steps * 2 - 1) * 100
        assert float(self.loss.per_sample(logits, labels).max()) < 1e-40
        assert self.loss.probabilities(logits).argmax(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["masked", "numbers", "grades"])
def test_exact_arithmetic_carries_them_out_with_gradients(kind):
    generator = np.random.default_rng(0)
    logits, labels = draw(0)
    loss = binary()
    if kind == "numbers":
        labels = generator.normal(size=12).astype(np.float32)
        loss = MeanSquaredError(MeanSquaredErrorOptions(name="mean_squared_error"), labels)
        logits = logits[:, :1].contiguous()
    elif kind == "grades":
        labels, loss = generator.integers(0, 4, 12), TestGrades.loss
    found = []
    for _ in range(2):
        given_logits = logits.clone().requires_grad_()
        with mode.arithmetic():
            losses = loss.per_sample(given_logits, torch.from_numpy(labels))
            (losses.sum() / loss.total_weight(labels)).backward()
            chances = loss.probabilities(logits)
        found.append(given_logits.grad.numpy().tobytes() + chances.numpy().tobytes())
    assert found[0] == found[1]
    native = loss.per_sample(logits, torch.from_numpy(labels))
    assert torch.allclose(losses.detach(), native, atol=1e-6)
