# SPDX-License-Identifier: Apache-2.0
"""`[optimizer]`: what is minimised and how. One options class per loss and per optimiser."""

from typing import Annotated, ClassVar, Literal

import pydantic

from tiny_agent_trainer.config import section


class CrossEntropyOptions(section.Part):
    """Cross-entropy over the classes; over each label for multi-label data."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.losses.cross_entropy:CrossEntropy"

    name: Literal["cross_entropy"] = "cross_entropy"
    """Softmax cross-entropy."""

    class_weights: (
        Literal["none", "balanced"]
        | Annotated[tuple[section.PositiveFloat, ...], pydantic.Field(strict=False)]
    ) = "none"
    """`none`, `balanced` (inverse frequency in the training split), or one number per class."""

    label_smoothing: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes."""


class BinaryCrossEntropyOptions(section.Part):
    """Binary cross-entropy of each label, for multi-label data."""

    builder: ClassVar[str] = (
        "tiny_agent_trainer.training.losses.binary_cross_entropy:BinaryCrossEntropy"
    )

    name: Literal["binary_cross_entropy"]
    """Sigmoid cross-entropy of each label."""

    class_weights: (
        Literal["none", "balanced"]
        | Annotated[tuple[section.PositiveFloat, ...], pydantic.Field(strict=False)]
    ) = "none"
    """Weight of a label's positive cases: `none`, `balanced`, or one number per label."""

    label_smoothing: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Share of the target that is moved towards 1/2."""


class MeanSquaredErrorOptions(section.Part):
    """Squared error of a number, for regression."""

    builder: ClassVar[str] = (
        "tiny_agent_trainer.training.losses.mean_squared_error:MeanSquaredError"
    )

    name: Literal["mean_squared_error"]
    """Squared error of the target, standardised by the training split."""


class OrdinalOptions(section.Part):
    """Binary cross-entropy of each step between grades, for ordinal data."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.losses.ordinal:Ordinal"

    name: Literal["ordinal"]
    """Sigmoid cross-entropy of "above this grade", grade by grade."""


LossOptions = Annotated[
    Annotated[CrossEntropyOptions, pydantic.Tag("cross_entropy")]
    | Annotated[BinaryCrossEntropyOptions, pydantic.Tag("binary_cross_entropy")]
    | Annotated[MeanSquaredErrorOptions, pydantic.Tag("mean_squared_error")]
    | Annotated[OrdinalOptions, pydantic.Tag("ordinal")],
    section.chosen_by("name", default="cross_entropy"),
]
"""The listing of losses: a new one adds its class here."""


class OptimizerOptions(section.Part):
    """What every optimiser has in common."""

    lr: section.PositiveFloat = 1e-3
    """Learning rate before the schedule."""

    weight_decay: section.NaturalFloat = 0.0
    """Strength of the decay: added to the gradient, or taken from the weights (`adamw`)."""

    clip_norm: section.NaturalFloat = 0.0
    """Scale gradients down to this norm over all parameters (0: never)."""

    loss: LossOptions = CrossEntropyOptions()
    """What is minimised."""


class SgdOptions(OptimizerOptions):
    """Stochastic gradient descent."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.optimizers.sgd:Sgd"

    name: Literal["sgd"]
    """Stochastic gradient descent."""

    momentum: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Share of the last update that is kept."""

    nesterov: bool = False
    """Look ahead along the momentum; needs `momentum`."""

    @pydantic.model_validator(mode="after")
    def _need_momentum(self) -> "SgdOptions":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs momentum above 0")
        return self


class AdamFamilyOptions(OptimizerOptions):
    """What Adam and AdamW have in common."""

    beta1: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.9
    """Decay of the mean of gradients."""

    beta2: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of squared gradients."""

    epsilon: section.PositiveFloat = 1e-8
    """Added to the denominator."""


class AdamOptions(AdamFamilyOptions):
    """Adam, with the decay added to the gradient."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.optimizers.adam:Adam"

    name: Literal["adam"] = "adam"
    """Adam."""


class AdamwOptions(AdamFamilyOptions):
    """Adam, with the decay taken from the weights."""

    builder: ClassVar[str] = "tiny_agent_trainer.training.optimizers.adamw:Adamw"

    name: Literal["adamw"]
    """AdamW."""


OptimizerSection = Annotated[
    Annotated[SgdOptions, pydantic.Tag("sgd")]
    | Annotated[AdamOptions, pydantic.Tag("adam")]
    | Annotated[AdamwOptions, pydantic.Tag("adamw")],
    section.chosen_by("name", default="adam"),
]
"""The listing of optimisers: a new one adds its class here."""
