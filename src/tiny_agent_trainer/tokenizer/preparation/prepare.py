# SPDX-License-Identifier: Apache-2.0
"""`prepare`: every step from a decoded image to prepared integers, in its order."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.preparation import (
    channels,
    fitting,
    intensity,
    plan,
    resampling,
)

OPTIONS: Final = (
    "intensity", "window", "percentiles", "orientation", "spacing_mm", "slices", "slice", "resize",
    "size", "pad_value", "channels",
)  # fmt: skip
"""The keys of `[tokenizer]` that change what `prepare` returns."""

Preparable: TypeAlias = samples.StoredArray | Image
"""An image, or its values alone when nothing is known of its geometry."""


def prepare(
    given: Preparable, options: TokenizerSection, key: str = "the image"
) -> npt.NDArray[np.integer]:
    """Bring one decoded image into the common layout.

    Intensities, direction, spacing, slices, `resize`, `size`, channels: in this order.

    Args:
        given: An image; or a stored array, shape (*spatial, channels).
        options: The section of the configuration.
        key: The image, for messages.

    Returns:
        Shape (channels, *spatial): the stored dtype, or uint16 after a window or percentiles.

    Raises:
        DatasetError: The image lacks what an option needs, with the remedy.
    """
    image = as_image(given)
    steps = plan.build_plan(image, options, key)
    values = intensity.rescale(image.values, options, key)
    values = _turn(values, steps)
    values = resampling.resample_spacing(values, steps.spaced)
    if steps.slices:
        values = channels.convert(values[list(steps.slices)], options.channels)
        values = _slices_as_channels(values)
    values = resampling.resample_area(values, steps.resized)
    if options.size:
        values = fitting.fit(values, steps.fitted, options.pad_value, key)
    if not steps.slices:
        values = channels.convert(values, options.channels)
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def prepared_shape(given: Preparable, options: TokenizerSection) -> tuple[int, ...]:
    """The shape that `prepare` gives to an image, without making it.

    Raises:
        DatasetError: As `prepare` does.
    """
    return plan.build_plan(as_image(given), options, "the image").shape


def as_image(given: Preparable) -> Image:
    """An image; values alone become one without geometry."""
    return given if isinstance(given, Image) else Image(values=given)


def _turn(values: samples.StoredArray, steps: plan.Plan) -> samples.StoredArray:
    turned = values.transpose(*steps.order, values.ndim - 1)
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in steps.is_flipped)]


def _slices_as_channels(values: samples.StoredArray) -> samples.StoredArray:
    """From (slices, height, width, channels) to (height, width, slices * channels)."""
    return np.ascontiguousarray(np.moveaxis(values, 0, -2)).reshape(*values.shape[1:3], -1)
