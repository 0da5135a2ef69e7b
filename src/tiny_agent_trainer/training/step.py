# SPDX-License-Identifier: Apache-2.0
"""One step: forward and backward of every shard, the step's gradient, the update of the weights.

All that the leader of a group does in a step, its followers do too; only the shards are divided.
"""

import dataclasses

import torch
from torch import nn

from tiny_agent_trainer.config.engine import EngineSection
from tiny_agent_trainer.config.optimizers import OptimizerOptions
from tiny_agent_trainer.tokenizer.batches import Batch, Feed
from tiny_agent_trainer.training import guard
from tiny_agent_trainer.training.arithmetic import AbstractArithmetic
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.group import StepOrder
from tiny_agent_trainer.training.losses.loss import AbstractLoss
from tiny_agent_trainer.training.optimizers.optimizer import AbstractOptimizer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepParts:
    """What a step is made of; every part can be replaced by another of its kind."""

    engine: EngineSection
    options: OptimizerOptions
    network: nn.Module
    flat: FlatParameters
    feed: Feed
    loss: AbstractLoss
    optimizer: AbstractOptimizer
    arithmetic: AbstractArithmetic


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The loss of a step, the weight that it was divided by, and the norm of its gradient."""

    loss: float
    weight: float
    gradient_norm: float


def state_of(parts: StepParts) -> list[torch.Tensor]:
    """What a step changes and the next one reads, the same on every worker."""
    state = parts.optimizer.state
    return [parts.flat.values, *(state[slot] for slot in sorted(state))]


def carry_out(parts: StepParts, order: StepOrder, batch: Batch) -> StepResult:
    """Change the weights by one step on the batch that its order names.

    Raises:
        NotFiniteError: The loss or the gradient is NaN or infinite; the weights are as before.
        WorkerError: Another worker is gone.
    """
    weight = parts.loss.total_weight(batch.labels)
    place = guard.Place(step=order.number, epoch=order.epoch, samples=order.chosen)
    with guard.placing(place):
        # Where no label of a step is known, every loss is 0, and 0 / 0 would be no number.
        loss = compute_gradients(parts, batch, weight or 1.0, order.number)
        norm = parts.arithmetic.norm(parts.flat.gradients)
    guard.require_finite(loss, norm, parts.flat, place)
    if 0 < parts.options.clip_norm < norm:
        parts.flat.gradients.mul_(parts.options.clip_norm / norm)
    parts.arithmetic.update(parts.optimizer, parts.flat, order.rate, order.number)
    return StepResult(loss=loss, weight=weight, gradient_norm=norm)


def compute_gradients(parts: StepParts, batch: Batch, weight: float, number: int) -> float:
    """Leave the gradient of a step in the flat vector and return the step's loss."""
    parts.network.train()
    parts.flat.gradients.zero_()
    inputs, labels = torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels)
    size = parts.engine.samples_per_shard
    gathering = parts.arithmetic.gather(parts.network, parts.flat, -(-len(labels) // size))
    for shard in gathering.own_shards:
        parts.arithmetic.seed_network(parts.engine.base_seed, number - 1, shard)
        place = slice(shard * size, (shard + 1) * size)
        with gathering.shard(shard) as took:
            took(_add_gradient(parts, inputs[place], labels[place], weight))
    return gathering.finish()


def _add_gradient(
    parts: StepParts, inputs: torch.Tensor, labels: torch.Tensor, weight: float
) -> float:
    """The loss of a shard; nothing of its graph is left when the next one begins."""
    losses = parts.loss.per_sample(parts.network(inputs), labels)
    loss = parts.arithmetic.total(losses) / weight
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())
