# SPDX-License-Identifier: Apache-2.0
"""`[tokenizer.augmentation]`: random changes of training images."""

from typing import Annotated

import pydantic

from tiny_agent_trainer.config import section


class AugmentationOptions(section.Section):
    """Random changes of training images, drawn anew for every sample and epoch."""

    laterality: bool = False
    """Left and right matter: what would mirror them is refused."""

    flip_horizontal: bool = False
    """Mirror left and right with probability 1/2; forbid it where side matters."""

    flip_vertical: bool = False
    """Mirror top and bottom with probability 1/2."""

    quarter_turns: bool = False
    """Rotate by 0, 90, 180 or 270 degrees in the image plane; needs square images of square
    pixels."""

    shift_pixels: section.NaturalInt = 0
    """Move by up to so many whole pixels along each dimension; the border is filled with 0."""

    rotate_degrees: Annotated[float, pydantic.Field(ge=0, le=180)] = 0.0
    """Rotate about the centre of the image plane by up to so much; the border is continued."""

    scale: Annotated[float, pydantic.Field(ge=0, le=0.9)] = 0.0
    """Enlarge about the centre by a factor in [1 - s, 1 + s]; the border is continued."""

    elastic_pixels: Annotated[float, pydantic.Field(ge=0, le=1000)] = 0.0
    """Move the points of a coarse grid by up to so many pixels along each dimension, and what lies
    between them along."""

    elastic_points: Annotated[int, pydantic.Field(ge=2, le=32)] = 5
    """Points of this grid along each dimension."""

    blur_passes: Annotated[int, pydantic.Field(ge=0, le=32)] = 0
    """Blur by 0 to so many passes of (1, 2, 1) / 4 along each dimension."""

    gamma: Annotated[float, pydantic.Field(ge=0, le=9)] = 0.0
    """Raise brightness to a power between 1 / (1 + g) and 1 + g."""

    intensity_scale: section.Fraction = 0.0
    """Multiply the normalised input by a factor in [1 - s, 1 + s]."""

    intensity_offset: section.NaturalFloat = 0.0
    """Add to the normalised input an offset in [-o, o]."""

    noise: Annotated[float, pydantic.Field(ge=0, le=1000)] = 0.0
    """Add to the normalised input noise of a deviation in [0, n)."""

    @pydantic.model_validator(mode="after")
    def _keep_sides(self) -> "AugmentationOptions":
        if self.laterality and self.flip_horizontal:
            raise ValueError("laterality = true forbids flip_horizontal: it mirrors left and right")
        turns = self.quarter_turns or self.rotate_degrees == 180
        if self.laterality and self.flip_vertical and turns:
            raise ValueError(
                "laterality = true forbids flip_vertical together with turns of 180 degrees: "
                "both at once mirror left and right"
            )
        return self
