# SPDX-License-Identifier: Apache-2.0
"""`[validator]`: which metric chooses the best epoch, and how validation is carried out."""

from typing import Literal

from tiny_agent_trainer.config import section

Metric = Literal[
    "auroc",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "average_precision",
    "loss",
    "mae",
    "rmse",
    "r2",
    "pearson_r",
    "quadratic_weighted_kappa",
    "rank_mae",
]
"""The listing of metrics that can choose the best epoch."""

_LOWER_IS_BETTER = frozenset({"loss", "mae", "rmse", "rank_mae"})


class ValidatorSection(section.Section):
    """How validation is carried out."""

    metric: Metric = "auroc"
    """What chooses the best epoch on the validation split; the first best value wins."""

    batch_size: section.PositiveInt = 256
    """Samples that are evaluated together."""

    every: section.PositiveInt = 1
    """Validate after every so many epochs, and after the last one."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of `metric` is a better one."""
        return self.metric not in _LOWER_IS_BETTER
