# SPDX-License-Identifier: Apache-2.0
"""Where the blocks of a convolution read and write: offsets that depend on its shape alone.

Forward: an output place is a row, a run of taps and channels a segment. Input gradient: the input
places of one remainder modulo the stride form a phase, a convolution of the gradient with the taps
that reach it; no tap reaches two. What is planned once is kept, because a training asks again and
again.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.exact.contractions.geometry import KEPT, Geometry, Triple, count
from tiny_agent_trainer.exact.kernels.contract import Parts, column_bounds
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS

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
class Phase:
    """Rows that meet the same taps.

    Attributes:
        rows, out_rows: Where each row begins in the image, and in the result.
        taps: Of the three dimensions.
    """

    rows: Offsets
    out_rows: Offsets
    taps: tuple[Taps, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """How a weight lies in memory: (groups, outputs, inputs, ...), for one of its products.

    Attributes:
        shape, taps: For `blocks.packed`.
        steps_3: From group to group, along the contracted channels, along the columns.
        depth, columns: Contracted and other channels of a group.
    """

    shape: Triple
    taps: int
    steps_3: Offsets
    depth: int
    columns: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A convolution of a packed image with a packed weight, in one or several phases.

    Attributes:
        size, border: Of the image: padded, and where its first value stands.
        is_complete: Whether the phases reach every place of the result.
        groups: Of channels.
        weight: How it lies before it is packed.
        rows, out_rows: Where each row begins in the image, and in the result, phase after phase.
        segments, panel_segments: Of the contracted axes, in the image and in a packed panel.
        parts: The phases.
        taps_T3: For `pack.pack_panels`.
        panel_stride: Values of a packed panel.
        is_even: Whether the values of every segment fill its pairs.
    """

    size: Triple
    border: Triple
    is_complete: bool
    groups: int
    weight: Weight
    rows: Offsets
    out_rows: Offsets
    segments: Offsets
    panel_segments: Offsets
    parts: Parts
    taps_T3: Offsets
    panel_stride: int
    is_even: bool

    @functools.cached_property
    def panels(self) -> int:
        """Of one group."""
        return -(-self.weight.columns // COLUMNS)

    @functools.cached_property
    def panel_places(self) -> Offsets:
        """Where the panels of a group begin."""
        return np.arange(self.panels) * self.panel_stride

    @functools.cached_property
    def bounds(self) -> Offsets:
        """Columns of each panel."""
        return column_bounds(self.weight.columns)

    def by_group(self, step: int) -> Offsets:
        """Where each group begins, so far apart."""
        return steps_of(self.groups, step)


@functools.lru_cache(maxsize=KEPT)
def steps_of(number: int, step: int) -> Offsets:
    """So many offsets, so far apart, from 0."""
    return np.arange(number) * step


@functools.lru_cache(maxsize=KEPT)
def plan_forward(shape: Geometry) -> Plan:
    """One phase, whose image is the padded input."""
    taps = tuple(
        Taps(first=0, step=1, number=k, places=tuple(range(0, k * apart, apart)))
        for k, apart in zip(shape.kernel, shape.dilation, strict=True)
    )
    volume = count(shape.kernel)
    weight = Weight(
        shape=(shape.outputs, shape.group_inputs * volume, 1),
        taps=1,
        steps_3=_weight_steps(shape, volume, shape.group_inputs * volume),
        depth=shape.group_inputs,
        columns=shape.group_outputs,
    )
    phase = Phase(
        rows=places(shape.samples, shape.out, shape.padded, shape.stride, (0, 0, 0), shape.inputs),
        out_rows=places(shape.samples, shape.out, shape.out, (1, 1, 1), (0, 0, 0), shape.outputs),
        taps=taps,
    )
    return _plan(shape, weight, [phase], size=shape.padded, border=shape.padding, is_complete=True)


@functools.lru_cache(maxsize=KEPT)
def plan_input_gradient(shape: Geometry) -> Plan:
    """A phase for each remainder, whose image is the padded gradient of the output."""
    size, border = _gradient_border(shape)
    volume = count(shape.kernel)
    weight = Weight(
        shape=(shape.groups, shape.group_outputs, shape.group_inputs * volume),
        taps=volume,
        steps_3=_weight_steps(shape, shape.group_inputs * volume, volume),
        depth=shape.group_outputs,
        columns=shape.group_inputs,
    )
    phases = []
    for first in itertools.product(*(range(step) for step in shape.stride)):
        taps = tuple(_taps_of_phase(shape, d, first[d]) for d in range(3))
        d, h, w = (-(-(shape.size[d] - first[d]) // shape.stride[d]) for d in range(3))
        if not all(tap.number for tap in taps) or min(d, h, w) < 1:
            continue
        there = places(shape.samples, (d, h, w), shape.size, shape.stride, first, shape.inputs)
        here = places(shape.samples, (d, h, w), size, (1, 1, 1), border, shape.outputs)
        phases.append(Phase(rows=here, out_rows=there, taps=taps))
    reached = sum(len(phase.rows) for phase in phases)
    is_complete = reached == shape.samples * count(shape.size)
    return _plan(shape, weight, phases, size=size, border=border, is_complete=is_complete)


def _weight_steps(shape: Geometry, depth: int, columns: int) -> Offsets:
    return np.array(
        [shape.group_inputs * shape.group_outputs * count(shape.kernel), depth, columns]
    )


def _plan(
    shape: Geometry,
    weight: Weight,
    phases: list[Phase],
    *,
    size: Triple,
    border: Triple,
    is_complete: bool,
) -> Plan:
    """Lay the contracted axes of all phases one after another, in a panel too."""
    segments, panel_segments, parts, taps = [], [], [], []
    row = segment = pair = 0
    is_even = True
    for phase in phases:
        found, run = _segments(shape, phase.taps, size, weight.depth)
        pairs = -(-run * weight.depth // 2)
        is_even &= run * weight.depth % 2 == 0
        first_pairs = pair + pairs * np.arange(len(found))
        parts.append([row, len(phase.rows), len(phase.rows) // shape.samples, segment, len(found),
                      pairs])  # fmt: skip
        segments.append(found)
        panel_segments.append(first_pairs * 2 * COLUMNS)
        taps.append(_taps_in_weight(shape, phase.taps, run, weight.depth, first_pairs))
        row, segment, pair = row + len(phase.rows), segment + len(found), pair + pairs * len(found)
    return Plan(
        size=size,
        border=border,
        is_complete=is_complete,
        groups=shape.groups,
        weight=weight,
        rows=_joined([phase.rows for phase in phases]),
        out_rows=_joined([phase.out_rows for phase in phases]),
        segments=_joined(segments),
        panel_segments=_joined(panel_segments),
        parts=Parts(np.array(parts, np.int64).reshape(-1, 6)),
        taps_T3=_joined(taps).reshape(-1, 3),
        panel_stride=pair * 2 * COLUMNS,
        is_even=is_even,
    )


def _joined(offsets: list[Offsets]) -> Offsets:
    return np.concatenate(offsets) if offsets else np.empty(0, np.int64)


def _segments(
    shape: Geometry, taps: tuple[Taps, ...], size: Triple, depth: int
) -> tuple[Offsets, int]:
    """Where the segments of a contracted axis begin in the image, and the taps in each."""
    step = depth * shape.groups
    steps = (size[1] * size[2] * step, size[2] * step, step)
    is_run = shape.groups == 1 and taps[2].is_run
    last = taps[2].places[:1] if is_run else taps[2].places
    found = [
        np.dot(place, steps) for place in itertools.product(taps[0].places, taps[1].places, last)
    ]
    return np.array(found), taps[2].number if is_run else 1


def _taps_in_weight(
    shape: Geometry, taps: tuple[Taps, ...], run: int, depth: int, first_pairs: Offsets
) -> Offsets:
    """Of each tap: its offset in the weight, the first pair of its segment, its place there."""
    _, height, width = shape.kernel
    steps = (height * width, width, 1)
    rows = []
    for number, tap in enumerate(np.ndindex(taps[0].number, taps[1].number, taps[2].number)):
        offset = sum((taps[d].first + tap[d] * taps[d].step) * steps[d] for d in range(3))
        rows.append((offset, first_pairs[number // run], number % run * depth))
    return np.array(rows)


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


@functools.lru_cache(maxsize=KEPT)
def places(
    samples: int, number: Triple, size: Triple, stride: Triple, first: Triple, channels: int
) -> Offsets:
    """Offsets of a grid of places of an image, samples outermost, as (samples * places,)."""
    d, h, w = (
        first[axis] + stride[axis] * np.arange(number[axis], dtype=np.int64) for axis in range(3)
    )
    lines = (d[:, None, None] * size[1] + h[:, None]) * size[2] + w
    samples_N = np.arange(samples, dtype=np.int64)[:, None] * (size[0] * size[1] * size[2])
    offsets: Offsets = ((samples_N + lines.reshape(-1)) * channels).reshape(-1)
    return offsets
