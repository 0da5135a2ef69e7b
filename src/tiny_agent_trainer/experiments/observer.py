# SPDX-License-Identifier: Apache-2.0
"""Who is told how an experiment is going, while it is going; nothing depends on it."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from tiny_agent_trainer.reports.validation_report import ValidationReport


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepNews:
    """A step was made: step of steps, epoch of epochs, its loss and the images in it.

    `underflow` is what `witness.StepEvent` says.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    num_images: int
    underflow: Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EpochNews:
    """An epoch is over."""

    epoch: int
    epochs: int
    train_loss: float
    validation: ValidationReport | None
    metric: str
    best_epoch: int
    best_value: float | None


class Observer(Protocol):
    """Told what happens; the command line draws it."""

    def doing(self, what: str, done: int, total: int | None) -> None:
        """Something long is under way."""

    def said(self, text: str) -> None:
        """Something worth a line."""

    def stepped(self, news: StepNews) -> None:
        """A step was made."""

    def ended_epoch(self, news: EpochNews) -> None:
        """An epoch is over."""

    def wants_stop(self) -> bool:
        """Whether to finish the step, write a checkpoint and stop."""


class SilentObserver:
    """Tells nobody and never stops."""

    def doing(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def said(self, text: str) -> None:
        """Nothing."""

    def stepped(self, news: StepNews) -> None:
        """Nothing."""

    def ended_epoch(self, news: EpochNews) -> None:
        """Nothing."""

    def wants_stop(self) -> bool:
        """Never."""
        return False
