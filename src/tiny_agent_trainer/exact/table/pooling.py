# SPDX-License-Identifier: Apache-2.0
"""Pooling. Maxima take the first of equals; averages are sums in a stated order, rounded once.

torch's own loops of max pooling keep a value only if a later one is greater, and add gradients in
the order of the output places; both are single operations in one order for every layout.
"""

import functools
import math

import numpy as np
import torch

from tiny_agent_trainer.exact import windows
from tiny_agent_trainer.exact.table import shapes
from tiny_agent_trainer.exact.table.registry import implements, runs_natively
from tiny_agent_trainer.exact.windows import Table

aten = torch.ops.aten

runs_natively(
    aten.max_pool2d_with_indices.default,
    aten.max_pool2d_with_indices_backward.default,
    aten.max_pool3d_with_indices.default,
    aten.max_pool3d_with_indices_backward.default,
    aten.adaptive_max_pool2d.default,
    aten.adaptive_max_pool2d_backward.default,
    aten.adaptive_max_pool3d.default,
    aten.adaptive_max_pool3d_backward.default,
)


@implements(aten.avg_pool2d.default, aten.avg_pool3d.default)
def avg_pool(
    x: torch.Tensor,
    kernel_size: list[int],
    stride: list[int] | None = None,
    padding: list[int] = [0],  # noqa: B006  # never changed
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Means over windows."""
    if not _fit(x, kernel_size, stride or kernel_size, padding, ceil_mode):
        native = aten.avg_pool2d if len(kernel_size) == 2 else aten.avg_pool3d
        shapes.refuse(native.default, x, kernel_size, stride or kernel_size, padding, ceil_mode)
    tables, divisor = _fixed(
        x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    out = _batched(x, tables)
    return out if divisor == 1 else out / divisor


@implements(aten.avg_pool2d_backward.default, aten.avg_pool3d_backward.default)
def avg_pool_backward(
    gradient: torch.Tensor,
    x: torch.Tensor,
    kernel_size: list[int],
    stride: list[int] | None,
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> torch.Tensor:
    """The transposed map."""
    tables, divisor = _fixed(
        x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    terms = gradient if divisor == 1 else gradient / divisor
    return _batched(terms, [table.transposed() for table in tables])


@implements(aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default)
def adaptive_avg_pool(x: torch.Tensor, output_size: list[int]) -> torch.Tensor:
    """Means over windows that divide the input as evenly as integers allow."""
    return _batched(x, _adaptive(x, output_size))


@implements(aten._adaptive_avg_pool2d_backward.default)
def adaptive_avg_pool2d_backward(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The transposed map."""
    return _adaptive_backward(gradient, x, spatial=2)


@implements(aten._adaptive_avg_pool3d_backward.default)
def adaptive_avg_pool3d_backward(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The same; only its name tells a volume without a dim of samples from images."""
    return _adaptive_backward(gradient, x, spatial=3)


def _adaptive_backward(gradient: torch.Tensor, x: torch.Tensor, spatial: int) -> torch.Tensor:
    tables = _adaptive(x, list(gradient.shape[-spatial:]))
    return _batched(gradient, [table.transposed() for table in tables])


def _fit(
    x: torch.Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool
) -> bool:
    """Whether there are windows in every dim, and none reaches further out than half of it."""
    spatial = len(kernel)
    sizes, steps, before = x.shape[-spatial:], _spread(stride, spatial), _spread(padding, spatial)
    return x.dim() > spatial and all(
        steps[d] > 0
        and 0 <= 2 * before[d] <= kernel[d]
        and _windows(sizes[d], kernel[d], steps[d], before[d], ceil_mode) > 0
        for d in range(spatial)
    )


def _batched(x: torch.Tensor, tables: list[Table]) -> torch.Tensor:
    """With a dim of samples, also where torch allows it to be absent."""
    if x.dim() == len(tables) + 1:
        return windows.apply(x[None], tables)[0]
    return windows.apply(x, tables)


def _fixed(
    x: torch.Tensor,
    kernel_size: list[int],
    stride: list[int] | None,
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> tuple[list[Table], int]:
    """Tables of means, or of sums and the divisor that replaces their counts."""
    spatial = 2 if len(kernel_size) == 2 or (len(kernel_size) == 1 and x.dim() == 4) else 3
    sizes = x.shape[-spatial:]
    kernel, before = _spread(kernel_size, spatial), _spread(padding, spatial)
    steps = _spread(stride or kernel_size, spatial)
    means = divisor_override is None
    tables = [
        _fixed_table(sizes[d], kernel[d], steps[d], before[d], ceil_mode,
                     count_include_pad if means else None)
        for d in range(spatial)
    ]  # fmt: skip
    return tables, divisor_override or 1


@functools.lru_cache(maxsize=256)
def _fixed_table(
    size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, counts_padding: bool | None
) -> Table:
    """Along one dim; `counts_padding` None gives sums.

    Source:
        torch.nn.AvgPool2d: a window may end behind the padding only in ceil mode, starts inside
        the input or its left padding, and counts no place behind the right padding.
    """
    count = _windows(size, kernel, stride, padding, ceil_mode)
    matrix = np.zeros((count, size))
    for out in range(count):
        begin = out * stride - padding
        end = min(begin + kernel, size + padding)
        length = end - begin
        begin, end = max(begin, 0), min(end, size)
        if counts_padding is None:
            length = 1
        elif not counts_padding:
            length = end - begin
        matrix[out, begin:end] = 1.0 / length
    return Table.from_dense(matrix)


def _windows(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """How many along one dim."""
    room = size + 2 * padding - kernel
    count = (math.ceil(room / stride) if ceil_mode else room // stride) + 1
    starts_outside = (count - 1) * stride >= size + padding
    return count - 1 if ceil_mode and starts_outside else count


def _adaptive(x: torch.Tensor, output_size: list[int]) -> list[Table]:
    spatial = len(output_size)
    return [_adaptive_table(x.shape[d - spatial], output_size[d]) for d in range(spatial)]


@functools.lru_cache(maxsize=256)
def _adaptive_table(size: int, out_size: int) -> Table:
    matrix = np.zeros((out_size, size))
    for out in range(out_size):
        begin, end = out * size // out_size, -(-(out + 1) * size // out_size)
        matrix[out, begin:end] = 1.0 / (end - begin)
    return Table.from_dense(matrix)


def _spread(values: list[int], spatial: int) -> list[int]:
    return list(values) * spatial if len(values) == 1 else list(values)
