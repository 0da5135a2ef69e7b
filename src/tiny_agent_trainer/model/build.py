# SPDX-License-Identifier: Apache-2.0
"""From the `[model]` section to a network with its initial weights."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.models import NetworkOptions
from tiny_agent_trainer.model import drawing, initial, shape, weights

_FAULTS_OF_FORWARD = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What networks raise when the input does not fit."""

Builder = Callable[[NetworkOptions, shape.InputShape], nn.Module]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuiltNetwork:
    """A network ready to train, and what became of `[model.weights]`."""

    network: nn.Module
    matches: tuple[weights.Match, ...]

    @property
    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)


def build_network(
    options: NetworkOptions, target: shape.InputShape, base_seed: int, fewest: int = 2
) -> BuiltNetwork:
    """Build the network that the configuration names.

    Args:
        options: The `[model]` section.
        target: Shape of one sample and number of classes.
        base_seed: Where initial weights come from.
        fewest: The fewest samples that it will see at once in training.

    Raises:
        ModelError: It cannot be built for this input, draws numbers that cannot be replayed, or
            its weights file does not fit.

    Guarantees:
        Equal arguments give equal bits, whatever was drawn from torch's generator before.
    """
    module, _, function = options.builder.partition(":")
    builder = cast("Builder", getattr(importlib.import_module(module), function))
    try:
        with drawing.recording() as recorder:
            network = builder(options, target)
    except (RuntimeError, MemoryError) as error:
        raise _misfit(target, f"{type(error).__name__} while building: {error}") from error
    initial.initialise(network, recorder, base_seed)
    matches = weights.load_weights(network, options.weights) if options.weights else []
    network = network.to(torch.float32)
    _require_fit(network, target, fewest)
    return BuiltNetwork(network=network, matches=tuple(matches))


def _require_fit(network: nn.Module, target: shape.InputShape, fewest: int) -> None:
    """Show the network blank samples, in evaluation and in training, and look at its answer."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for is_training, count in ((False, 2), (True, fewest)):
        try:
            with torch.no_grad():
                answer = network.train(is_training)(torch.zeros(count, *target.sizes))
        except _FAULTS_OF_FORWARD as error:
            when = f"in training on {count} samples" if is_training else "in evaluation"
            raise _misfit(target, f"{type(error).__name__} {when}: {error}") from error
        _require_answer(answer, (count, target.classes), target)
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])


def _require_answer(answer: object, expected: tuple[int, int], target: shape.InputShape) -> None:
    if not isinstance(answer, torch.Tensor):
        raise _misfit(target, f"a {type(answer).__name__} instead of one tensor")
    if tuple(answer.shape) != expected:
        raise _misfit(target, f"an answer of shape {tuple(answer.shape)}, not {expected}")


def _misfit(target: shape.InputShape, found: str) -> errors.ModelError:
    sizes = " x ".join(map(str, target.sizes))
    return errors.ModelError(
        where="[model]",
        expected=f"a network from input {sizes} to {target.classes} numbers per sample",
        found=found,
        remedy="change the network's arguments, the size of the input under [tokenizer], "
        "or batch_size (batch norm needs more than one value per channel)",
    )
