# SPDX-License-Identifier: Apache-2.0
"""Residual networks with the 3x3 stem for small images, 2-D or 3-D.

Source:
    He et al., "Deep Residual Learning for Image Recognition" (2016), with the stem that MedMNIST's
    benchmark uses at 28 pixels: one 3x3 convolution of stride 1 and no pooling.
"""

from typing import final

import torch
from torch import nn

from tiny_agent_trainer.config.models import Resnet18Options, Resnet50Options, ResnetOptions
from tiny_agent_trainer.model import layers, shape


def build_resnet18(options: Resnet18Options, target: shape.InputShape) -> nn.Module:
    """ResNet-18: two basic blocks in each of four stages."""
    return _build(options, target, BasicBlock, (2, 2, 2, 2))


def build_resnet50(options: Resnet50Options, target: shape.InputShape) -> nn.Module:
    """ResNet-50: 3, 4, 6 and 3 bottleneck blocks."""
    return _build(options, target, BottleneckBlock, (3, 4, 6, 3))


class AbstractBlock(nn.Module):
    """A residual branch and a shortcut, added and rectified."""

    expansion: int
    branch: nn.Sequential
    shortcut: nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, channels, *spatial) to (n, width * expansion, *spatial / stride)."""
        return torch.relu(self.branch(x) + self.shortcut(x))


@final
class BasicBlock(AbstractBlock):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, dims: int, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_unit(dims, channels, width, 3, stride),
            nn.ReLU(),
            *_unit(dims, width, width, 3, 1),
        )
        self.shortcut = _shortcut(dims, channels, width, stride)


@final
class BottleneckBlock(AbstractBlock):
    """1x1, 3x3 and 1x1 convolutions; the last widens fourfold."""

    expansion = 4

    def __init__(self, dims: int, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_unit(dims, channels, width, 1, 1),
            nn.ReLU(),
            *_unit(dims, width, width, 3, stride),
            nn.ReLU(),
            *_unit(dims, width, width * self.expansion, 1, 1),
        )
        self.shortcut = _shortcut(dims, channels, width * self.expansion, stride)


def _unit(dims: int, channels: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    return [
        layers.CONVOLUTION[dims](
            channels, width, kernel, stride=stride, padding=kernel // 2, bias=False
        ),
        layers.BATCH_NORM[dims](width),
    ]


def _shortcut(dims: int, channels: int, width: int, stride: int) -> nn.Module:
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(*_unit(dims, channels, width, 1, stride))


def _build(
    options: ResnetOptions,
    target: shape.InputShape,
    block: type[BasicBlock | BottleneckBlock],
    counts: tuple[int, ...],
) -> nn.Module:
    target.require_kind("image", "resnet")
    dims = target.dims
    parts: list[nn.Module] = [*_unit(dims, target.channels, options.width, 3, 1), nn.ReLU()]
    channels = options.width
    for stage, count in enumerate(counts):
        width = options.width << stage
        for index in range(count):
            stride = 2 if stage and index == 0 else 1
            parts.append(block(dims, channels, width, stride))
            channels = width * block.expansion
    parts += [layers.AVERAGE_POOL[dims](1), nn.Flatten(), nn.Linear(channels, target.classes)]
    return nn.Sequential(*parts)
