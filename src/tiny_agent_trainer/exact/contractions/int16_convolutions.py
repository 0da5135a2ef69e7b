# SPDX-License-Identifier: Apache-2.0
"""Convolutions on pairs of int16 without a patch matrix: rows of blocks are offsets into the image.

Forward: an output place is a row, a run of taps and channels a segment. Input gradient: the input
places of one remainder modulo the stride form a phase, a convolution of the gradient with the taps
that reach it. Weight gradient: places are contracted, in pairs of two samples, so that a shift by a
tap is only an offset.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer.exact import grids, threads
from tiny_agent_trainer.exact.contractions import blocks
from tiny_agent_trainer.exact.contractions.engine import require_length
from tiny_agent_trainer.exact.contractions.geometry import Geometry, Triple, count
from tiny_agent_trainer.exact.contractions.int16_matrices import SLACK
from tiny_agent_trainer.exact.kernels import contract, pack
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS
from tiny_agent_trainer.exact.kernels.instruction_sets import LEFT_PANEL

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """The taps of one dimension that one phase uses, in the order in which memory is read.

    Attributes:
        first, step, number: As a slice of the kernel.
        places: Where each reads, relative to the place of the row.
    """

    first: int
    step: int
    number: int
    places: tuple[int, ...]

    @property
    def is_run(self) -> bool:
        """Whether they read neighbouring places, first to last."""
        return all(b - a == 1 for a, b in itertools.pairwise(self.places))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A padded, packed image with channels innermost.

    Attributes:
        values: int16, flat.
        size: Padded.
        channels: Which is also the step from one place to the next.
    """

    values: npt.NDArray[np.int16]
    size: Triple
    channels: int


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

    def offsets(self, channels: int) -> Offsets:
        """Of so many channels, within a place."""
        channel = np.arange(channels)
        panel = self.pairs * count(self.size) * 2 * self.channels
        offsets: Offsets = channel // self.channels * panel + 2 * (channel % self.channels)
        return offsets

    def runs(self, number: Triple, stride: Triple) -> "Runs":
        """The contracted axis: so many places, so far apart, of all pairs."""
        if self.are_pairs_inside:
            places = _places(1, number, self.size, stride, (0, 0, 0), self.place_step)
            return Runs(places=places, length=self.pairs, step=self.pair_step)
        lines = (number[0], number[1], 1)
        places = _places(self.pairs, lines, self.size, stride, (0, 0, 0), self.place_step)
        return Runs(places=places, length=number[2], step=stride[2] * self.place_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Stretches of a contracted axis: where they begin, their length and step."""

    places: Offsets
    length: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Panels of taps and channels of a weight gradient: where they begin, and which they are."""

    places: Offsets
    bounds: Offsets


def convolve(
    x: torch.Tensor, weight: torch.Tensor, shape: Geometry, bias: torch.Tensor | None
) -> torch.Tensor:
    """Channels innermost, (N, D, H, W, C): (N, D', H', W', O)."""
    out = torch.empty(shape.samples, *shape.out, shape.outputs)
    if not out.numel():
        return out
    e_x = blocks.of_samples(grids.as_float32(x), "the input")
    e_weight = blocks.of_weight(weight, shape.groups, "the weight")[0]
    image = _pack_image(grids.as_float32(x), e_x, shape.padded, shape.padding)
    taps = tuple(
        Taps(first=0, step=1, number=k, places=tuple(range(0, k * apart, apart)))
        for k, apart in zip(shape.kernel, shape.dilation, strict=True)
    )
    rows = _places(shape.samples, shape.out, image.size, shape.stride, (0, 0, 0), image.channels)
    weights = weight.detach().reshape(
        shape.groups, shape.group_outputs, shape.group_inputs, *shape.kernel
    )
    _contract_phase(
        image, rows, taps,
        weights.permute(0, 3, 4, 5, 2, 1), e_weight.reshape(shape.groups, -1), e_x,
        out, _places(shape.samples, shape.out, shape.out, (1, 1, 1), (0, 0, 0), shape.outputs),
        blocks.bias_of(bias, shape.outputs),
    )  # fmt: skip
    return out


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D', H', W', O): (N, D, H, W, C)."""
    out = torch.zeros(shape.samples, *shape.size, shape.inputs)
    if not out.numel() or not gradient.numel():
        return out
    e_gradient = blocks.of_samples(grids.as_float32(gradient), "the output gradient")
    e_weight = blocks.of_weight(weight, shape.groups, "the weight")[1]
    size, border = _gradient_border(shape)
    image = _pack_image(grids.as_float32(gradient), e_gradient, size, border)
    weights = weight.detach().reshape(
        shape.groups, shape.group_outputs, shape.group_inputs, *shape.kernel
    )
    for first in itertools.product(*(range(step) for step in shape.stride)):
        taps = tuple(_taps_of_phase(shape, d, first[d]) for d in range(3))
        number = tuple(-(-(shape.size[d] - first[d]) // shape.stride[d]) for d in range(3))
        if not all(tap.number for tap in taps) or min(number) < 1:
            continue
        rows = _places(shape.samples, number, size, (1, 1, 1), border, image.channels)
        places = _places(shape.samples, number, shape.size, shape.stride, first, shape.inputs)
        _contract_phase(
            image, rows, taps,
            weights.permute(0, 3, 4, 5, 1, 2), e_weight, e_gradient, out, places,
            blocks.bias_of(None, shape.inputs),
        )  # fmt: skip
    return out


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor, shape: Geometry) -> torch.Tensor:
    """(N, D, H, W, C) with (N, D', H', W', O): (O, C / groups, *kernel)."""
    kernel, inputs, outputs = shape.kernel, shape.group_inputs, shape.group_outputs
    out = torch.zeros(shape.outputs, *kernel, inputs)
    if not x.numel() or not gradient.numel():
        return out.movedim(-1, 1)
    require_length(shape.samples * count(shape.out))
    e_x = blocks.of_channels(grids.as_float32(x), "the input")
    e_gradient = blocks.of_channels(grids.as_float32(gradient), "the output gradient")
    image = _pack_pairs(x, e_x, shape, shape.padding, COLUMNS)
    errors = _pack_pairs(gradient, e_gradient, shape, None, LEFT_PANEL)
    left, right = errors.runs(shape.out, (1, 1, 1)), image.runs(shape.out, shape.stride)
    batch = np.array(list(np.ndindex(shape.groups, kernel[0], kernel[1])))
    group, steps = batch[:, 0], np.array(image.steps()) * shape.dilation
    channels = image.offsets(shape.inputs)
    columns = _columns_of_taps(image, channels[:inputs], steps[2], shape)
    errors_at = errors.offsets(shape.outputs)
    powers = np.tile(blocks.powers(e_x).reshape(shape.groups, 1, -1), (1, kernel[2], 1))
    taps = batch[:, 1:] @ np.array([kernel[1] * kernel[2], kernel[2]]) * inputs
    per_output = count(kernel) * inputs
    tasks = contract.tasks_of(outputs, len(columns.places), len(batch), threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels,
        errors.values, errors_at[:outputs], errors_at[group * outputs], left.step,
        image.values, columns.places, channels[group * inputs] + batch[:, 1:] @ steps[:2],
        right.step, left.places, right.places, left.length,
        blocks.powers(e_gradient), group * outputs,
        powers.reshape(-1), group * kernel[2] * inputs, columns.bounds,
        blocks.bias_of(None, powers.size), grids.as_float32(out).reshape(-1),
        np.arange(outputs) * per_output, group * outputs * per_output + taps,
    )  # fmt: skip
    return out.movedim(-1, 1)


def _columns_of_taps(image: PairedImage, channels: Offsets, step: int, shape: Geometry) -> Columns:
    """Of one line of taps and the channels of a group; `step` leads from tap to tap."""
    inputs, taps = shape.group_inputs, shape.kernel[2]
    if step == 2 * inputs:  # taps follow one another in memory, like channels
        bounds = contract.column_bounds(taps * inputs)
        return Columns(places=2 * bounds[:, 0], bounds=bounds)
    bounds = contract.column_bounds(inputs)
    tap = np.repeat(np.arange(taps), len(bounds))
    bounds = np.tile(bounds, (taps, 1))
    places = tap * step + channels[bounds[:, 0]]
    return Columns(places=places, bounds=bounds + tap[:, None] * inputs)


def _contract_phase(
    image: Image,
    rows: Offsets,
    taps: tuple[Taps, ...],
    weights: torch.Tensor,
    e_columns: blocks.Exponents,
    e_samples: blocks.Exponents,
    out: torch.Tensor,
    out_rows: Offsets,
    bias: npt.NDArray[np.float32],
) -> None:
    """One convolution; `weights` (groups, *kernel, contracted channels, columns) of any strides."""
    groups, depth, columns = weights.shape[0], weights.shape[4], weights.shape[5]
    steps = _steps(image)
    is_run = groups == 1 and taps[2].is_run
    last = taps[2].places[:1] if is_run else taps[2].places
    segments = np.array(
        [np.dot(place, steps) for place in itertools.product(taps[0].places, taps[1].places, last)]
    )
    run = taps[2].number if is_run else 1
    pairs = -(-run * depth // 2)
    packed, stride, panels = _pack_weights(weights, taps, e_columns, run)
    group = np.arange(groups)
    zeros = np.zeros(groups, np.int64)
    powers = np.repeat(blocks.powers(e_samples), len(rows) // len(e_samples))
    tasks = contract.tasks_of(len(rows), panels, groups, threads.get_threads())
    threads.share(
        contract.contract, tasks.count, tasks.rows, tasks.panels,
        image.values, rows, group * depth, 2,
        packed, np.arange(panels) * stride, group * panels * stride, 2 * COLUMNS,
        segments, np.arange(len(segments)) * pairs * 2 * COLUMNS, pairs,
        powers, zeros, blocks.powers(e_columns).reshape(-1), group * columns,
        contract.column_bounds(columns), bias, grids.as_float32(out).reshape(-1),
        out_rows, group * columns,
    )  # fmt: skip


def _pack_weights(
    weights: torch.Tensor, taps: tuple[Taps, ...], exponents: blocks.Exponents, run: int
) -> tuple[npt.NDArray[np.int16], int, int]:
    """Panels of every group; a segment is a row of taps if these run, otherwise a tap."""
    groups, columns, depth = weights.shape[0], weights.shape[5], weights.shape[4]
    panels = -(-columns // COLUMNS)
    strides = weights.stride()
    segment = -(-run * depth // 2) * 2 * COLUMNS
    per_row = taps[2].number // run
    planes = list(itertools.product(range(taps[0].number), range(taps[1].number)))
    stride = len(planes) * per_row * segment
    values = np.zeros(groups * panels * stride + SLACK, np.int16)
    flat = grids.as_float32(weights.as_strided((_extent(weights),), (1,)))
    shape = np.array([groups, per_row, run, depth, columns])
    for number, (plane, row) in enumerate(planes):
        offset = (
            (taps[0].first + plane * taps[0].step) * strides[1]
            + (taps[1].first + row * taps[1].step) * strides[2]
            + taps[2].first * strides[3]
        )
        along = taps[2].step * strides[3]
        steps = np.array([strides[0], along, along, strides[4], strides[5], offset])
        threads.run(
            pack.pack_panels, groups * panels, flat, shape, steps,
            blocks.scales(exponents), stride, values[number * per_row * segment :],
        )  # fmt: skip
    return values, stride, panels


def _extent(x: torch.Tensor) -> int:
    return 1 + sum((size - 1) * step for size, step in zip(x.shape, x.stride(), strict=True))


def _pack_image(
    x_NDHWC: npt.NDArray[np.float32], exponents_N: blocks.Exponents, size: Triple, border: Triple
) -> Image:
    samples, channels = len(x_NDHWC), x_NDHWC.shape[-1]
    length = samples * count(size) * channels
    values = np.zeros(length + SLACK, np.int16)
    packed = values[:length].reshape(samples, *size, channels)
    scale = blocks.scales(exponents_N)
    threads.run(pack.pack_places, samples, x_NDHWC, scale, np.array(border), packed)
    return Image(values=values, size=size, channels=channels)


def _pack_pairs(
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


def _steps(image: Image) -> Triple:
    """Values from one place to the next, by dimension."""
    _, height, width = image.size
    return height * width * image.channels, width * image.channels, image.channels


def _taps_of_phase(shape: Geometry, d: int, first: int) -> Taps:
    """Taps k where the stride divides first + padding - k * dilation; the last reads first."""
    stride, apart, size = shape.stride[d], shape.dilation[d], shape.kernel[d]
    start = first + shape.padding[d]
    chosen = [k for k in range(size) if (start - k * apart) % stride == 0][::-1]
    places = tuple((start - k * apart) // stride for k in chosen)
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
    return Taps(first=chosen[0] if chosen else 0, step=step, number=len(chosen), places=places)


def _gradient_border(shape: Geometry) -> tuple[Triple, Triple]:
    """Size and border of the padded gradient, so that every phase reads inside."""
    size, border = [], []
    for d in range(3):
        reach = [
            (place, place + -(-(shape.size[d] - first) // shape.stride[d]) - 1)
            for first in range(min(shape.stride[d], shape.size[d]))
            for place in _taps_of_phase(shape, d, first).places
        ]
        before = max([0, *(-low for low, _ in reach)])
        after = max([0, *(high - shape.out[d] + 1 for _, high in reach)])
        size.append(shape.out[d] + before + after)
        border.append(before)
    return (size[0], size[1], size[2]), (border[0], border[1], border[2])


@functools.lru_cache(maxsize=128)
def _places(
    samples: int, number: Triple, size: Triple, stride: Triple, first: Triple, channels: int
) -> Offsets:
    """Offsets of a grid of places of an image, samples outermost, as (samples * places,)."""
    d, h, w = (
        first[axis] + stride[axis] * np.arange(number[axis], dtype=np.int64) for axis in range(3)
    )
    lines = (d[:, None, None] * size[1] + h[:, None]) * size[2] + w
    samples_N = np.arange(samples, dtype=np.int64)[:, None] * (size[0] * size[1] * size[2])
    offsets: Offsets = ((samples_N + lines.reshape(-1)) * channels).reshape(-1)
    offsets.flags.writeable = False
    return offsets
