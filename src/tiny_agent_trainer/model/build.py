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
    options: NetworkOptions, target: shape.InputShape, base_seed: int
) -> BuiltNetwork:
    """Build the network that the configuration names.

    Args:
        options: The `[model]` section.
        target: Shape of one sample and number of classes.
        base_seed: Where initial weights come from.

    Raises:
        ModelError: It cannot be built for this input, draws numbers that cannot be replayed, or
            its weights file does not fit.

    Guarantees:
        Equal arguments give equal bits, whatever was drawn from torch's generator before.
    """
    module, _, function = options.builder.partition(":")
    builder = cast("Builder", getattr(importlib.import_module(module), function))
    with drawing.recording() as recorder:
        network = builder(options, target)
    initial.initialise(network, recorder, base_seed)
    matches = weights.load_weights(network, options.weights) if options.weights else []
    _require_fit(network, target)
    return BuiltNetwork(network=network.to(torch.float32), matches=tuple(matches))


def _require_fit(network: nn.Module, target: shape.InputShape) -> None:
    """Show the network two blank samples and look at the form of its answer."""
    expected = (2, target.classes)
    try:
        with torch.no_grad():
            answer = network.eval()(torch.zeros(2, *target.sizes))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _misfit(target, f"{type(error).__name__}: {error}") from error
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
        remedy="change the network's arguments, or the size of the input under [tokenizer]",
    )
