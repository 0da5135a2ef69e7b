# SPDX-License-Identifier: Apache-2.0
"""What a schedule is: a factor of the learning rate at every step, after a linear warm-up."""

import abc
import dataclasses

from tiny_agent_trainer.config.schedules import ScheduleOptions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The length of a training."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """All steps."""
        return self.epochs * self.steps_per_epoch


class AbstractSchedule(abc.ABC):
    """A factor in [0, 1] for every step.

    Guarantees:
        A pure function of the configuration and the step, computed with `exact.elementary`.
    """

    def __init__(self, options: ScheduleOptions, span: Span) -> None:
        self._warmup_steps = options.warmup_steps
        self.span = span

    def factor(self, step: int) -> float:
        """The factor of step `step`, from 0."""
        if step < self._warmup_steps:
            return (step + 1) / (self._warmup_steps + 1)
        return self.factor_after_warmup(step)

    def remaining(self, step: int) -> float:
        """Share of the steps after the warm-up that is left at `step`: 1 at first, 0 at last."""
        length = max(self.span.steps - 1 - self._warmup_steps, 1)
        return max(length - (step - self._warmup_steps), 0) / length

    @abc.abstractmethod
    def factor_after_warmup(self, step: int) -> float:
        """The factor of a step behind the warm-up."""
