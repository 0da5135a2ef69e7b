# SPDX-License-Identifier: Apache-2.0
"""Who watches a training: the protocol through which the loop speaks to the record wing."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import canonical
from tiny_agent_trainer.reports.validation_report import ValidationReport


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """A step was made.

    Attributes:
        step: Its number, from 1. epoch: From 1.
        loss: Mean loss of the step, weighted as the loss says.
        gradient_norm: Before clipping.
        learning_rate: As used.
        samples: Ordinals of the batch, in order.
        underflow: Of each kind of operand: values that their grids rounded to zero, and values; an
            observation of some steps in exact arithmetic.
    """

    step: int
    epoch: int
    loss: float
    gradient_norm: float
    learning_rate: float
    samples: npt.NDArray[np.int64]
    underflow: Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EpochEvent:
    """An epoch is over; `validation` is None when it was not this epoch's turn."""

    step: int
    epoch: int
    train_loss: float
    learning_rate: float
    validation: ValidationReport | None
    best_epoch: int
    best_value: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateEvent:
    """The state is about to be written; digests of its parts as 64 hexadecimal digits."""

    step: int
    epoch: int
    digests: Mapping[str, str]
    is_scheduled: bool


class Witness(Protocol):
    """Told what happens, in order; what it returns travels in checkpoints, unread."""

    def saw_step(self, event: StepEvent) -> None:
        """A step was made."""

    def saw_epoch(self, event: EpochEvent) -> None:
        """An epoch is over."""

    def saw_state(self, event: StateEvent) -> canonical.JsonValue:
        """A checkpoint is about to be written; the answer is kept in it."""

    def wants_stop(self) -> bool:
        """Whether the user asked to stop after this step."""
