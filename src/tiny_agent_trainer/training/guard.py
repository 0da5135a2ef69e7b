# SPDX-License-Identifier: Apache-2.0
"""The NaN guard: training stops at the first number that is not finite and says where it is."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.training.flat import FlatParameters

_SAMPLES_SHOWN = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A step, and the ordinals of its samples."""

    step: int
    epoch: int
    samples: npt.NDArray[np.int64]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.samples[:_SAMPLES_SHOWN].tolist()))
        more = " ..." if len(self.samples) > _SAMPLES_SHOWN else ""
        return f"step {self.step} (epoch {self.epoch}), samples {shown}{more}"


@contextlib.contextmanager
def placing(place: Place) -> Iterator[None]:
    """Add the step and its samples to what exact arithmetic refuses by tensor and module.

    Raises:
        NotFiniteError: The one that was raised inside, with its place.
    """
    try:
        yield
    except errors.NotFiniteError as error:
        raise _refusal(f"{error.where}, at {place}", error.found) from error


def require_finite(loss: float, norm: float, flat: FlatParameters, place: Place) -> None:
    """Refuse a loss or gradient that is not finite.

    Raises:
        NotFiniteError: Names the step, the tensor and the samples.
    """
    if not math.isfinite(loss):
        raise _refusal(f"the loss at {place}", str(loss))
    if not math.isfinite(norm):
        name, value = _first_bad(flat, flat.gradients)
        raise _refusal(f"the gradient of {name} at {place}", value)


def require_finite_weights(flat: FlatParameters, step: int, epoch: int) -> None:
    """Refuse weights that are not finite.

    Raises:
        NotFiniteError: Names the tensor, the step and the epoch.
    """
    if not bool(torch.isfinite(flat.values).all()):
        name, value = _first_bad(flat, flat.values)
        raise _refusal(f"the weight {name} after step {step} (epoch {epoch})", value)


def _first_bad(flat: FlatParameters, vector: torch.Tensor) -> tuple[str, str]:
    for name, part in flat.views(vector):
        bad = part.reshape(-1)[~torch.isfinite(part.reshape(-1))]
        if len(bad):
            return name, f"{float(bad[0])} in {len(bad)} of {part.numel()} values"
    return "all parameters together", "a norm beyond float32"


def _refusal(where: str, found: str) -> errors.NotFiniteError:
    return errors.NotFiniteError(
        where=where,
        expected="finite numbers",
        found=found,
        remedy="lower [optimizer] lr or set clip_norm; the last checkpoint is kept",
    )
