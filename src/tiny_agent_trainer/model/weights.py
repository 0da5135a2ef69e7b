# SPDX-License-Identifier: Apache-2.0
"""Start from a local safetensors file: checked by digest, matched by name and shape."""

import dataclasses
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.config.models import WeightsOptions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What became of one tensor: of the file, of the network, or of both.

    Attributes:
        name: Its name.
        verdict: `loaded`, `other shape`, `only in the file` or `only in the network`.
        shapes: Shape in the file and in the network; None where it is missing.
    """

    name: str
    verdict: str
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]


def load_weights(network: nn.Module, options: WeightsOptions) -> list[Match]:
    """Replace initial weights by those of a file.

    Returns:
        One match per name, sorted.

    Raises:
        ModelError: No such file, another digest, not safetensors, or (with `require_all`) a
            tensor of the network that the file does not have in its shape.
    """
    tensors = _read(options)
    state = network.state_dict()
    matches = [_match(name, tensors, state) for name in sorted({*tensors, *state})]
    lacking = [match for match in matches if match.name in state and match.verdict != "loaded"]
    if options.require_all and lacking:
        raise _refusal(
            options.path,
            "every tensor of the network in its shape",
            "\n  " + describe(lacking).replace("\n", "\n  ") + "\n",
            "use a file of the same network, or write `require_all = false`",
        )
    for match in matches:
        if match.verdict == "loaded":
            with torch.no_grad():
                state[match.name].copy_(tensors[match.name])
    return matches


def describe(matches: list[Match]) -> str:
    """The matches as an aligned table, one line per tensor."""
    width = max((len(match.name) for match in matches), default=0)
    return "\n".join(
        f"{match.name:<{width}}  {match.verdict:<19}  "
        f"file {_show(match.shapes[0])}  network {_show(match.shapes[1])}"
        for match in matches
    )


def _show(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "scalar"


def _match(name: str, tensors: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> Match:
    ours, theirs = state.get(name), tensors.get(name)
    shapes = (
        tuple(theirs.shape) if theirs is not None else None,
        tuple(ours.shape) if ours is not None else None,
    )
    verdict = "loaded" if shapes[0] == shapes[1] else "other shape"
    if ours is None:
        verdict = "only in the file"
    elif theirs is None:
        verdict = "only in the network"
    return Match(name=name, verdict=verdict, shapes=shapes)


def _read(options: WeightsOptions) -> dict[str, torch.Tensor]:
    path = Path(options.path)
    if not path.is_file():
        raise _refusal(options.path, "a safetensors file", "no such file", "correct the path")
    data = path.read_bytes()
    found = digests.sha256_hex(data)
    if found != options.sha256:
        raise _refusal(
            options.path,
            f"SHA-256 {options.sha256}",
            f"SHA-256 {found}",
            "use the file that was meant, or correct the digest",
        )
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _refusal(
            options.path, "safetensors", str(error), "convert the file to safetensors"
        ) from error


def _refusal(path: str, expected: str, found: str, remedy: str) -> errors.ModelError:
    return errors.ModelError(
        where=f"[model.weights] {path}", expected=expected, found=found, remedy=remedy
    )
