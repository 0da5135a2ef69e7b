# SPDX-License-Identifier: Apache-2.0
"""How fast contractions are on this machine; observed, never part of a result."""

import dataclasses
from collections.abc import Callable
from typing import Final

import torch

from tiny_agent_trainer import clock
from tiny_agent_trainer.exact.contractions import geometry
from tiny_agent_trainer.exact.contractions.engine import AbstractEngine

_EDGE: Final = 512
"""Rows, columns and contracted length of the product."""

_SAMPLES, _CHANNELS, _PIXELS, _KERNEL = 16, 64, 28, 3
"""Of the convolution: a layer of the first stage of ResNet-18."""

_ENOUGH_S: Final = 0.06
"""Repeated for so long, the fastest of the repetitions is not the one that was disturbed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Billions of multiplications and additions per second, each counted.

    Attributes:
        product: Of a matrix product of 512 x 512 x 512.
        convolution: Of a 3 x 3 convolution of 16 samples with 64 channels of 28 x 28 pixels.
    """

    product: float
    convolution: float


def measure_engine(engine: AbstractEngine) -> Rates:
    """The rates of an engine, conversions to integers and back included."""
    left, right = _operands(1, _EDGE, _EDGE)
    x, weight = _images()
    shape = geometry.of_convolution(x, weight, [1], [1], [1], 1)
    inside = geometry.channels_innermost(x)
    return _rates(
        lambda: engine.multiply(left, right), lambda: engine.convolve(inside, weight, shape)
    )


def measure_float32() -> Rates:
    """The rates of PyTorch's own float32."""
    left, right = _operands(_EDGE, _EDGE)
    x, weight = (operand.contiguous(memory_format=torch.channels_last) for operand in _images())
    return _rates(
        lambda: left @ right, lambda: torch.nn.functional.conv2d(x, weight, padding=_KERNEL // 2)
    )


def _rates(multiply: Callable[[], object], convolve: Callable[[], object]) -> Rates:
    places = _SAMPLES * _PIXELS**2
    return Rates(
        product=2e-9 * _EDGE**3 / _fastest_s(multiply),
        convolution=2e-9 * places * (_CHANNELS * _KERNEL) ** 2 / _fastest_s(convolve),
    )


def _fastest_s(compute: Callable[[], object]) -> float:
    compute()  # compiles, and finds its threads
    now = clock.SystemClock().elapsed_s
    began = moment = now()
    fastest_s = float("inf")
    while moment - began < _ENOUGH_S:
        compute()
        before, moment = moment, now()
        fastest_s = min(fastest_s, moment - before)
    return fastest_s


def _operands(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.arange(1, 1 + torch.Size(shape).numel()) % 251 - 125
    return numbers.float().reshape(shape), numbers.flip(0).float().reshape(shape)


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    x = _operands(_SAMPLES, _PIXELS, _PIXELS, _CHANNELS)[0].movedim(-1, 1)
    return x, _operands(_CHANNELS, _CHANNELS, _KERNEL, _KERNEL)[1]
