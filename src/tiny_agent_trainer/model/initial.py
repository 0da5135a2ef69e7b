# SPDX-License-Identifier: Apache-2.0
"""Initial weights: recipes carried out with one stream per parameter path."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import distributions
from tiny_agent_trainer.model import drawing

Values = npt.NDArray[np.float32]


def initialise(network: nn.Module, recorder: drawing.DrawRecorder, base_seed: int) -> None:
    """Fill every drawn parameter and buffer of a network.

    Args:
        network: Built inside `drawing.recording()`.
        recorder: What was recorded.
        base_seed: The seed of the experiment.

    Guarantees:
        A parameter's values are a function of `base_seed`, its path, its shape and its recipe;
        not of the order in which modules were built. A parameter with several paths takes the
        first in byte order.
    """
    done: set[tuple[object, ...]] = set()
    for path, tensor in sorted(_named_tensors(network), key=lambda item: item[0].encode()):
        recipe = recorder.recipe_of(tensor)
        storage, place = tensor.untyped_storage()._cdata, tensor.storage_offset()
        values_of = (storage, place, tensor.shape, tensor.stride())
        if recipe is None or values_of in done:
            continue
        done.add(values_of)
        stream = randomness.stream(base_seed, "init", path)
        values = carry_out(recipe, stream, tensor.numel())
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(values).reshape(tensor.shape))


def carry_out(recipe: drawing.Recipe, stream: randomness.Stream, count: int) -> Values:
    """The values of a recipe in float32, shape (count,)."""
    values = np.zeros(count, np.float32)
    for step in recipe:
        if step.name in _DRAWS:
            values = _DRAWS[step.name](stream, count, *step.numbers).astype(np.float32)
        elif step.name == "fill":
            _fill(values, step)
        else:
            values = _CHANGES[step.name](values, *step.numbers)
    return values


def _named_tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _bernoulli(stream: randomness.Stream, count: int, probability: float) -> Values:
    return (stream.uniform(count) < np.float32(probability)).astype(np.float32)


def _truncated(
    stream: randomness.Stream, count: int, mean: float, std: float, low: float, high: float
) -> npt.NDArray[np.float64]:
    rounds = distributions.RoundStreams(stream)
    return distributions.truncated_normal(rounds, count, mean, std, low, high)


_DRAWS: dict[str, Callable[..., npt.NDArray[np.floating]]] = {
    "uniform": distributions.uniform,
    "normal": distributions.normal,
    "truncated_normal": _truncated,
    "bernoulli": _bernoulli,
}


def _erfinv(values: Values) -> Values:
    return distributions.erfinv(values.astype(np.float64)).astype(np.float32)


def _clamp(values: Values, low: float = math.nan, high: float = math.nan) -> Values:
    least = -np.inf if math.isnan(low) else low
    most = np.inf if math.isnan(high) else high
    return np.clip(values, np.float32(least), np.float32(most))


_CHANGES: dict[str, Callable[..., Values]] = {
    "mul": lambda values, factor: values * np.float32(factor),
    "div": lambda values, divisor: values / np.float32(divisor),
    "add": lambda values, addend: values + np.float32(addend),
    "sub": lambda values, subtrahend: values - np.float32(subtrahend),
    "neg": lambda values: -values,
    "erfinv": _erfinv,
    "clamp": _clamp,
}


def _fill(values: Values, step: drawing.Step) -> None:
    if step.part is None:
        values[:] = step.numbers[0]
        return
    offset, shape, strides = step.part
    part = np.lib.stride_tricks.as_strided(
        values[offset:], shape, [4 * stride for stride in strides]
    )
    part[...] = step.numbers[0]
