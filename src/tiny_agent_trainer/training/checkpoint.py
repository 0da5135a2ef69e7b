# SPDX-License-Identifier: Apache-2.0
"""`CheckpointState` as one safetensors file: everything that continues a training, bit for bit.

Rules: (1) tensors of the network keep their own names, so the file opens with any safetensors
reader; state vectors of the optimiser are named `optimizer::<vector>::<parameter>`; (2) all else is
canonical JSON under one metadata key, because several keys have no fixed order; (3) nothing is ever
unpickled.
"""

import dataclasses
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError

from tiny_agent_trainer import canonical, digests, durable, errors

METADATA_KEY: Final = "tiny-agent-trainer"
SCHEMA: Final = "checkpoint-v1"
OPTIMIZER_PREFIX: Final = "optimizer::"
_HEADER_LIMIT_BYTES = 100_000_000
"""The format's own limit; a file that claims a longer header is refused before it is read."""

Tensors = Mapping[str, torch.Tensor]


@dataclasses.dataclass(slots=True, kw_only=True)
class Position:
    """Where a training stands.

    Attributes:
        step: Steps made so far.
        epoch: Epochs that are over.
        step_in_epoch: Steps made in the epoch that is under way.
        epoch_losses: Loss and weight of each of those steps.
        data_order: Chained SHA-256 of all ordinals used so far, 64 hexadecimal digits.
        best_epoch: The epoch with the best value, from 1; 0 before the first validation.
        best_value: The best value of the chosen metric.
        best_weights: SHA-256 of that epoch's network, 64 hexadecimal digits.
        stale: Validations since then.
        is_finished: Whether nothing is left to train.
        stopped_early: Whether patience ended it.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    epoch_losses: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    data_order: str = "0" * 64
    best_epoch: int = 0
    best_value: float | None = None
    best_weights: str = ""
    stale: int = 0
    is_finished: bool = False
    stopped_early: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Position":
        """The position that `dataclasses.asdict` gave."""
        losses = [(float(loss), float(weight)) for loss, weight in value["epoch_losses"]]
        best = None if value["best_value"] is None else float(value["best_value"])
        return cls(**{**value, "epoch_losses": losses, "best_value": best})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointState:
    """Everything that continues a training.

    Attributes:
        experiment_digest: The experiment it belongs to.
        position: Where the training stands.
        network: Parameters and buffers by name.
        optimizer: State vectors by `vector::parameter`.
        mark: What the witness wants back on resume.
    """

    experiment_digest: str
    position: Position
    network: Tensors
    optimizer: Tensors
    mark: canonical.JsonValue

    def digests(self) -> dict[str, str]:
        """SHA-256 of the network, of the optimiser's state, and of the data order."""
        return {
            "weights": digest_tensors(self.network),
            "optimizer": digest_tensors(self.optimizer),
            "data_order": self.position.data_order,
        }


def digest_tensors(tensors: Tensors) -> str:
    """SHA-256 over names, types, shapes and values in the order of names, 64 hex digits."""
    entries = [
        (f"{name} {array.dtype.str} {array.shape}", digests.sha256_hex(array.reshape(-1).data))
        for name, array in _arrays(tensors).items()
    ]
    return digests.of_entries("tensors-v1", entries).rsplit(":", 1)[-1]


def write_checkpoint(path: Path, state: CheckpointState) -> None:
    """Write a state atomically.

    Raises:
        StorageError: The disk refuses; the old file stays.

    Guarantees:
        Equal states give equal bytes.
    """
    about: dict[str, Any] = {
        "schema": SCHEMA,
        "experiment_digest": state.experiment_digest,
        "position": dataclasses.asdict(state.position),
        "mark": state.mark,
    }
    tensors = dict(state.network)
    tensors |= {OPTIMIZER_PREFIX + name: tensor for name, tensor in state.optimizer.items()}
    metadata = {METADATA_KEY: canonical.encode(about).decode()}
    durable.write_atomic(path, safetensors.numpy.save(_arrays(tensors), metadata))


def read_checkpoint(path: Path) -> CheckpointState:
    """Read a state.

    Raises:
        CheckpointError: Not whole, not safetensors, or not written by this package.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from error
    about = _read_about(path, data)
    try:
        tensors = {k: torch.from_numpy(v.copy()) for k, v in safetensors.numpy.load(data).items()}
        position = Position.from_json(about["position"])
        return CheckpointState(
            experiment_digest=str(about["experiment_digest"]),
            position=position,
            network=_select(tensors, is_optimizer=False),
            optimizer=_select(tensors, is_optimizer=True),
            mark=about["mark"],
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _read_about(path: Path, data: bytes) -> Mapping[str, Any]:
    if len(data) < 8:
        raise _damaged(path, f"{len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_HEADER_LIMIT_BYTES, len(data) - 8):
        raise _damaged(path, f"a header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length])
        about = canonical.decode(header["__metadata__"][METADATA_KEY].encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = f"a safetensors header without our metadata ({type(error).__name__})"
        raise _damaged(path, found) from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise _damaged(path, "metadata of another schema")
    return about


def _select(tensors: Tensors, *, is_optimizer: bool) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(OPTIMIZER_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(OPTIMIZER_PREFIX) == is_optimizer
    }


def _arrays(tensors: Tensors) -> dict[str, np.ndarray[Any, Any]]:
    names: Iterable[str] = sorted(tensors, key=str.encode)
    return {name: tensors[name].detach().contiguous().numpy() for name in names}


def _damaged(path: Path, found: str) -> errors.CheckpointError:
    return errors.CheckpointError(
        where=str(path),
        expected=f"a whole safetensors file with {SCHEMA} metadata",
        found=found,
        remedy="use another checkpoint of the run, or restore the run from its archive",
    )
