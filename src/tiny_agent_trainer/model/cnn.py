# SPDX-License-Identifier: Apache-2.0
"""Small convolutional network, 2-D or 3-D."""

from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.models import CnnOptions
from tiny_agent_trainer.model import layers, shape


def build_cnn(options: CnnOptions, target: shape.InputShape) -> nn.Module:
    """Blocks of (pool,) 3x3 convolution, batch norm, activation; then average and classify.

    Raises:
        ModelError: More halvings than the image has pixels for.
    """
    target.require_kind("image", "cnn")
    _require_room(options, target)
    parts: list[nn.Module] = []
    channels, width = target.channels, options.width
    for layer in range(options.layers):
        if layer:
            parts.append(layers.MAX_POOL[target.dims](2))
            width *= 2
        parts += [
            layers.CONVOLUTION[target.dims](channels, width, 3, padding=1, bias=False),
            layers.BATCH_NORM[target.dims](width),
            layers.build_activation(options.activation),
        ]
        channels = width
    parts += [layers.AVERAGE_POOL[target.dims](1), nn.Flatten()]
    if options.dropout:
        parts.append(nn.Dropout(options.dropout))
    return nn.Sequential(*parts, nn.Linear(channels, target.classes))


def _require_room(options: CnnOptions, target: shape.InputShape) -> None:
    smallest = min(target.sizes[1:])
    if smallest >> (options.layers - 1) < 1:
        raise errors.ModelError(
            where="[model] layers",
            expected=f"at most {smallest.bit_length()} for images of {smallest} pixels",
            found=str(options.layers),
            remedy="use fewer layers or larger images",
        )
