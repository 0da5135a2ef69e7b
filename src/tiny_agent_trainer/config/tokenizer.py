# SPDX-License-Identifier: Apache-2.0
"""`[tokenizer]`: how stored images become the network's input."""

from typing import Annotated, Literal

import pydantic

from tiny_agent_trainer.config import section
from tiny_agent_trainer.config.augmentation import AugmentationOptions

_LIMIT = 1e12
"""Larger values than any unit of medicine brings; their differences stay exact enough."""

Value = Annotated[float, pydantic.Field(ge=-_LIMIT, le=_LIMIT)]
Percent = Annotated[float, pydantic.Field(ge=0, le=100)]
Millimetres = Annotated[float, pydantic.Field(gt=0, le=1e6)]

Lengths = Annotated[tuple[section.PositiveInt, ...], pydantic.Field(strict=False, max_length=3)]
"""One number per spatial dim."""


class PatchesOptions(section.Section):
    """Train on patches of images, such as blocks of volumes that would be too large whole."""

    size: Lengths = ()
    """Lengths of a patch along each dim ([]: whole images)."""

    foreground_fraction: section.Fraction = 0.0
    """Share of the training patches that are made to hold a voxel of the foreground."""

    foreground_above: Annotated[int, pydantic.Field(ge=-(1 << 15), lt=1 << 16)] = 0
    """What is foreground: voxels above this prepared value; with `[data] label_maps`, voxels of
    which any part has a class number above it."""

    evaluation: Literal["centre", "grid"] = "centre"
    """`centre`: the middle patch. `grid`: the fewest patches that cover the image; their answers
    are averaged before they become probabilities."""


class TokenizerSection(section.Section):
    """Pre-processing and tokenization."""

    kind: Literal["image", "patches"] = "image"
    """`image`: a tensor for convolutional networks. `patches`: a sequence for transformers."""

    patch_size: section.PositiveInt = 4
    """Edge of a patch in pixels (voxels), for `patches`; divides every edge of the image."""

    intensity: Literal["stored", "display", "window", "percentile"] = "stored"
    """`stored`: integers of at most 16 bits as they are, also out of wider types. `display`: black
    to white becomes 0 to 65535, of 8-bit images beside displays of 16 bits. `window`,
    `percentile`: a range of values becomes 0 to 65535."""

    window: Annotated[tuple[Value, ...], pydantic.Field(strict=False, max_length=2)] = ()
    """Lowest and highest value of the range, in the image's unit, such as Hounsfield units."""

    percentiles: Annotated[tuple[Percent, Percent], pydantic.Field(strict=False)] = (0.5, 99.5)
    """The same as percentiles of each image, by nearest rank."""

    orientation: Annotated[str, pydantic.Field(pattern="^([RLAPSI]{2,3})?$")] = ""
    """Turn and mirror every image until its dims go to these sides of the patient, such as "SPL"
    ("": as stored). Order and letters as in `spec.md` of `tokenizer/images`."""

    spacing_mm: Annotated[tuple[Millimetres, ...], pydantic.Field(strict=False, max_length=3)] = ()
    """Resample every image so that pixels are so far apart along each dim ([]: as stored)."""

    slices: section.NaturalInt = 0
    """Make an image of a volume: so many neighbouring slices become its channels (0: do not)."""

    slice: Literal["middle"] | section.NaturalInt = "middle"
    """Which slice along the first dim is in their middle, counted from 0."""

    resize: section.NaturalInt | Lengths = 0
    """Resample every image to this edge length, or these lengths, with an exact area filter
    (0: as stored)."""

    size: Lengths = ()
    """Cut off or add pixels around the centre until each dim has this length ([]: do not)."""

    pad_value: Annotated[int, pydantic.Field(ge=-(1 << 15), lt=1 << 16)] = 0
    """What is added there, after `intensity`."""

    channels: Literal[0, 1, 3] = 0
    """Turn gray into three equal channels (3) or colour into gray (1); 0: as stored."""

    normalization: Literal["train", "half"] = "train"
    """`train`: mean and deviation of the training split. `half`: 0.5 and 0.5 of the range."""

    patches: PatchesOptions = PatchesOptions()
    """Patches of images instead of whole ones; not the tokens of `kind = "patches"`."""

    augmentation: AugmentationOptions = AugmentationOptions()
    """Random changes of training images."""

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> "TokenizerSection":
        if (self.intensity == "window") != bool(self.window):
            raise ValueError('intensity = "window" and window = [low, high] need each other')
        pairs = [pair for pair in (self.window, self.percentiles) if pair]
        if any(len(pair) != 2 or not pair[0] < pair[1] for pair in pairs):
            raise ValueError("window and percentiles are a lower and a higher value each")
        return self

    @pydantic.model_validator(mode="after")
    def _check_orientation(self) -> "TokenizerSection":
        for axis in ("RL", "AP", "SI"):
            if sum(letter in axis for letter in self.orientation) > 1:
                raise ValueError(f"orientation {self.orientation!r} goes along one axis twice")
        return self

    @pydantic.model_validator(mode="after")
    def _check_slices(self) -> "TokenizerSection":
        if self.slices > 1 and self.channels == 3:
            raise ValueError("slices become channels: leave channels = 3 out")
        return self

    @pydantic.model_validator(mode="after")
    def _keep_sides(self) -> "TokenizerSection":
        letters = self.orientation[-2:]
        is_mirrored = len(letters) == 2 and letters[0] in "RL" and self.augmentation.flip_vertical
        if self.augmentation.laterality and is_mirrored:
            raise ValueError(
                f"laterality = true forbids flip_vertical with orientation {self.orientation!r}: "
                "it mirrors left and right"
            )
        return self
