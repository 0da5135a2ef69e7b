# SPDX-License-Identifier: Apache-2.0
"""Where the blocks of a convolution read and write: offsets that depend on its shape alone.

Forward: an output place is a row, a run of taps and channels a segment. Input gradient: the input
places of one remainder modulo the stride form a phase, a convolution of the gradient with the taps
that reach it. Both are a `Phase`; what is planned once is kept, because a training asks again and
again.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.exact.contractions.geometry import KEPT, Geometry, Triple, count
from tiny_agent_trainer.exact.kernels.contract import column_bounds
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


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A convolution of a packed image with some taps of a weight (groups, outputs, inputs, ...).

    Attributes:
        rows, out_rows: Where each row begins in the image, and in the result.
        segments: Of the contracted axis, in the image.
        pairs: Of one segment.
        is_even: Whether the values of a segment fill them.
        groups: Of channels.
        depth, columns: Contracted and other channels of a group.
        weight_shape, weight_taps: For `blocks.packed`.
        weight_steps: From group to group, along the contracted channels, along the columns.
        taps_T3: For `pack.pack_panels`.
    """

    rows: Offsets
    out_rows: Offsets
    segments: Offsets
    pairs: int
    is_even: bool
    groups: int
    depth: int
    columns: int
    weight_shape: Triple
    weight_taps: int
    weight_steps: Offsets
    taps_T3: Offsets

    @functools.cached_property
    def panels(self) -> int:
        """Of one group."""
        return -(-self.columns // COLUMNS)

    @functools.cached_property
    def panel_stride(self) -> int:
        """Values of a packed panel."""
        return len(self.segments) * self.pairs * 2 * COLUMNS

    @functools.cached_property
    def panel_places(self) -> Offsets:
        """Where the panels of a group begin."""
        return np.arange(self.panels) * self.panel_stride

    @functools.cached_property
    def panel_segments(self) -> Offsets:
        """Where the segments of a panel begin."""
        return np.arange(len(self.segments)) * (self.pairs * 2 * COLUMNS)

    @functools.cached_property
    def bounds(self) -> Offsets:
        """Columns of each panel."""
        return column_bounds(self.columns)

    def by_group(self, step: int) -> Offsets:
        """Where each group begins, so far apart."""
        return steps_of(self.groups, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputGradient:
    """The padded gradient, and the phases that fill the gradient of the input.

    Attributes:
        size, border: Of the packed gradient: padded, and where its first value stands.
        phases: Together they reach every place that any tap reaches.
        is_complete: Whether these are all places.
    """

    size: Triple
    border: Triple
    phases: tuple[Phase, ...]
    is_complete: bool


@functools.lru_cache(maxsize=KEPT)
def steps_of(number: int, step: int) -> Offsets:
    """So many offsets, so far apart, from 0."""
    return np.arange(number) * step


@functools.lru_cache(maxsize=KEPT)
def plan_forward(shape: Geometry) -> Phase:
    """The one phase of a convolution, whose image is the padded input."""
    taps = tuple(
        Taps(first=0, step=1, number=k, places=tuple(range(0, k * apart, apart)))
        for k, apart in zip(shape.kernel, shape.dilation, strict=True)
    )
    volume = count(shape.kernel)
    return _phase(
        shape,
        taps,
        size=shape.padded,
        rows=places(shape.samples, shape.out, shape.padded, shape.stride, (0, 0, 0), shape.inputs),
        out_rows=places(shape.samples, shape.out, shape.out, (1, 1, 1), (0, 0, 0), shape.outputs),
        depth=shape.group_inputs,
        columns=shape.group_outputs,
        weight_shape=(shape.outputs, shape.group_inputs * volume, 1),
        weight_taps=1,
        weight_steps=(volume, shape.group_inputs * volume),
    )


@functools.lru_cache(maxsize=KEPT)
def plan_input_gradient(shape: Geometry) -> InputGradient:
    """The phases of an input gradient, whose image is the padded gradient of the output."""
    size, border = _gradient_border(shape)
    volume = count(shape.kernel)
    phases = []
    for first in itertools.product(*(range(step) for step in shape.stride)):
        taps = tuple(_taps_of_phase(shape, d, first[d]) for d in range(3))
        d, h, w = (-(-(shape.size[d] - first[d]) // shape.stride[d]) for d in range(3))
        if not all(tap.number for tap in taps) or min(d, h, w) < 1:
            continue
        phase = _phase(
            shape,
            taps,
            size=size,
            rows=places(shape.samples, (d, h, w), size, (1, 1, 1), border, shape.outputs),
            out_rows=places(
                shape.samples, (d, h, w), shape.size, shape.stride, first, shape.inputs
            ),
            depth=shape.group_outputs,
            columns=shape.group_inputs,
            weight_shape=(shape.groups, shape.group_outputs, shape.group_inputs * volume),
            weight_taps=volume,
            weight_steps=(shape.group_inputs * volume, volume),
        )
        phases.append(phase)
    reached = sum(len(phase.rows) for phase in phases)
    return InputGradient(
        size=size, border=border, phases=tuple(phases),
        is_complete=reached == shape.samples * count(shape.size),
    )  # fmt: skip


def _phase(
    shape: Geometry,
    taps: tuple[Taps, ...],
    *,
    size: Triple,
    rows: Offsets,
    out_rows: Offsets,
    depth: int,
    columns: int,
    weight_shape: Triple,
    weight_taps: int,
    weight_steps: tuple[int, int],
) -> Phase:
    step = depth * shape.groups
    steps = (size[1] * size[2] * step, size[2] * step, step)
    is_run = shape.groups == 1 and taps[2].is_run
    last = taps[2].places[:1] if is_run else taps[2].places
    segments = [
        np.dot(place, steps) for place in itertools.product(taps[0].places, taps[1].places, last)
    ]
    run = taps[2].number if is_run else 1
    group_step = shape.group_inputs * shape.group_outputs * count(shape.kernel)
    return Phase(
        rows=rows,
        out_rows=out_rows,
        segments=np.array(segments),
        pairs=-(-run * depth // 2),
        is_even=run * depth % 2 == 0,
        groups=shape.groups,
        depth=depth,
        columns=columns,
        weight_shape=weight_shape,
        weight_taps=weight_taps,
        weight_steps=np.array([group_step, *weight_steps]),
        taps_T3=_taps_in_weight(shape, taps, run, depth),
    )


def _taps_in_weight(shape: Geometry, taps: tuple[Taps, ...], run: int, depth: int) -> Offsets:
    """Of each tap: its offset in the weight, its segment, and its place in that."""
    _, height, width = shape.kernel
    steps = (height * width, width, 1)
    rows = []
    for number, tap in enumerate(np.ndindex(taps[0].number, taps[1].number, taps[2].number)):
        offset = sum((taps[d].first + tap[d] * taps[d].step) * steps[d] for d in range(3))
        rows.append((offset, number // run, number % run * depth))
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
    offsets.flags.writeable = False
    return offsets
