# SPDX-License-Identifier: Apache-2.0
"""A training of seconds, put together from its parts."""

import dataclasses

import numpy as np
import pytest
import torch

from tiny_agent_trainer.config.trainer_config import parse_config
from tiny_agent_trainer.model import shape
from tiny_agent_trainer.model.build import build_network
from tiny_agent_trainer.tokenizer import batches, cohort
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.training import arithmetics, flat, group, loop, parts, step, store
from tiny_agent_trainer.training.schedules.schedule import Span

DATA = """
[data]
patients = 24
images_per_patient = 1
image_size = 16
label_noise = 0.0
"""


class Answer:
    """A report that knows one number."""

    def __init__(self, value):
        self.value = value

    def metric(self, name):
        return self.value


class MemoryWitness:
    """Writes down what it is told, and stops or dies after chosen steps."""

    def __init__(self, stop_after=(), die_after=()):
        self.stop_after, self.die_after = set(stop_after), set(die_after)
        self.steps, self.epochs, self.states = [], [], []

    def saw_step(self, event):
        self.steps.append(event)
        if event.step in self.die_after:
            raise KeyboardInterrupt

    def saw_epoch(self, event):
        self.epochs.append(event)

    def saw_state(self, event):
        self.states.append(event)
        return {"at": event.step}

    def wants_stop(self):
        return bool(self.steps) and self.steps[-1].step in self.stop_after


@dataclasses.dataclass
class Training:
    """A trainer and what it is made of."""

    config: object
    parts: loop.TrainingParts
    trainer: loop.Trainer
    witness: MemoryWitness

    def resume(self):
        self.trainer.restore(self.parts.store.read_last())
        return self

    def files(self):
        folder = self.parts.store.directory
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def gradients(self, batch, number=1):
        """The loss and the flat gradient of one step, which is not made."""
        steps = self.parts.steps
        weight = steps.loss.total_weight(batch.labels)
        with steps.arithmetic.context():
            value = step.compute_gradients(steps, batch, weight, number)
        return value, steps.flat.gradients.clone()


def feed_of(config):
    dataset = parts.build_part(config.data, lambda *_: None).read()
    members = cohort.build_cohort(dataset, config.tokenizer, allow_leaks=False)
    return batches.Feed(
        cohort=members,
        tokenizer=members.build_tokenizer(config.tokenizer),
        augmentation=augmentation.Augmentation(
            config.tokenizer.augmentation, config.engine.base_seed
        ),
        base_seed=config.engine.base_seed,
    )


def minus_loss_of(network, feed):
    """A validation that depends on every weight: minus the mean loss on the val split."""
    batch = feed.plain_batch(feed.cohort.splits["val"])
    network.eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(batch.inputs))
        losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.labels))
    return Answer(-float(losses))


@pytest.fixture
def make_training(tmp_path):
    """Builds a training from TOML; equal calls give equal trainings, even in another directory."""

    def make(text="", *, folder="checkpoints", witness=None, validate=None, loss=None, feed=None):
        config = parse_config((text + DATA).encode(), "x.toml")
        feed = feed or feed_of(config)
        target = shape.InputShape(
            kind=config.tokenizer.kind, sizes=feed.tokenizer.input_shape, classes=2
        )
        network = build_network(config.model, target, config.engine.base_seed).network
        members = feed.cohort
        counts = np.bincount(members.labels[members.splits["train"]], minlength=2).tolist()
        span = Span(
            epochs=config.engine.epochs,
            steps_per_epoch=-(-len(members.splits["train"]) // config.engine.batch_size),
        )
        values = flat.FlatParameters(network)
        (tmp_path / folder).mkdir(exist_ok=True)
        witness = witness or MemoryWitness()
        steps = step.StepParts(
            engine=config.engine,
            options=config.optimizer,
            network=network,
            flat=values,
            feed=feed,
            loss=loss or parts.build_part(config.optimizer.loss, counts),
            optimizer=parts.build_part(config.optimizer, values.length),
            arithmetic=arithmetics.build_arithmetic(config.engine, group.Alone()),
        )
        made = loop.TrainingParts(
            steps=steps,
            experiment_digest="sha256:x:0",
            selection=config.validator,
            schedule=parts.build_part(config.schedule, span),
            group=group.Alone(),
            store=store.CheckpointStore(directory=tmp_path / folder, keep=config.engine.keep),
            witness=witness,
            validate=validate or (lambda network: minus_loss_of(network, feed)),
        )
        return Training(config, made, loop.Trainer(made), witness)

    return make


@pytest.fixture
def make_witness():
    """The class of a witness that can stop or die."""
    return MemoryWitness


@pytest.fixture
def make_answer():
    """The class of a report that knows one number."""
    return Answer
