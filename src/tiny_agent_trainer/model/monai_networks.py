# SPDX-License-Identifier: Apache-2.0
"""Any network of MONAI, by class name."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.models import MonaiOptions
from tiny_agent_trainer.model import shape


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
        return kind(**{key: _fill(value, known) for key, value in options.arguments.items()})
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise errors.ModelError(
            where=f"[model] name = {options.name!r}",
            expected=f"arguments that {kind.__name__} accepts",
            found=f"{type(error).__name__}: {error}",
            remedy="correct [model.arguments] by MONAI's documentation of this network",
        ) from error


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
