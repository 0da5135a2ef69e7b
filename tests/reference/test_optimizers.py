# SPDX-License-Identifier: Apache-2.0
"""Optimisers, schedules and losses against PyTorch's own.

Not tested here: that training with them reaches anything (the story of the first experiment).
"""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.config.optimizers import (
    AdamOptions,
    AdamwOptions,
    BinaryCrossEntropyOptions,
    CrossEntropyOptions,
    SgdOptions,
)
from tiny_agent_trainer.config.schedules import (
    ConstantOptions,
    CosineOptions,
    PolynomialOptions,
    StepOptions,
)
from tiny_agent_trainer.training import parts
from tiny_agent_trainer.training.optimizers import optimizer as optimizers
from tiny_agent_trainer.training.schedules.schedule import Span

STEPS = 20
RTOL, ATOL = 2e-6, 1e-6
"""Torch rounds a fused multiply-add once, we round twice. Values pass through 4 on their way, so
that one unit of float32 is up to 5e-7; two of them may remain after 20 steps."""


def vector(*name, count=1000):
    drawn = randomness.stream(3, "optimizers", *name).uniform(2 * count) - np.float32(0.5)
    return torch.from_numpy(drawn[:count] * 4 + drawn[count:])


OPTIMIZERS = {
    "sgd": (SgdOptions(name="sgd", lr=0.1), torch.optim.SGD, {}),
    "sgd with momentum": (
        SgdOptions(name="sgd", lr=0.1, momentum=0.9),
        torch.optim.SGD,
        {"momentum": 0.9},
    ),
    "sgd with Nesterov's momentum": (
        SgdOptions(name="sgd", lr=0.1, momentum=0.9, nesterov=True),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
    "sgd with momentum and decay": (
        SgdOptions(name="sgd", lr=0.1, momentum=0.8, weight_decay=0.05),
        torch.optim.SGD,
        {"momentum": 0.8, "weight_decay": 0.05},
    ),
    "adam": (AdamOptions(lr=1e-2), torch.optim.Adam, {}),
    "adam with decay": (
        AdamOptions(lr=1e-2, weight_decay=0.1),
        torch.optim.Adam,
        {"weight_decay": 0.1},
    ),
    "adam with other constants": (
        AdamOptions(lr=1e-2, beta1=0.5, beta2=0.9, epsilon=1e-3),
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "eps": 1e-3},
    ),
    "adam without memory": (
        AdamOptions(lr=1e-2, beta1=0.0, beta2=0.0),
        torch.optim.Adam,
        {"betas": (0.0, 0.0)},
    ),
    "adamw": (
        AdamwOptions(name="adamw", lr=1e-2, weight_decay=0.1),
        torch.optim.AdamW,
        {"weight_decay": 0.1},
    ),
}


def train(options, steps=STEPS, rate_of=lambda step: 1.0):
    values = vector("start")
    built = parts.build_part(options, len(values))
    for count in range(1, steps + 1):
        built.step(values, vector("gradient", count), options.lr * rate_of(count), count)
    return values, built


def train_by_torch(kind, lr, arguments, steps=STEPS, rate_of=lambda step: 1.0):
    values = torch.nn.Parameter(vector("start"))
    theirs = kind([values], lr=lr, foreach=False, fused=False, **arguments)
    for count in range(1, steps + 1):
        values.grad = vector("gradient", count)
        theirs.param_groups[0]["lr"] = lr * rate_of(count)
        theirs.step()
    return values.detach()


