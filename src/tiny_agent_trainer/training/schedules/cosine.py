# SPDX-License-Identifier: Apache-2.0
"""Half a cosine."""

from typing import final

from tiny_agent_trainer.config.schedules import CosineOptions
from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.training.schedules import schedule

_PI = float.fromhex("0x1.921fb54442d18p+1")


@final
class Cosine(schedule.AbstractSchedule):
    """From 1 to `final_fraction` along (1 + cos(pi t)) / 2.

    Source:
        Loshchilov and Hutter, "SGDR" (2017), equation (5), without restarts.
    """

    def __init__(self, options: CosineOptions, span: schedule.Span) -> None:
        super().__init__(options, span)
        self._final = options.final_fraction

    def factor_after_warmup(self, step: int) -> float:
        """The factor at a step."""
        half = 0.5 * (1.0 + elementary.cos(_PI * (1.0 - self.remaining(step))))
        return self._final + (1.0 - self._final) * half
