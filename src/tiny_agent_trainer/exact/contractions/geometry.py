# SPDX-License-Identifier: Apache-2.0
"""The shape of a convolution, in three spatial dimensions; fewer have leading ones of size 1."""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch

from tiny_agent_trainer.exact import copies

Triple: TypeAlias = tuple[int, int, int]

KEPT: Final = 1024
"""Of so many shapes what was found is kept: a training asks again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """A convolution without transposition, whichever of its three products is computed.

    Attributes:
        samples: Of input and output.
        inputs, outputs: Channels.
        groups: Of channels.
        size: Of the input; `out` of the output; `kernel` of the weight, without dilation.
    """

    samples: int
    inputs: int
    outputs: int
    groups: int
    size: Triple
    out: Triple
    kernel: Triple
    stride: Triple
    padding: Triple
    dilation: Triple

    @property
    def group_inputs(self) -> int:
        """Input channels of a group."""
        return self.inputs // self.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of a group."""
        return self.outputs // self.groups

    @property
    def padded(self) -> Triple:
        """Size of the input with its border of zeros."""
        before, kernel, stride, dilation = self.padding, self.kernel, self.stride, self.dilation
        needed = [
            (self.out[d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1 for d in range(3)
        ]
        return _triple(max(needed[d], self.size[d] + before[d]) for d in range(3))


def of_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Geometry:
    """The geometry of torch's convolution of (N, C, ...) with (O, C / groups, ...)."""
    return _of_convolution(
        tuple(x.shape), tuple(weight.shape), tuple(stride), tuple(padding), tuple(dilation), groups
    )


@functools.lru_cache(maxsize=KEPT)
def _of_convolution(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Geometry:
    spatial = len(x) - 2
    size, kernel = x[2:], weight[2:]
    steps, before, apart = (_expand(v, spatial) for v in (stride, padding, dilation))
    out = tuple(
        (size[d] + 2 * before[d] - apart[d] * (kernel[d] - 1) - 1) // steps[d] + 1
        for d in range(spatial)
    )
    return Geometry(
        samples=x[0], inputs=x[1], outputs=weight[0], groups=groups,
        size=_fill(size), out=_fill(out), kernel=_fill(kernel), stride=_fill(steps),
        padding=_fill(before, 0), dilation=_fill(apart),
    )  # fmt: skip


def of_transposed(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    output_padding: list[int],
    groups: int,
) -> Geometry:
    """The geometry whose input gradient is torch's transposed convolution of x.

    Source:
        torch.nn.ConvTranspose3d: (in - 1) * stride - 2 * padding + dilation * (kernel - 1)
        + output_padding + 1.
    """
    spatial = x.dim() - 2
    out, kernel = tuple(x.shape[2:]), tuple(weight.shape[2:])
    steps, before, apart, extra = (
        _expand(v, spatial) for v in (stride, padding, dilation, output_padding)
    )
    size = tuple(
        (out[d] - 1) * steps[d] - 2 * before[d] + apart[d] * (kernel[d] - 1) + extra[d] + 1
        for d in range(spatial)
    )
    return Geometry(
        samples=x.shape[0], inputs=weight.shape[1] * groups, outputs=x.shape[1], groups=groups,
        size=_fill(size), out=_fill(out), kernel=_fill(kernel), stride=_fill(steps),
        padding=_fill(before, 0), dilation=_fill(apart),
    )  # fmt: skip


def channels_innermost(x: torch.Tensor) -> torch.Tensor:
    """(N, C, ...) as contiguous (N, D, H, W, C); no copy where memory already lies like that."""
    last = copies.contiguous(x.movedim(1, -1))
    ones = (1,) * (5 - x.dim())
    return last.view(last.shape[0], *ones, *last.shape[1:])


def channels_second(x_NDHWC: torch.Tensor, spatial: int) -> torch.Tensor:
    """The other way: a view of shape (N, C, ...) with so many spatial dimensions."""
    shape = (x_NDHWC.shape[0], *x_NDHWC.shape[4 - spatial : 4], x_NDHWC.shape[4])
    return x_NDHWC.view(shape).movedim(-1, 1)


def _expand(values: Sequence[int], spatial: int) -> tuple[int, ...]:
    return tuple(values) * spatial if len(values) == 1 else tuple(values)


def _fill(values: tuple[int, ...], missing: int = 1) -> Triple:
    return _triple((missing,) * (3 - len(values)) + tuple(values))


def _triple(values: Iterable[int]) -> Triple:
    first, second, third = values
    return first, second, third


def count(values: Triple) -> int:
    """The product."""
    return math.prod(values)
