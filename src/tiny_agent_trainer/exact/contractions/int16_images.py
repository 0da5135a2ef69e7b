# SPDX-License-Identifier: Apache-2.0
"""Images as int16, padded, in the order in which the blocks of a convolution read them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids
from tiny_agent_trainer.exact.contractions import blocks, int16_plans
from tiny_agent_trainer.exact.contractions.geometry import Geometry, Triple, count
from tiny_agent_trainer.exact.contractions.int16_matrices import SLACK
from tiny_agent_trainer.exact.kernels import pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLayout:
    """How an image lies whose samples are interleaved in pairs, in panels of channels.

    In a panel channels are innermost; then come places, or pairs where these are more than the
    places of a line: the contracted axis is read in runs, and long ones are read faster.

    Attributes:
        size: Padded.
        border: Where the first value stands.
        pairs: Of samples.
        panels, channels: Of one panel.
        are_pairs_inside: Whether the pairs of a place lie side by side.
    """

    size: Triple
    border: Triple
    pairs: int
    panels: int
    channels: int
    are_pairs_inside: bool

    @property
    def values(self) -> int:
        """Of the whole image."""
        return self.panels * self.pairs * count(self.size) * self.channels * 2

    def view(self, packed: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Pairs of values as (panels, pairs, D, H, W, channels)."""
        if self.are_pairs_inside:
            shape = (self.panels, *self.size, self.pairs, self.channels)
            return packed.reshape(shape).transpose(0, 4, 1, 2, 3, 5)
        return packed.reshape(self.panels, self.pairs, *self.size, self.channels)

    @property
    def pair_step(self) -> int:
        """Values from one pair to the next."""
        return 2 * self.channels * (1 if self.are_pairs_inside else count(self.size))

    @property
    def place_step(self) -> int:
        """Values from one place of a line to the next."""
        return 2 * self.channels * (self.pairs if self.are_pairs_inside else 1)

    def steps(self) -> Triple:
        """Values from one place to the next, by dimension."""
        _, height, width = self.size
        return height * width * self.place_step, width * self.place_step, self.place_step

    def offsets(self, channels: int) -> int16_plans.Offsets:
        """Of so many channels, within a place."""
        channel = np.arange(channels)
        panel = self.pairs * count(self.size) * 2 * self.channels
        offsets: int16_plans.Offsets = channel // self.channels * panel + 2 * (
            channel % self.channels
        )
        return offsets

    def runs(self, number: Triple, stride: Triple) -> "Runs":
        """The contracted axis: so many places, so far apart, of all pairs."""
        if self.are_pairs_inside:
            places = int16_plans.places(1, number, self.size, stride, (0, 0, 0), self.place_step)
            return Runs(places=places, length=self.pairs, step=self.pair_step)
        lines = (number[0], number[1], 1)
        places = int16_plans.places(
            self.pairs, lines, self.size, stride, (0, 0, 0), self.place_step
        )
        return Runs(places=places, length=number[2], step=stride[2] * self.place_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Stretches of a contracted axis: where they begin, their length and step."""

    places: int16_plans.Offsets
    length: int
    step: int


def pack_image(
    x: torch.Tensor, size: Triple, border: Triple, what: str
) -> tuple[npt.NDArray[np.int16], blocks.Powers]:
    """(N, D, H, W, C) padded, each sample on its grid, flat; and what integers stand for."""
    x_NDHWC = grids.as_float32(x)
    samples, depth, height, _, channels = x_NDHWC.shape
    values = np.empty(samples * count(size) * channels + SLACK, np.int16)
    packed = values[:-SLACK].reshape(samples, *size, channels)
    powers = blocks.packed(
        pack.pack_places, x_NDHWC.reshape(samples, -1, 1), values, samples * depth * height,
        x_NDHWC, np.array(border), packed, shape=(samples,), what=what,
        is_filled=size == x_NDHWC.shape[1:4],
    )  # fmt: skip
    return values, powers


def layout_of_pairs(
    shape: Geometry, channels: int, size: Triple, border: Triple, panel: int
) -> PairedLayout:
    """Of the padded input of a convolution, or of its output.

    Channels lie in panels of so many; where a panel would hold channels of two groups, or no block
    would be whole, all channels are in one.
    """
    pairs = -(-shape.samples // 2)
    inside = pairs > shape.out[2] and shape.inputs > COLUMNS  # few channels run on into the taps
    groups = shape.groups
    fits = channels // groups % COLUMNS == 0 if groups > 1 else channels > COLUMNS
    width = panel if fits else channels
    return PairedLayout(
        size=size, border=border, pairs=pairs, panels=-(-channels // width), channels=width,
        are_pairs_inside=inside,
    )  # fmt: skip


def pack_pairs(
    x: torch.Tensor, layout: PairedLayout, what: str
) -> tuple[npt.NDArray[np.int16], blocks.Powers]:
    """(N, D, H, W, C), each channel on its grid, flat; and what integers stand for."""
    x_NDHWC = grids.as_float32(x)
    _, depth, height, _, channels = x_NDHWC.shape
    values = np.empty(layout.values + SLACK, np.int16)
    powers = blocks.packed(
        pack.pack_pairs, x_NDHWC.reshape(1, -1, channels), values, layout.pairs * depth * height,
        x_NDHWC, np.array(layout.border), layout.view(values[:-SLACK].view(np.int32)),
        shape=(channels,), what=what, is_filled=layout.size == x_NDHWC.shape[1:4],
    )  # fmt: skip
    return values, powers
