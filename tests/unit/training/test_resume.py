# SPDX-License-Identifier: Apache-2.0
"""Where a training was interrupted has no influence on anything that it leaves behind.

Not tested here: processes that are really killed (the tests of a run), other arithmetics.
"""

import numpy as np
import pytest

from tiny_agent_trainer import errors

ENGINE = """
[engine]
epochs = 3
batch_size = 6
shard_size = 4
base_seed = 5
checkpoint_every = "2 steps"
keep = ["all"]
"""
NETWORKS = {
    "cnn with batch norm and adam": ENGINE + '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n',
    "mlp with dropout and momentum": ENGINE
    + """
[model]
name = "mlp"
hidden = [8]
dropout = 0.5
[optimizer]
name = "sgd"
momentum = 0.9
[schedule]
name = "cosine"
warmup_steps = 2
[tokenizer.augmentation]
flip_horizontal = true
shift_pixels = 2
intensity_scale = 0.2
""",
    "vit with dropout and adamw": ENGINE
    + """
[tokenizer]
kind = "patches"
patch_size = 8
[model]
name = "vit"
layers = 1
width = 6
heads = 2
dropout = 0.3
[optimizer]
name = "adamw"
weight_decay = 0.1
clip_norm = 0.5
""",
}
STEPS = 9


def told(witness):
    """What the witness was told, in values that can be compared."""
    steps = [
        (e.step, e.epoch, e.loss, e.gradient_norm, e.learning_rate, tuple(e.samples.tolist()))
        for e in witness.steps
    ]
    epochs = [
        (e.step, e.epoch, e.train_loss, e.learning_rate, e.validation.value, e.best_epoch,
         e.best_value)
        for e in witness.epochs
    ]  # fmt: skip
    states = [(e.step, e.epoch, dict(e.digests)) for e in witness.states if e.is_scheduled]
    return steps, epochs, states


@pytest.fixture(params=NETWORKS)
def text(request):
    return NETWORKS[request.param]


@pytest.fixture
def whole(make_training, text):
    training = make_training(text, folder="whole")
    assert training.trainer.run() == "completed"
    assert len(training.witness.steps) == STEPS
    return training


def test_a_run_stopped_after_any_step_leaves_the_same_files(
    make_training, make_witness, text, whole
):
    for step in range(1, STEPS + 1):
        folder = f"stopped {step}"
        first = make_training(text, folder=folder, witness=make_witness(stop_after=[step]))
        assert first.trainer.run() == "interrupted"
        again = make_training(text, folder=folder).resume()
        assert again.trainer.run() == "completed"
        assert again.files() == whole.files(), step
        assert again.trainer.position == whole.trainer.position


def test_a_run_stopped_after_every_step_tells_the_same_story(
    make_training, make_witness, text, whole
):
    seen = make_witness(stop_after=range(1, STEPS + 1))
    training = make_training(text, folder="limping", witness=seen)
    while training.trainer.run() == "interrupted":
        training = make_training(text, folder="limping", witness=seen).resume()
    assert told(seen) == told(whole.witness)
    assert training.files() == whole.files()


def test_a_run_that_dies_after_any_step_leaves_the_same_files(
    make_training, make_witness, text, whole
):
    for step in range(1, STEPS + 1):
        folder = f"dead {step}"
        first = make_training(text, folder=folder, witness=make_witness(die_after=[step]))
        with pytest.raises(KeyboardInterrupt):
            first.trainer.run()
        again = make_training(text, folder=folder)
        if again.parts.store.read_last() is not None:
            again.resume()
            assert step > 2
        assert again.trainer.run() == "completed"
        assert again.files() == whole.files(), step


def test_the_comparison_sees_a_resume_that_forgets_the_optimizer(
    make_training, make_witness, text, whole
):
    """Negative control."""
    first = make_training(text, folder="forgetful", witness=make_witness(stop_after=[4]))
    first.trainer.run()
    again = make_training(text, folder="forgetful").resume()
    for vector in again.parts.steps.optimizer.state.values():
        vector.zero_()
    again.trainer.run()
    assert again.files() != whole.files()


def test_early_stopping_and_best_values_survive_an_interruption(
    make_training, make_witness, make_answer
):
    text = ENGINE.replace("epochs = 3", "epochs = 6\npatience = 2")
    values = [0.5, 0.7, 0.7, 0.6, 0.9, 0.9]

    def build(folder, **options):
        training = make_training(
            text, folder=folder,
            validate=lambda _: make_answer(values[training.trainer.position.epoch - 1]),
            **options,
        )  # fmt: skip
        return training

    whole = build("whole")
    assert whole.trainer.run() == "stopped_early"
    assert (whole.trainer.position.epoch, whole.trainer.position.best_epoch) == (4, 2)
    for step in range(1, 13, 2):
        folder = f"stopped {step}"
        assert build(folder, witness=make_witness([step])).trainer.run() == "interrupted"
        again = build(folder).resume()
        assert again.trainer.run() == "stopped_early"
        assert again.files() == whole.files(), step


def test_a_finished_run_has_nothing_left_to_do(make_training):
    first = make_training(ENGINE)
    first.trainer.run()
    files = first.files()
    again = make_training(ENGINE).resume()
    assert again.trainer.run() == "completed"
    assert again.witness.steps == []
    assert again.files() == files


def test_a_checkpoint_of_another_network_is_refused_with_the_tensors_that_differ(make_training):
    make_training(ENGINE + "[model]\nwidth = 4\n").trainer.run()
    other = make_training(ENGINE + "[model]\nwidth = 5\n")
    with pytest.raises(errors.CheckpointError, match=r"that differ: 0\.weight"):
        other.resume()


def test_a_checkpoint_without_the_optimizers_state_is_refused(make_training):
    training = make_training(ENGINE)
    training.trainer.run()
    best = training.parts.store.read_best(training.trainer.position)
    with pytest.raises(errors.CheckpointError, match="mean::"):
        make_training(ENGINE).trainer.restore(best)


def test_two_runs_use_the_samples_in_the_same_order_and_epochs_in_different_ones(make_training):
    orders = []
    for folder in ("one", "two"):
        training = make_training(ENGINE, folder=folder)
        training.trainer.run()
        steps = training.witness.steps
        orders.append([
            np.concatenate([e.samples for e in steps if e.epoch == epoch]).tolist()
            for epoch in (1, 2, 3)
        ])  # fmt: skip
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders[0]}) == 3
    assert len({tuple(sorted(order)) for order in orders[0]}) == 1
