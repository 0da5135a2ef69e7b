# SPDX-License-Identifier: Apache-2.0
"""Multilayer perceptron."""

import math

from torch import nn

from tiny_agent_trainer.config.models import MlpOptions
from tiny_agent_trainer.model import layers, shape


def build_mlp(options: MlpOptions, target: shape.InputShape) -> nn.Module:
    """Flatten, then linear layers with an activation between them; no hidden layer is linear."""
    parts: list[nn.Module] = [nn.Flatten()]
    width = math.prod(target.sizes)
    for hidden in options.hidden:
        parts += [nn.Linear(width, hidden), layers.build_activation(options.activation)]
        if options.dropout:
            parts.append(nn.Dropout(options.dropout))
        width = hidden
    return nn.Sequential(*parts, nn.Linear(width, target.classes))
