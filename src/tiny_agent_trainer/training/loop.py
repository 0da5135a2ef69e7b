# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, epochs, validation, early stopping, checkpoints.

A step's batch is cut into logical shards. A shard is the unit of semantics: its forward pass, its
batch-norm statistics and its gradient are computed for it alone; the step's loss is the sum over
all shards divided by the whole step's weight.
"""

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.validator import ValidatorSection
from tiny_agent_trainer.reports.validation_report import ValidationReport
from tiny_agent_trainer.training import checkpoint, guard, loading, step, witness
from tiny_agent_trainer.training.arithmetic import Underflow
from tiny_agent_trainer.training.group import AbstractGroup, StepOrder
from tiny_agent_trainer.training.schedules.schedule import AbstractSchedule
from tiny_agent_trainer.training.store import CheckpointStore

Outcome = Literal["completed", "stopped_early", "interrupted"]

COUNTED_EVERY: Final = 100
"""Steps from one whose underflow is counted, which takes up to .7 times longer, to the next."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingParts:
    """What a training is made of; every part can be replaced by another of its kind."""

    steps: step.StepParts
    experiment_digest: str
    selection: ValidatorSection
    schedule: AbstractSchedule
    store: CheckpointStore
    witness: witness.Witness
    validate: Callable[[nn.Module], ValidationReport]
    group: AbstractGroup


