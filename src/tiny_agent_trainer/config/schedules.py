# SPDX-License-Identifier: Apache-2.0
"""`[schedule]`: how the learning rate changes. One options class per schedule."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tiny_agent_trainer.config import section


class ScheduleOptions(section.Part):
    """What every schedule has in common."""

    warmup_steps: section.NaturalInt = 0
    """Steps over which the rate grows linearly from 1/(n + 1) of itself to all of it."""


class ConstantOptions(ScheduleOptions):
    """The same rate throughout."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.schedules.constant:Constant"

    name: Literal["constant"] = "constant"
    """No change."""


class StepOptions(ScheduleOptions):
    """Multiply the rate by `gamma` at each milestone."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.schedules.step:Step"

    name: Literal["step"]
    """Drops at milestones."""

    milestones: Annotated[
        tuple[Annotated[float, pydantic.Field(gt=0, lt=1)], ...], pydantic.Field(strict=False)
    ] = (0.5, 0.75)
    """Fractions of the epochs; the drop comes with the first epoch that starts at or after it."""

    gamma: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.1
    """Factor at each milestone."""


class CosineOptions(ScheduleOptions):
    """Follow half a cosine from the full rate down to `final_fraction` of it."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.schedules.cosine:Cosine"

    name: Literal["cosine"]
    """Half a cosine."""

    final_fraction: section.Fraction = 0.0
    """Share of the rate that is left at the last step."""


class PolynomialOptions(ScheduleOptions):
    """Follow (1 - t)^power from the full rate down to `final_fraction` of it."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.schedules.polynomial:Polynomial"

    name: Literal["polynomial"]
    """A power of the time that is left."""

    power: section.PositiveFloat = 0.9
    """The exponent; 1 is linear."""

    final_fraction: section.Fraction = 0.0
    """Share of the rate that is left at the last step."""


ScheduleSection = Annotated[
    Annotated[ConstantOptions, pydantic.Tag("constant")]
    | Annotated[StepOptions, pydantic.Tag("step")]
    | Annotated[CosineOptions, pydantic.Tag("cosine")]
    | Annotated[PolynomialOptions, pydantic.Tag("polynomial")],
    section.chosen_by("name", default="constant"),
]
"""The listing of schedules: a new one adds its class here."""
