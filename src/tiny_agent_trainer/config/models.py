# SPDX-License-Identifier: Apache-2.0
"""`[model]`: which network. One options class per network."""

from typing import Annotated, Any, ClassVar, Literal

import pydantic

from tiny_agent_trainer import canonical
from tiny_agent_trainer.config import section

Activation = Literal["relu", "gelu", "silu", "leaky_relu", "tanh"]


class WeightsOptions(section.Section):
    """A local safetensors file that replaces initial weights of the same name and shape."""

    path: str = pydantic.Field(min_length=1, json_schema_extra=section.NOT_SEMANTIC)
    """The file, relative to the working directory."""

    sha256: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
    """Its digest; another content is refused."""

    require_all: bool = True
    """Whether every parameter of the network must be in the file with its shape."""


class NetworkOptions(section.Part):
    """What every network has in common."""

    weights: WeightsOptions | None = None
    """Weights to start from."""


class MlpOptions(NetworkOptions):
    """A multilayer perceptron on the flattened input."""

    builder: ClassVar[str] = "tiny_agent_trainer.model.mlp:build_mlp"

    name: Literal["mlp"]
    """Multilayer perceptron."""

    hidden: Annotated[tuple[section.PositiveInt, ...], pydantic.Field(strict=False)] = (128,)
    """Widths of the hidden layers; () makes it a linear classifier."""

    activation: Activation = "relu"
    """Non-linearity between layers."""

    dropout: section.Fraction = 0.0
    """Probability that a hidden unit is left out while training."""


class CnnOptions(NetworkOptions):
    """A small convolutional network: layers of conv, batch norm, activation and pooling."""

    builder: ClassVar[str] = "tiny_agent_trainer.model.cnn:build_cnn"

    name: Literal["cnn"] = "cnn"
    """Small convolutional network, 2-D or 3-D."""

    layers: Annotated[int, pydantic.Field(ge=1, le=12)] = 3
    """Number of blocks; every block after the first halves the image and doubles the width."""

    width: section.PositiveInt = 16
    """Channels of the first block."""

    activation: Activation = "relu"
    """Non-linearity of every block."""

    dropout: section.Fraction = 0.0
    """Probability that a feature is left out before the classifier while training."""


class ResnetOptions(NetworkOptions):
    """What the residual networks have in common."""

    width: section.PositiveInt = 64
    """Channels of the first stage."""


class Resnet18Options(ResnetOptions):
    """ResNet-18 with the 3x3 stem for small images."""

    builder: ClassVar[str] = "tiny_agent_trainer.model.resnet:build_resnet18"

    name: Literal["resnet18"]
    """ResNet-18."""


class Resnet50Options(ResnetOptions):
    """ResNet-50 with the 3x3 stem for small images."""

    builder: ClassVar[str] = "tiny_agent_trainer.model.resnet:build_resnet50"

    name: Literal["resnet50"]
    """ResNet-50."""


class VitOptions(NetworkOptions):
    """A vision transformer on patch tokens (`[tokenizer] kind = "patches"`)."""

    builder: ClassVar[str] = "tiny_agent_trainer.model.vit:build_vit"

    name: Literal["vit"]
    """Vision transformer."""

    layers: section.PositiveInt = 6
    """Number of encoder blocks."""

    width: section.PositiveInt = 192
    """Width of a token; a multiple of `heads`."""

    heads: section.PositiveInt = 3
    """Number of attention heads."""

    mlp_ratio: section.PositiveInt = 4
    """Width of the feed-forward layer, in widths of a token."""

    dropout: section.Fraction = 0.0
    """Probability that a unit is left out while training."""

    @pydantic.model_validator(mode="after")
    def _divide_heads(self) -> "VitOptions":
        if self.width % self.heads:
            message = f"width {self.width} is not a multiple of heads {self.heads}"
            raise ValueError(message)
        return self


class MonaiOptions(NetworkOptions):
    """Any network of `monai.networks.nets`, by class name."""

    builder: ClassVar[str] = "tiny_agent_trainer.model.monai_networks:build_monai"

    name: Annotated[str, pydantic.Field(pattern=r"^monai:[A-Za-z_][A-Za-z0-9_]*$")]
    """`monai:` and the class, such as `monai:DenseNet121`."""

    arguments: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Keyword arguments of the class; `{channels}`, `{classes}` and `{dims}` are filled in."""

    @pydantic.field_validator("arguments")
    @classmethod
    def _require_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            canonical.encode(value)
        except ValueError as error:
            message = f"only JSON values can be arguments: {error}"
            raise ValueError(message) from error
        return value


def _tag(value: object) -> str:
    """The tag of a `[model]` table: its name, with all MONAI networks under one tag."""
    if isinstance(value, dict):
        name = value.get("name", "cnn")
        return "monai" if isinstance(name, str) and name.startswith("monai:") else str(name)
    return "monai" if isinstance(value, MonaiOptions) else str(getattr(value, "name", ""))


ModelSection = Annotated[
    Annotated[MlpOptions, pydantic.Tag("mlp")]
    | Annotated[CnnOptions, pydantic.Tag("cnn")]
    | Annotated[Resnet18Options, pydantic.Tag("resnet18")]
    | Annotated[Resnet50Options, pydantic.Tag("resnet50")]
    | Annotated[VitOptions, pydantic.Tag("vit")]
    | Annotated[MonaiOptions, pydantic.Tag("monai")],
    pydantic.Discriminator(_tag),
]
"""The listing of networks: a new one adds its class here."""
