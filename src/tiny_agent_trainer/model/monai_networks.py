# SPDX-License-Identifier: Apache-2.0
"""Any network of MONAI, by class name."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.models import MonaiOptions
from tiny_agent_trainer.model import shape

_FAULTS_OF_ARGUMENTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What constructors raise when arguments do not fit; MONAI uses all of them."""


def build_monai(options: MonaiOptions, target: shape.InputShape) -> nn.Module:
    """Build `monai.networks.nets.<Network>(**arguments)`.

    The strings "{channels}", "{classes}", "{dims}" and "{size}" among the arguments stand for the
    data's number of channels, classes and spatial dims, and its spatial shape.

    Raises:
        ModelError: No such network, or arguments that it refuses, in MONAI's own words.
    """
    target.require_kind("image", options.name)
    kind = _find(options.name.removeprefix("monai:"))
    known = {
        "{channels}": target.channels,
        "{classes}": target.classes,
        "{dims}": target.dims,
        "{size}": target.sizes[1:],
    }
    try:
        with _offline():
            return kind(**{key: _fill(value, known) for key, value in options.arguments.items()})
    except _FAULTS_OF_ARGUMENTS as error:
        raise errors.ModelError(
            where=f"[model] name = {options.name!r}",
            expected=f"arguments that {kind.__name__} accepts",
            found=f"{type(error).__name__}: {error}",
            remedy="correct [model.arguments] by MONAI's documentation of this network",
        ) from error


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Refuse constructors that fetch or unpickle weights behind the configuration's back."""
    replaced = [
        (place, name, getattr(place, name))
        for place, name in (
            (torch, "load"),
            (torch.hub, "load_state_dict_from_url"),
            (torch.hub, "download_url_to_file"),
        )
    ]
    for place, name, _ in replaced:
        setattr(place, name, _refuse_pretrained)
    try:
        yield
    finally:
        for place, name, original in replaced:
            setattr(place, name, original)


def _refuse_pretrained(*_arguments: object, **_options: object) -> NoReturn:
    raise errors.ModelError(
        where="[model.arguments]",
        expected="a network that starts from base_seed",
        found="one that fetches or unpickles pretrained weights",
        remedy="leave `pretrained` out; start from a safetensors file with [model.weights]",
    )


def _find(name: str) -> type[nn.Module]:
    from monai.networks import nets

    found = getattr(nets, name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    listed = sorted(
        key for key, value in vars(nets).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    )  # fmt: skip
    raise errors.ModelError(
        where="[model] name",
        expected=f"one of {', '.join(listed)}",
        found=name,
        remedy="choose a network of monai.networks.nets",
    )


def _fill(value: object, known: Mapping[str, object]) -> Any:  # noqa: ANN401 (MONAI's own types)
    if isinstance(value, str) and value in known:
        return known[value]
    if isinstance(value, list):
        return [_fill(item, known) for item in value]
    return value
