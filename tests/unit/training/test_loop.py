# SPDX-License-Identifier: Apache-2.0
"""What a step computes, what an epoch decides, and what stops a training.

Not tested here: interruption (test_resume.py), optimisers, schedules and losses (tests/reference).
"""

import math

import numpy as np
import pytest
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer import tokenization
from tiny_agent_trainer.training import loop
from tiny_agent_trainer.training.losses.loss import AbstractLoss

MLP = '[model]\nname = "mlp"\nhidden = [8]\nactivation = "tanh"\n'
CNN = '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n'


NATIVE = {"arithmetic": '"native"'}
EXACT = {"arithmetic": '"exact"'}


def engine(**keys):
    values = {"epochs": 2, "batch_size": 6, "checkpoint_every": '"1 epochs"', **NATIVE, **keys}
    return "[engine]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def first_batch(training, count=12):
    feed = training.parts.steps.feed
    return feed.plain_batch(feed.training_order(1)[:count])


class TestShards:
    """A shard is the unit of semantics; the step's loss is a mean over the whole step."""

    def gradient_of_the_mean(self, training, batch):
        network = training.parts.steps.network.train()
        loss = torch.nn.functional.cross_entropy(
            network(torch.from_numpy(batch.inputs)), torch.from_numpy(batch.labels)
        )
        named = dict(network.named_parameters())
        found = torch.autograd.grad(loss, list(named.values()))
        return float(loss.detach()), dict(zip(named, found, strict=True))

    @pytest.mark.parametrize("size", [0, 12])
    def test_one_shard_of_the_whole_batch_is_the_gradient_of_the_mean_loss(
        self, make_training, size
    ):
        training = make_training(engine(batch_size=12, shard_size=size) + CNN)
        batch = first_batch(training)
        value, _ = training.gradients(batch)
        found = {
            n: g.clone()
            for n, g in training.parts.steps.flat.views(training.parts.steps.flat.gradients)
        }
        loss, expected = self.gradient_of_the_mean(make_training(engine() + CNN), batch)
        assert value == pytest.approx(loss, rel=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("size", [1, 2, 5, 6, 11])
    @pytest.mark.parametrize("loss", ["", "[optimizer.loss]\nclass_weights = [1.0, 3.0]\n"])
    def test_without_batch_norm_shards_add_up_to_the_gradient_of_the_whole_batch(
        self, make_training, size, loss
    ):
        whole = make_training(engine(batch_size=12) + MLP + loss)
        batch = first_batch(whole)
        value, gradient = whole.gradients(batch)
        sharded = make_training(engine(batch_size=12, shard_size=size) + MLP + loss)
        found, gradients = sharded.gradients(batch)
        assert found == pytest.approx(value, rel=1e-6)
        assert (gradients - gradient).abs().max() < 1e-6
        assert gradient.abs().max() > 1e-3

    def test_with_batch_norm_every_shard_is_normalised_alone(self, make_training):
        sharded = make_training(engine(batch_size=12, shard_size=6) + CNN)
        batch = first_batch(sharded)
        _, gradients = sharded.gradients(batch)
        whole = make_training(engine(batch_size=12) + CNN)
        assert (whole.gradients(batch)[1] - gradients).abs().max() > 1e-4
        halves = make_training(engine(batch_size=6) + CNN)
        alone = [halves.gradients(first_part(batch, part))[1]
                 for part in (slice(0, 6), slice(6, 12))]  # fmt: skip
        torch.testing.assert_close(gradients, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-7)
        for name, buffer in halves.parts.steps.network.named_buffers():
            assert torch.equal(sharded.parts.steps.network.get_buffer(name), buffer), name

    def test_the_last_shard_and_the_last_batch_may_be_short(self, make_training):
        training = make_training(engine(batch_size=7, shard_size=3) + MLP)
        assert training.trainer.run() == "completed"
        count = len(training.parts.steps.feed.cohort.splits["train"])
        sizes = [len(event.samples) for event in training.witness.steps]
        assert sizes == [7, 7, count - 14] * 2

    def test_dropout_draws_anew_in_every_step_and_shard(self, make_training):
        text = engine(batch_size=12, shard_size=6) + MLP + "dropout = 0.5\n"
        seen = []
        training = make_training(text)
        layer = next(m for m in training.parts.steps.network if isinstance(m, torch.nn.Dropout))
        layer.register_forward_hook(lambda _, __, out: seen.append((out == 0).numpy().tobytes()))
        batch = first_batch(training)
        training.gradients(batch)
        training.gradients(batch, number=2)
        assert len(set(seen)) == 4


def first_part(batch, part):
    return type(batch)(
        samples=batch.samples[part], inputs=batch.inputs[part], labels=batch.labels[part]
    )


class TestStep:
    """One step of the optimiser."""

    @pytest.mark.parametrize("norm", [1e-3, 1e-2])
    def test_clipping_scales_the_gradient_down_to_its_norm(self, make_training, norm):
        text = engine(epochs=1, batch_size=64) + MLP
        text += f'[optimizer]\nname = "sgd"\nlr = 1.0\nclip_norm = {norm}\n'
        training = make_training(text)
        before = training.parts.steps.flat.values.clone()
        training.trainer.run()
        (event,) = training.witness.steps
        assert event.gradient_norm > norm
        moved = torch.linalg.vector_norm(training.parts.steps.flat.values - before)
        assert float(moved) == pytest.approx(norm, rel=1e-3)

    def test_a_norm_that_is_not_reached_changes_no_bit(self, make_training):
        plain = make_training(engine() + MLP, folder="plain")
        clipped = make_training(engine() + MLP + "[optimizer]\nclip_norm = 1e6\n", folder="clip")
        for training in (plain, clipped):
            training.trainer.run()
        assert torch.equal(plain.parts.steps.flat.values, clipped.parts.steps.flat.values)

    def test_the_rate_follows_the_schedule_from_the_first_step_on(self, make_training):
        text = engine(epochs=3) + MLP + '[optimizer]\nlr = 0.5\n[schedule]\nname = "cosine"\n'
        training = make_training(text)
        training.trainer.run()
        rates = [event.learning_rate for event in training.witness.steps]
        assert rates == [
            0.5 * training.parts.schedule.factor(step) for step in range(len(rates))
        ]  # fmt: skip
        assert (rates[0], rates[-1]) == (0.5, 0.0)

    def test_training_lowers_the_loss(self, make_training):
        training = make_training(engine(epochs=12) + MLP + "[optimizer]\nlr = 0.01\n")
        training.trainer.run()
        losses = [event.train_loss for event in training.witness.epochs]
        assert losses[-1] < 0.5 * losses[0]

    def test_the_loss_of_an_epoch_is_weighted_by_its_steps(self, make_training):
        training = make_training(engine(epochs=1, batch_size=7) + MLP)
        training.trainer.run()
        weighted = math.fsum(e.loss * len(e.samples) for e in training.witness.steps)
        count = sum(len(e.samples) for e in training.witness.steps)
        assert training.witness.epochs[0].train_loss == pytest.approx(weighted / count)

    def test_parameters_stay_views_of_one_vector(self, make_training):
        training = make_training(engine() + CNN)
        training.trainer.run()
        for name, view in training.parts.steps.flat.views(training.parts.steps.flat.values):
            assert training.parts.steps.network.get_parameter(name).data_ptr() == view.data_ptr()
            assert torch.equal(training.parts.steps.network.get_parameter(name), view)
        used = sum(
            view.numel()
            for _, view in training.parts.steps.flat.views(training.parts.steps.flat.values)
        )
        assert np.count_nonzero(training.parts.steps.flat.values.numpy()) <= used

    def test_torch_is_left_as_it_was_found(self, make_training):
        before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
        make_training(engine(epochs=1) + MLP).trainer.run()
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


class TestSelection:
    """The first best value wins, and patience counts validations without a better one."""

    def run(self, make_training, make_answer, values, text="", **keys):
        asked = iter(values)
        training = make_training(
            engine(epochs=len(values), **keys) + MLP + text,
            validate=lambda _: make_answer(next(asked)),
        )
        return training, training.trainer.run()

    def test_the_first_of_equal_values_wins(self, make_training, make_answer):
        training, outcome = self.run(make_training, make_answer, [0.5, 0.8, 0.8, 0.7])
        assert outcome == "completed"
        position = training.trainer.position
        assert (position.best_epoch, position.best_value, position.stale) == (2, 0.8, 2)
        best = training.parts.store.read_best(training.trainer.position)
        assert best.position.epoch == 2
        assert best.optimizer == {}
        seen = [(e.epoch, e.best_epoch, e.best_value) for e in training.witness.epochs]
        assert seen == [(1, 1, 0.5), (2, 2, 0.8), (3, 2, 0.8), (4, 2, 0.8)]

    def test_of_losses_the_lowest_wins(self, make_training, make_answer):
        training, _ = self.run(
            make_training, make_answer, [0.5, 0.4, 0.4, 0.6], '[validator]\nmetric = "loss"\n'
        )
        assert training.trainer.position.best_epoch == 2

    def test_the_best_file_holds_the_weights_of_the_best_epoch(self, make_training, make_answer):
        training, _ = self.run(make_training, make_answer, [0.9, 0.8, 0.7])
        one, _ = self.run(make_training, make_answer, [0.9])
        best = training.parts.store.read_best(training.trainer.position).network
        final = one.parts.steps.network.state_dict()
        assert all(torch.equal(best[name], final[name]) for name in final)

    @pytest.mark.parametrize(
        ("patience", "values", "epochs", "outcome"),
        [
            (1, [0.5, 0.5, 0.9, 0.9], 2, "stopped_early"),
            (2, [0.5, 0.4, 0.6, 0.5, 0.6, 0.9], 5, "stopped_early"),
            (3, [0.5, 0.4, 0.4, 0.6], 4, "completed"),
            (3, [0.5, 0.4, 0.4, 0.4], 4, "completed"),
            (0, [0.5, 0.4, 0.3, 0.2], 4, "completed"),
        ],
    )
    def test_patience(self, make_training, make_answer, patience, values, epochs, outcome):
        training, found = self.run(make_training, make_answer, values, patience=patience)
        assert (training.trainer.position.epoch, found) == (epochs, outcome)
        assert training.trainer.position.stopped_early == (outcome == "stopped_early")

    def test_validation_is_every_so_many_epochs_and_after_the_last(
        self, make_training, make_answer
    ):
        training, _ = self.run(
            make_training, make_answer, [0.1, 0.2, 0.3, 0.4, 0.5], "[validator]\nevery = 2\n"
        )
        asked = [e.epoch for e in training.witness.epochs if e.validation is not None]
        assert asked == [2, 4, 5]


class TestCadence:
    """Checkpoints come when the configuration says."""

    @pytest.mark.parametrize(
        ("every", "steps"),
        [('"1 steps"', [1, 2, 3, 4, 5, 6, 6]), ('"4 steps"', [4, 6]), ('"1 epochs"', [3, 6]),
         ('"2 epochs"', [6]), ('"100 steps"', [6])],
    )  # fmt: skip
    def test_states_are_seen_at_these_steps(self, make_training, every, steps):
        training = make_training(engine(checkpoint_every=every) + MLP)
        training.trainer.run()
        assert [event.step for event in training.witness.states] == steps
        assert all(event.is_scheduled for event in training.witness.states)
        assert training.parts.store.read_last().mark == {"at": 6}


class BrokenLoss(AbstractLoss):
    """Sums logits, with a fault where the ordinals that `fault` names are seen."""

    task = "multiclass"

    def __init__(self, fault):
        self.fault = fault

    def per_sample(self, logits, labels):
        return self.fault(logits)

    def total_weight(self, labels):
        return float(len(labels))

    def probabilities(self, logits):
        return logits


class TestGuard:
    """Training stops at the first number that is not finite, and says where it is."""

    def refused(self, training):
        with pytest.raises(errors.NotFiniteError) as caught:
            training.trainer.run()
        assert caught.value.exit_code == 14
        return caught.value

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_bad_input_is_named_by_step_and_samples(self, make_training, value):
        plain = make_training(engine() + MLP)
        feed = plain.parts.steps.feed
        bad = tokenization.Normalization(mean=(value,), deviation=(1.0,))
        shape, dtype = feed.cohort.prepared_NCS.shape[1:], feed.cohort.prepared_NCS.dtype
        tokenizer = tokenization.build_tokenizer(plain.config.tokenizer, shape, dtype, bad)
        broken = type(feed)(
            cohort=feed.cohort, tokenizer=tokenizer, augmentation=feed.augmentation,
            base_seed=feed.base_seed,
        )  # fmt: skip
        error = self.refused(make_training(engine() + MLP, feed=broken))
        samples = ", ".join(map(str, feed.training_order(1)[:6].tolist()))
        assert error.where == f"the loss at step 1 (epoch 1), samples {samples}"
        assert error.found == "nan"

    def test_a_bad_sample_is_found_in_the_step_that_holds_it(self, make_training):
        seen = 0

        def fault(logits):
            nonlocal seen
            seen += 1
            return logits.sum(1) * (math.nan if seen == 5 else 1.0)

        training = make_training(engine() + MLP, loss=BrokenLoss(fault))
        error = self.refused(training)
        assert "step 5 (epoch 2)" in error.where
        assert training.trainer.position.step == 4

    def test_many_samples_are_cut_short(self, make_training):
        training = make_training(
            engine(batch_size=12) + MLP, loss=BrokenLoss(lambda logits: logits.sum(1) * math.inf)
        )
        assert self.refused(training).where.count(",") == 8
        assert "..." in self.refused(training).where

    def test_a_bad_gradient_under_a_finite_loss_is_named_by_its_tensor(self, make_training):
        training = make_training(
            engine() + MLP, loss=BrokenLoss(lambda logits: (logits * 0).sum(1).sqrt())
        )
        error = self.refused(training)
        assert error.where.startswith("the gradient of 1.bias at step 1 (epoch 1), samples ")
        assert error.found == "nan in 8 of 8 values"

    def test_a_norm_beyond_float32_is_told_apart(self, make_training):
        training = make_training(
            engine() + MLP, loss=BrokenLoss(lambda logits: logits.sum(1) * 1e30)
        )
        error = self.refused(training)
        assert "all parameters together" in error.where
        assert error.found == "a norm beyond float32"

    @pytest.mark.parametrize("value", [math.nan, -math.inf])
    def test_a_bad_weight_stops_the_first_step(self, make_training, value):
        training = make_training(engine() + MLP)
        with torch.no_grad():
            training.parts.steps.network.get_parameter("3.weight")[1, 2] = value
        assert "the loss at step 1" in self.refused(training).where

    def test_weights_that_leave_the_finite_numbers_are_named_before_they_are_written(
        self, make_training
    ):
        text = MLP + '[optimizer]\nname = "sgd"\nlr = 1e38\nweight_decay = 1e38\n'
        for every in ('"1 steps"', '"1 epochs"'):
            folder = every.strip('"')
            training = make_training(
                engine(batch_size=64, checkpoint_every=every) + text, folder=folder
            )
            error = self.refused(training)
            assert error.where.startswith("the weight 1.")
            assert "after step 1 (epoch 1)" in error.where
            assert training.files() == {}, "a state that is not finite is no state to go on from"

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_exact_arithmetic_names_tensor_module_step_and_samples(self, make_training, value):
        training = make_training(engine(**EXACT) + MLP)
        with torch.no_grad():
            training.parts.steps.network.get_parameter("3.weight")[1, 2] = value
        error = self.refused(training)
        samples = ", ".join(map(str, training.parts.steps.feed.training_order(1)[:6].tolist()))
        assert error.where.startswith("the right operand of module 3 (Linear)")
        assert error.where.endswith(f", at step 1 (epoch 1), samples {samples}")

    def test_exact_arithmetic_names_a_bad_gradient(self, make_training):
        training = make_training(
            engine(**EXACT) + MLP, loss=BrokenLoss(lambda logits: (logits * 0).sum(1).sqrt())
        )
        error = self.refused(training)
        assert "operand of the backward pass" in error.where
        assert "at step 1 (epoch 1), samples " in error.where

    def test_the_last_checkpoint_is_kept(self, make_training):
        seen = 0

        def fault(logits):
            nonlocal seen
            seen += 1
            return logits.sum(1) * (math.nan if seen == 5 else 1.0)

        text = engine(checkpoint_every='"1 steps"') + MLP
        training = make_training(text, loss=BrokenLoss(fault))
        self.refused(training)
        assert training.parts.store.read_last().position.step == 4


class TestUnderflow:
    """What grids round to zero is observed at some steps, and changes none."""

    def run(self, make_training, monkeypatch, every, arithmetic):
        monkeypatch.setattr(loop, "COUNTED_EVERY", every)
        training = make_training(engine(**arithmetic) + CNN, folder=f"every-{every}")
        training.trainer.run()
        return training

    def test_a_count_changes_no_checkpoint(self, make_training, monkeypatch):
        often = self.run(make_training, monkeypatch, 1, EXACT)
        rarely = self.run(make_training, monkeypatch, 3, EXACT)
        assert [bool(event.underflow) for event in often.witness.steps] == [True] * len(
            often.witness.steps
        )
        counted = [event.step for event in rarely.witness.steps if event.underflow]
        assert counted == list(range(1, len(rarely.witness.steps) + 1, 3))
        assert often.files() == rarely.files()

    def test_every_kind_of_operand_is_counted(self, make_training, monkeypatch):
        counts = self.run(make_training, monkeypatch, 100, EXACT).witness.steps[0].underflow
        kinds = {"input", "weight", "output gradient", "left operand", "right operand"}
        assert set(counts) == kinds
        assert all(0 <= lost < values for lost, values in counts.values())

    def test_native_arithmetic_has_no_grids(self, make_training, monkeypatch):
        training = self.run(make_training, monkeypatch, 1, NATIVE)
        assert not any(event.underflow for event in training.witness.steps)
