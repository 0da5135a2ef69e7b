# SPDX-License-Identifier: Apache-2.0
"""`[tokenizer]`: how stored images become the network's input."""

from typing import Literal

from tiny_agent_trainer.config import section


class AugmentationOptions(section.Section):
    """Random changes of training images, drawn anew for every sample and epoch."""

    flip_horizontal: bool = False
    """Mirror left and right with probability 1/2; forbid it where side matters."""

    flip_vertical: bool = False
    """Mirror top and bottom with probability 1/2."""

    quarter_turns: bool = False
    """Rotate by 0, 90, 180 or 270 degrees in the image plane; needs square images."""

    shift_pixels: section.NaturalInt = 0
    """Move by up to so many whole pixels along each dimension; the border is filled with 0."""

    intensity_scale: section.Fraction = 0.0
    """Multiply the normalised input by a factor in [1 - s, 1 + s]."""

    intensity_offset: section.NaturalFloat = 0.0
    """Add to the normalised input an offset in [-o, o]."""


class TokenizerSection(section.Section):
    """Pre-processing and tokenization."""

    kind: Literal["image", "patches"] = "image"
    """`image`: a tensor for convolutional networks. `patches`: a sequence for transformers."""

    patch_size: section.PositiveInt = 4
    """Edge of a patch in pixels (voxels), for `patches`; divides every edge of the image."""

    resize: section.NaturalInt = 0
    """Resample every image to this edge length with an exact area filter (0: as stored)."""

    channels: Literal[0, 1, 3] = 0
    """Turn gray into three equal channels (3) or colour into gray (1); 0: as stored."""

    normalization: Literal["train", "half"] = "train"
    """`train`: mean and deviation of the training split. `half`: 0.5 and 0.5 of the range."""

    augmentation: AugmentationOptions = AugmentationOptions()
    """Random changes of training images."""
