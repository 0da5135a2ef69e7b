# SPDX-License-Identifier: Apache-2.0
"""Other threads bring the same batches, a few ahead, and end with the training.

Not tested here: whole runs with equal run_digest (tests/story/test_loader_workers.py).
"""

import threading

import numpy as np
import pytest

from tiny_agent_trainer.config.engine import EngineSection
from tiny_agent_trainer.tokenizer.batches import Batch
from tiny_agent_trainer.training import loading

COUNT, SIZE, EPOCHS = 22, 5, 3


class Feed:
    """Batches that say who asked for them; counts what was begun."""

    def __init__(self, failing=()):
        self.begun, self.failing = [], failing

    def training_order(self, epoch):
        return np.roll(np.arange(COUNT), epoch)

    def training_batch(self, epoch, chosen):
        self.begun.append((epoch, chosen.tolist()))
        if (epoch, int(chosen[0])) in self.failing:
            raise ValueError(f"sample {chosen[0]} is broken")
        inputs = (epoch * 1000 + chosen).astype(np.float32)
        return Batch(samples=chosen, inputs=inputs, labels=chosen)


def loader_of(feed, workers):
    engine = EngineSection(loader_workers=workers, batch_size=SIZE, epochs=EPOCHS)
    return loading.Loader(feed, engine)


def orders(feed, first_step=0):
    whole = [
        (epoch, feed.training_order(epoch)[start : start + SIZE])
        for epoch in range(1, EPOCHS + 1)
        for start in range(0, COUNT, SIZE)
    ]
    return whole[first_step:]


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("first_step", [0, 3, 7])
def test_batches_are_those_of_the_feed_from_any_step_on(workers, first_step):
    feed = Feed()
    with loader_of(feed, workers) as loader:
        for epoch, chosen in orders(feed, first_step):
            batch = loader.training_batch(epoch, chosen)
            assert (batch.samples == chosen).all()
            assert (batch.inputs == epoch * 1000 + chosen).all()
    assert len(feed.begun) == len(orders(feed, first_step)), "each batch once"
    assert not loader_threads()


def test_only_a_few_batches_are_prepared_ahead():
    feed = Feed()
    with loader_of(feed, 2) as loader:
        loader.training_batch(*orders(feed)[0])
    assert len(feed.begun) <= 1 + 4 + 1


def test_batches_in_an_unexpected_order_are_right_too():
    feed = Feed()
    with loader_of(feed, 2) as loader:
        for epoch, chosen in [*orders(feed)[::-1], (2, np.array([7, 3])), orders(feed)[4]]:
            batch = loader.training_batch(epoch, chosen)
            assert (batch.inputs == epoch * 1000 + chosen).all()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_comes_through_where_its_batch_is_asked_for(workers):
    feed = Feed()
    plan = orders(feed)
    feed.failing = [(plan[2][0], int(plan[2][1][0]))]
    with loader_of(feed, workers) as loader:
        loader.training_batch(*plan[0])
        loader.training_batch(*plan[1])
        with pytest.raises(ValueError, match="is broken"):
            loader.training_batch(*plan[2])
    assert not loader_threads()


def test_an_interrupt_ends_the_threads():
    feed, seen = Feed(), []

    def interrupted():
        with loader_of(feed, 3) as loader:
            loader.training_batch(*orders(feed)[0])
            seen.extend(loader_threads())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen
    assert not loader_threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_training_passes_through_the_same_states(make_training, workers):
    text = (
        "[engine]\nepochs = 3\nbatch_size = 5\nloader_workers = {}\n"
        "[tokenizer.augmentation]\nshift_pixels = 1\nrotate_degrees = 10.0\nnoise = 0.1\n"
    )
    plain = make_training(text.format(0), folder="plain")
    ahead = make_training(text.format(workers), folder="ahead")
    assert plain.trainer.run() == ahead.trainer.run() == "completed"
    assert plain.files() == ahead.files()
    assert [e.loss for e in plain.witness.steps] == [e.loss for e in ahead.witness.steps]


def test_a_training_that_dies_leaves_no_thread_and_goes_on_to_the_same_state(
    make_training, make_witness
):
    text = (
        "[engine]\nepochs = 2\nbatch_size = 5\nloader_workers = 2\ncheckpoint_every = '1 steps'\n"
    )
    whole = make_training(text, folder="whole")
    whole.trainer.run()
    killed = make_training(text, folder="killed", witness=make_witness(die_after=[4]))
    with pytest.raises(KeyboardInterrupt):
        killed.trainer.run()
    assert not loader_threads()
    again = make_training(text, folder="killed").resume()
    again.trainer.run()
    assert again.files() == whole.files()
