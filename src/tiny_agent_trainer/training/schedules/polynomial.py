# SPDX-License-Identifier: Apache-2.0
"""A power of the time that is left."""

from typing import final

from tiny_agent_trainer.config.schedules import PolynomialOptions
from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.training.schedules import schedule


@final
class Polynomial(schedule.AbstractSchedule):
    """From 1 to `final_fraction` along remaining^power."""

    def __init__(self, options: PolynomialOptions, span: schedule.Span) -> None:
        super().__init__(options, span)
        self._power, self._final = options.power, options.final_fraction

    def factor_after_warmup(self, step: int) -> float:
        """The factor at a step."""
        left = elementary.power(self.remaining(step), self._power)
        return self._final + (1.0 - self._final) * left