class Trainer:
    """Trains a network from the beginning, or from a checkpoint on.

    Args:
        parts: What the training is made of.

    Guarantees:
        The sequence of states is a function of the parts and the data; where it was interrupted
        and continued has no influence.
    """

    def __init__(self, parts: TrainingParts) -> None:
        self._parts = parts
        self._loader = loading.Loader(parts.steps.feed, parts.steps.engine)
        self.position = checkpoint.Position()

    def restore(self, state: checkpoint.CheckpointState) -> None:
        """Continue from a state of the same experiment.

        Raises:
            CheckpointError: Names or shapes of its tensors are not those of this training.
        """
        load_network(self._parts.steps.network, state.network)
        _copy_all(self._optimizer_tensors(), state.optimizer)
        self.position = state.position

    def run(self) -> Outcome:
        """Train until nothing is left to do or the witness wants to stop.

        Raises:
            NotFiniteError: A loss, gradient or weight is NaN or infinite.
            StorageError: A checkpoint could not be written.
        """
        steps = self._parts.steps
        with steps.arithmetic.context(), self._loader:
            self._parts.group.share(step.state_of(steps))
            while not self.position.is_finished:
                if not self._run_epoch():
                    return "interrupted"
            self._parts.group.announce(None)
        return "stopped_early" if self.position.stopped_early else "completed"

    def _run_epoch(self) -> bool:
        """Go on with the epoch that is under way; False when stopped in the middle."""
        parts, position = self._parts, self.position
        epoch = position.epoch + 1
        order = parts.steps.feed.training_order(epoch)
        size = parts.steps.engine.batch_size
        for start in range(position.step_in_epoch * size, len(order), size):
            self._step(epoch, order[start : start + size])
            if self._is_due("steps", position.step):
                self.write_checkpoint(is_scheduled=True)
            if parts.witness.wants_stop():
                self.write_checkpoint(is_scheduled=False)
                return False
        self._end_epoch(epoch)
        return True

    def _step(self, epoch: int, chosen: npt.NDArray[np.int64]) -> None:
        parts, position = self._parts, self.position
        rate = parts.steps.options.lr * parts.schedule.factor(position.step)
        order = StepOrder(epoch=epoch, number=position.step + 1, rate=rate, chosen=chosen)
        parts.group.announce(order)
        batch = self._loader.training_batch(epoch, chosen)
        with self._counting_underflow() as underflow:
            result = step.carry_out(parts.steps, order, batch)
        position.step += 1
        position.step_in_epoch += 1
        position.epoch_losses.append((result.loss, result.weight))
        position.data_order = _extend(position.data_order, chosen)
        parts.witness.saw_step(
            witness.StepEvent(
                step=position.step,
                epoch=epoch,
                loss=result.loss,
                gradient_norm=result.gradient_norm,
                learning_rate=rate,
                samples=chosen,
                underflow=underflow,
            )
        )

    def _counting_underflow(self) -> contextlib.AbstractContextManager[Underflow]:
        """On the first step and every hundredth after it."""
        if self.position.step % COUNTED_EVERY:
            return contextlib.nullcontext({})
        return self._parts.steps.arithmetic.counting_underflow()

    def _end_epoch(self, epoch: int) -> None:
        parts, position = self._parts, self.position
        guard.require_finite_weights(parts.steps.flat, position.step, epoch)
        train_loss = math.fsum(loss * weight for loss, weight in position.epoch_losses)
        train_loss /= math.fsum(weight for _, weight in position.epoch_losses)
        position.epoch, position.step_in_epoch, position.epoch_losses = epoch, 0, []
        is_last = epoch == parts.steps.engine.epochs
        report = None
        if is_last or epoch % parts.selection.every == 0:
            report = parts.validate(parts.steps.network)
            self._select(report, epoch)
        position.stopped_early = not is_last and 0 < parts.steps.engine.patience <= position.stale
        position.is_finished = is_last or position.stopped_early
        last_step = position.step - 1
        parts.witness.saw_epoch(
            witness.EpochEvent(
                step=position.step,
                epoch=epoch,
                train_loss=train_loss,
                learning_rate=parts.steps.options.lr * parts.schedule.factor(last_step),
                validation=report,
                best_epoch=position.best_epoch,
                best_value=position.best_value,
            )
        )
        if position.is_finished or self._is_due("epochs", epoch):
            self.write_checkpoint(is_scheduled=True)

    def _select(self, report: ValidationReport, epoch: int) -> None:
        parts, position = self._parts, self.position
        value = report.metric(parts.selection.metric)
        best = position.best_value
        sign = 1 if parts.selection.higher_is_better else -1
        if best is not None and sign * value <= sign * best:
            position.stale += 1
            return
        position.best_value, position.best_epoch, position.stale = value, epoch, 0
        state = self.best_state()
        position.best_weights = checkpoint.digest_tensors(state.network)
        parts.store.remember_best(state)

    def best_state(self) -> checkpoint.CheckpointState:
        """The network as it is now, as copies, without the optimiser."""
        network = {k: v.detach().clone() for k, v in self._parts.steps.network.state_dict().items()}
        return self._state(network, with_optimizer=False)

    def write_checkpoint(self, *, is_scheduled: bool) -> None:
        """Write the state; `is_scheduled` unless the user asked for it.

        Raises:
            NotFiniteError: A weight is not finite; nobody could go on from such a state.
        """
        parts, position = self._parts, self.position
        epoch = position.epoch + (position.step_in_epoch > 0)
        guard.require_finite_weights(parts.steps.flat, position.step, epoch)
        state = self._state(dict(parts.steps.network.state_dict()), with_optimizer=True)
        mark = parts.witness.saw_state(
            witness.StateEvent(
                step=position.step,
                epoch=epoch,
                digests=state.digests() if is_scheduled else {},
                is_scheduled=is_scheduled,
            )
        )
        parts.store.write(dataclasses.replace(state, mark=mark), is_scheduled=is_scheduled)

    def _state(
        self, network: checkpoint.Tensors, *, with_optimizer: bool
    ) -> checkpoint.CheckpointState:
        losses = list(self.position.epoch_losses)  # the loop goes on adding to its own list
        return checkpoint.CheckpointState(
            experiment_digest=self._parts.experiment_digest,
            position=dataclasses.replace(self.position, epoch_losses=losses),
            network=network,
            optimizer=self._optimizer_tensors() if with_optimizer else {},
            mark=None,
        )

    def _optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Views of the optimiser's state by `vector::parameter`."""
        return {
            f"{slot}::{name}": part
            for slot, vector in self._parts.steps.optimizer.state.items()
            for name, part in self._parts.steps.flat.views(vector)
        }

    def _is_due(self, unit: str, count: int) -> bool:
        cadence = self._parts.steps.engine.checkpoint_cadence
        return cadence.unit == unit and count % cadence.count == 0


def load_network(network: nn.Module, tensors: checkpoint.Tensors) -> None:
    """Copy a checkpoint's tensors into a network of the same names and shapes, in place.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    _copy_all(network.state_dict(), tensors)


def _copy_all(targets: checkpoint.Tensors, tensors: checkpoint.Tensors) -> None:
    differing = sorted(
        name
        for name in {*targets, *tensors}
        if name not in targets or name not in tensors or targets[name].shape != tensors[name].shape
    )
    if differing:
        raise errors.CheckpointError(
            where="the checkpoint",
            expected="the tensors of this training, each in its shape",
            found=f"{len(differing)} that differ: {', '.join(differing[:10])}",
            remedy="use a checkpoint of the same experiment",
        )
    with torch.no_grad():
        for name, tensor in targets.items():
            tensor.copy_(tensors[name])


def _extend(chain: str, chosen: npt.NDArray[np.int64]) -> str:
    return hashlib.sha256(bytes.fromhex(chain) + chosen.astype("<i8").tobytes()).hexdigest()