class TestOptimizers:
    """Twenty steps end where torch.optim ends, within float32 rounding."""

    @pytest.mark.parametrize("name", OPTIMIZERS)
    @pytest.mark.parametrize("rate", ["constant", "changing"])
    def test_it_agrees_with_torch(self, name, rate):
        options, kind, arguments = OPTIMIZERS[name]
        rate_of = (lambda step: 1.0) if rate == "constant" else (lambda step: 1.0 / step)
        ours, _ = train(options, rate_of=rate_of)
        theirs = train_by_torch(kind, options.lr, arguments, rate_of=rate_of)
        torch.testing.assert_close(ours, theirs, rtol=RTOL, atol=ATOL)
        assert (ours - vector("start")).abs().max() > 0.01

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_the_comparison_sees_one_step_more(self, name):
        """Negative control."""
        options, kind, arguments = OPTIMIZERS[name]
        ours, _ = train(options)
        theirs = train_by_torch(kind, options.lr, arguments, steps=STEPS + 1)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(ours, theirs, rtol=RTOL, atol=ATOL)

    @pytest.mark.parametrize("name", OPTIMIZERS)
    @pytest.mark.parametrize("length", [1, 7, 16, 999])
    def test_the_length_of_pieces_has_no_influence_on_the_bits(self, monkeypatch, name, length):
        options, _, _ = OPTIMIZERS[name]
        whole, whole_state = train(options, steps=4)
        monkeypatch.setattr(optimizers, "PIECE_LENGTH", length)
        pieces, pieces_state = train(options, steps=4)
        assert pieces.numpy().tobytes() == whole.numpy().tobytes()
        for slot, state in whole_state.state.items():
            assert pieces_state.state[slot].numpy().tobytes() == state.numpy().tobytes()

    @pytest.mark.parametrize(
        ("name", "slots"),
        [("sgd", []), ("sgd with momentum", ["momentum"]), ("adam", ["mean", "mean_square"]),
         ("adamw", ["mean", "mean_square"])],
    )  # fmt: skip
    def test_it_keeps_the_state_it_needs_and_no_more(self, name, slots):
        assert list(train(OPTIMIZERS[name][0], steps=1)[1].state) == slots

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_zeros_stay_zeros_where_the_gradient_is_zero(self, name):
        """The gaps between parameters must not move."""
        options, _, _ = OPTIMIZERS[name]
        values, built = torch.zeros(32), parts.build_part(options, 32)
        for count in range(1, 6):
            built.step(values, torch.zeros(32), options.lr, count)
        assert not values.any()

    @pytest.mark.parametrize("count", [1, 2, 100, 10_000])
    def test_bias_corrections_are_the_rounded_exact_ones(self, count):
        built = parts.build_part(AdamOptions(), 1)
        rate, step_size, root = built.scalars(1e-3, count)
        with mpmath.workprec(300):
            power1 = float(mpmath.mpf(0.9) ** count)
            power2 = float(mpmath.mpf(0.999) ** count)
        assert (rate, step_size, root) == (1e-3, 1e-3 / (1 - power1), math.sqrt(1 - power2))


def factors(options, epochs=10, steps_per_epoch=7):
    span = Span(epochs=epochs, steps_per_epoch=steps_per_epoch)
    built = parts.build_part(options, span)
    return [built.factor(step) for step in range(span.steps)]


def factors_by_torch(build, count):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = build(optimizer)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


class TestSchedules:
    """Factors of the learning rate against torch.optim.lr_scheduler."""

    scheduler = torch.optim.lr_scheduler

    def test_constant(self):
        assert factors(ConstantOptions()) == [1.0] * 70

    def test_step(self):
        theirs = factors_by_torch(lambda o: self.scheduler.MultiStepLR(o, [5, 7]), 10)
        ours = factors(StepOptions(name="step", milestones=(0.5, 0.7)))
        assert ours == pytest.approx([rate for rate in theirs for _ in range(7)], rel=1e-12)
        assert (ours[34], ours[35], ours[48], ours[49]) == (1.0, 0.1, 0.1, pytest.approx(0.01))

    @pytest.mark.parametrize("percent", range(1, 100))
    def test_a_drop_at_a_percentage_of_a_hundred_epochs_is_at_that_epoch(self, percent):
        """The float 0.55 * 100 is more than 55; the decimal that was written is not."""
        options = StepOptions(name="step", milestones=(float(f"0.{percent:02d}"),), gamma=0.5)
        found = factors(options, epochs=100, steps_per_epoch=1)
        assert found == [1.0] * percent + [0.5] * (100 - percent)

    def test_a_milestone_within_an_epoch_waits_for_the_next_one(self):
        options = StepOptions(name="step", milestones=(0.5,), gamma=0.5)
        assert factors(options, epochs=3, steps_per_epoch=1) == [1.0, 1.0, 0.5]

    @pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
    def test_cosine(self, final):
        theirs = factors_by_torch(
            lambda o: self.scheduler.CosineAnnealingLR(o, T_max=69, eta_min=final), 70
        )
        ours = factors(CosineOptions(name="cosine", final_fraction=final))
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
        assert ours[0] == 1.0
        assert ours[-1] == final

    @pytest.mark.parametrize("power", [1.0, 0.9, 2.0])
    def test_polynomial(self, power):
        theirs = factors_by_torch(
            lambda o: self.scheduler.PolynomialLR(o, total_iters=69, power=power), 70
        )
        ours = factors(PolynomialOptions(name="polynomial", power=power))
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
        assert (ours[0], ours[-1]) == (1.0, 0.0)

    def test_polynomial_ends_at_its_final_fraction(self):
        ours = factors(PolynomialOptions(name="polynomial", final_fraction=0.25))
        assert ours[-1] == 0.25

    @pytest.mark.parametrize(
        "options",
        [
            ConstantOptions(warmup_steps=4), CosineOptions(name="cosine", warmup_steps=4),
            PolynomialOptions(name="polynomial", warmup_steps=4),
        ],
        ids=lambda options: options.name,
    )  # fmt: skip
    def test_a_warm_up_grows_linearly_and_then_the_schedule_begins_at_its_top(self, options):
        ours = factors(options)
        assert ours[:5] == [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1.0]
        linear = factors_by_torch(
            lambda o: self.scheduler.LinearLR(o, start_factor=1 / 5, total_iters=4), 5
        )
        assert ours[:5] == pytest.approx(linear, rel=1e-12)
        plain = options.model_copy(update={"warmup_steps": 0})
        if options.name != "constant":
            assert ours[-1] == factors(plain)[-1] == 0.0

    @settings(max_examples=60)
    @given(
        st.sampled_from(["cosine", "polynomial"]), st.integers(1, 9), st.integers(1, 9),
        st.integers(0, 90), st.floats(0, 1),
    )  # fmt: skip
    def test_a_factor_is_never_outside_of_its_range(self, name, epochs, steps, warmup, final):
        kind = {"cosine": CosineOptions, "polynomial": PolynomialOptions}[name]
        options = kind(name=name, warmup_steps=warmup, final_fraction=final)
        found = factors(options, epochs, steps)
        assert all(0 <= factor <= 1 for factor in found)
        behind = found[warmup:]
        assert all(factor >= final * (1 - 1e-15) for factor in behind)
        assert behind == sorted(behind, reverse=True)


