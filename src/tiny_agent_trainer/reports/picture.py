# SPDX-License-Identifier: Apache-2.0
"""Picture: one image as the network saw it, with what was said about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One 8-bit image.

    Args:
        sample: The sample's ordinal, which is no patient's name.
        label: Its true class, or its labels joined by commas.
        predicted: What the model called it; None in a grid of examples.
        probability: What the model gave to `predicted`, from 0 to 1; None as above.
        width: Pixels per row.
        height: Rows.
        channels: 1 for gray, 3 for RGB.
        pixels: uint8 (height, width, channels), row by row.

    Raises:
        ValueError: Sides below 1, other channels, or another number of bytes.
    """

    sample: int
    label: str
    predicted: str | None
    probability: float | None
    width: int
    height: int
    channels: int
    pixels: bytes

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.channels not in (1, 3):
            message = (
                f"picture of sample {self.sample}: expected sides of 1 or more and 1 or 3 "
                f"channels, found {self.width}x{self.height}x{self.channels}"
            )
            raise ValueError(message)
        expected = self.width * self.height * self.channels
        if len(self.pixels) != expected:
            message = (
                f"picture of sample {self.sample}: expected {expected} bytes for "
                f"{self.width}x{self.height}x{self.channels}, found {len(self.pixels)}"
            )
            raise ValueError(message)
