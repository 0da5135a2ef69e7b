# SPDX-License-Identifier: Apache-2.0
"""Images as int16, padded, in the order in which the blocks of a convolution read them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks, int16_plans
from tiny_agent_trainer.exact.contractions.geometry import Geometry, Triple, count
from tiny_agent_trainer.exact.contractions.int16_matrices import SLACK
from tiny_agent_trainer.exact.kernels import pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedImage:
    """A padded, packed image whose samples are interleaved in pairs, in panels of channels.

    In a panel channels are innermost; then come places, or pairs where these are more than the
    places of a line: the contracted axis is read in runs, and long ones are read faster.

    Attributes:
        values: int16, flat.
        size: Padded.
        pairs: Of samples.
        channels: Of a panel.
        are_pairs_inside: Whether the pairs of a place lie side by side.
    """

    values: npt.NDArray[np.int16]
    size: Triple
    pairs: int
    channels: int
    are_pairs_inside: bool

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
    x: torch.Tensor, exponents_N: blocks.Exponents, size: Triple, border: Triple
) -> npt.NDArray[np.int16]:
    """A padded image (N, D, H, W, C), each sample on its grid, flat."""
    x_NDHWC = grids.as_float32(x)
    samples, channels = len(x_NDHWC), x_NDHWC.shape[-1]
    values = np.zeros(samples * count(size) * channels + SLACK, np.int16)
    packed = values[:-SLACK].reshape(samples, *size, channels)
    scale = blocks.scales(exponents_N)
    threads.run(pack.pack_places, samples, x_NDHWC, scale, np.array(border), packed)
    return values


def pack_pairs(
    x: torch.Tensor,
    exponents_C: blocks.Exponents,
    shape: Geometry,
    padding: Triple | None,
    panel: int,
) -> PairedImage:
    """The padded input of a convolution, or without padding its output, in pairs of samples.

    Channels lie in panels of so many; where a panel would hold channels of two groups, or no block
    would be whole, all channels are in one.
    """
    x_NDHWC = grids.as_float32(x)
    samples, *unpadded, channels = x_NDHWC.shape
    size = shape.padded if padding else (unpadded[0], unpadded[1], unpadded[2])
    pairs = -(-samples // 2)
    inside = pairs > shape.out[2] and shape.inputs > COLUMNS  # few channels run on into the taps
    groups = shape.groups
    fits = channels // groups % COLUMNS == 0 if groups > 1 else channels > COLUMNS
    width = panel if fits else channels
    panels = -(-channels // width)
    values = np.zeros(panels * pairs * count(size) * width * 2 + SLACK, np.int16)
    packed = values[:-SLACK].view(np.int32)
    if inside:
        packed = packed.reshape(panels, *size, pairs, width).transpose(0, 4, 1, 2, 3, 5)
    else:
        packed = packed.reshape(panels, pairs, *size, width)
    border = np.array(padding or (0, 0, 0))
    scale = blocks.scales(exponents_C)
    threads.run(pack.pack_pairs, pairs * x_NDHWC.shape[1], x_NDHWC, scale, border, packed)
    return PairedImage(
        values=values, size=size, pairs=pairs, channels=width, are_pairs_inside=inside
    )