def logits_and_labels(classes, count=12, name="logits"):
    logits = vector(name, count=count * classes).reshape(count, classes).requires_grad_()
    stream = randomness.stream(3, "optimizers", "labels", classes)
    return logits, torch.from_numpy(stream.integers(count, classes))


def total_loss(built, logits, labels):
    return built.per_sample(logits, labels).sum() / built.total_weight(labels.numpy())


def agree(ours, theirs, logits):
    mine = torch.autograd.grad(ours, logits, retain_graph=True)[0]
    other = torch.autograd.grad(theirs, logits, retain_graph=True)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


class TestLosses:
    """The loss of a step is torch's mean over the whole step, in value and gradient."""

    @pytest.mark.parametrize("classes", [2, 5])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("kind", ["none", "given", "balanced"])
    def test_cross_entropy(self, classes, smoothing, kind):
        counts = list(range(3, 3 + classes))
        weights = {
            "none": None,
            "given": torch.linspace(0.5, 2.0, classes),
            "balanced": torch.tensor([sum(counts) / (classes * count) for count in counts]),
        }[kind]
        chosen = tuple(weights.tolist()) if kind == "given" else kind
        options = CrossEntropyOptions(class_weights=chosen, label_smoothing=smoothing)
        built = parts.build_part(options, counts)
        logits, labels = logits_and_labels(classes)
        theirs = functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
        agree(total_loss(built, logits, labels), theirs, logits)
        torch.testing.assert_close(built.probabilities(logits), torch.softmax(logits, 1))

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("kind", ["none", "given", "balanced"])
    def test_binary_cross_entropy(self, smoothing, kind):
        counts, number = [2, 5, 8], 10
        weights = {
            "none": None,
            "given": torch.tensor([0.5, 1.0, 2.0]),
            "balanced": torch.tensor([(number - count) / count for count in counts]),
        }[kind]
        chosen = tuple(weights.tolist()) if kind == "given" else kind
        options = BinaryCrossEntropyOptions(
            name="binary_cross_entropy", class_weights=chosen, label_smoothing=smoothing
        )
        built = parts.build_part(options, [*counts, *[number] * 3])
        logits, _ = logits_and_labels(3)
        labels = (vector("many", count=36).reshape(12, 3) > 0).to(torch.int64)
        targets = labels.to(torch.float32) * (1 - smoothing) + smoothing / 2
        theirs = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
        agree(total_loss(built, logits, labels), theirs, logits)
        torch.testing.assert_close(built.probabilities(logits), torch.sigmoid(logits))

    @pytest.mark.parametrize("kind", [CrossEntropyOptions, BinaryCrossEntropyOptions])
    def test_another_number_of_weights_than_classes_is_refused(self, kind):
        name = "cross_entropy" if kind is CrossEntropyOptions else "binary_cross_entropy"
        options = kind(name=name, class_weights=(1.0, 2.0))
        counts = [1, 2, 3] if kind is CrossEntropyOptions else [1, 2, 3, 4, 4, 4]
        with pytest.raises(errors.DatasetError, match=r"expected 3 weights.*; found 2"):
            parts.build_part(options, counts)

    def test_a_class_without_samples_does_not_divide_by_zero(self):
        built = parts.build_part(CrossEntropyOptions(class_weights="balanced"), [4, 0])
        assert math.isfinite(built.total_weight(np.array([0, 1])))

    def test_weights_act(self):
        """Negative control."""
        logits, labels = logits_and_labels(2)
        plain = parts.build_part(CrossEntropyOptions(), [6, 6])
        weighted = parts.build_part(CrossEntropyOptions(class_weights=(1.0, 3.0)), [6, 6])
        assert total_loss(plain, logits, labels) != total_loss(weighted, logits, labels)


@pytest.mark.parametrize(
    "options",
    [CosineOptions(name="cosine"), PolynomialOptions(name="polynomial")],
    ids=["cosine", "polynomial"],
)
def test_a_training_of_one_step_has_the_whole_rate(options):
    made = parts.build_part(options, Span(epochs=1, steps_per_epoch=1))
    assert made.factor(0) == 1.0
