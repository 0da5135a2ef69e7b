# SPDX-License-Identifier: Apache-2.0
"""The same rate throughout."""

from typing import final

from tiny_agent_trainer.training.schedules import schedule


@final
class Constant(schedule.AbstractSchedule):
    """Factor 1."""

    def factor_after_warmup(self, step: int) -> float:
        """1."""
        return 1.0
