# SPDX-License-Identifier: Apache-2.0
"""Drops at milestones."""

from typing import final

from tiny_agent_trainer.config.schedules import StepOptions
from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.training.schedules import schedule


@final
class Step(schedule.AbstractSchedule):
    """Factor gamma^k, k being the number of milestones that the epoch has reached."""

    def __init__(self, options: StepOptions, span: schedule.Span) -> None:
        super().__init__(options, span)
        self._options = options

    def factor_after_warmup(self, step: int) -> float:
        """The factor of the epoch that the step belongs to."""
        epoch = step // self.span.steps_per_epoch
        reached = sum(epoch >= share * self.span.epochs for share in self._options.milestones)
        return elementary.power(self._options.gamma, float(reached))
