# SPDX-License-Identifier: Apache-2.0
"""Drops at milestones."""

from fractions import Fraction
from typing import final

from tiny_agent_trainer.config.schedules import StepOptions
from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.training.schedules import schedule


@final
class Step(schedule.AbstractSchedule):
    """Factor gamma^k, k being the number of milestones that the epoch has reached."""

    def __init__(self, options: StepOptions, span: schedule.Span) -> None:
        super().__init__(options, span)
        self._gamma = options.gamma
        # Of the decimal that the TOML says: the float 0.55 * 100 epochs is more than 55.
        self._milestones = [Fraction(repr(share)) * span.epochs for share in options.milestones]

    def factor_after_warmup(self, step: int) -> float:
        """The factor of the epoch that the step belongs to."""
        epoch = step // self.span.steps_per_epoch
        reached = sum(epoch >= milestone for milestone in self._milestones)
        return elementary.power(self._gamma, float(reached))
