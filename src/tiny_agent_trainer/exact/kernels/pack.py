# SPDX-License-Identifier: Apache-2.0
"""Operands of contractions: float32 rounded once to int16, in the order in which they are read."""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.blocks import (
    NOT_FINITE,
    exponent_of,
    power_as_float32,
    power_as_float64,
)
from tiny_agent_trainer.exact.kernels.compiler import bits_of_float32, inlined, kernel
from tiny_agent_trainer.exact.kernels.dot_block import COLUMNS, address
from tiny_agent_trainer.exact.kernels.instruction_sets import LEFT_PANEL
from tiny_agent_trainer.exact.kernels.pair_block import pair_block
from tiny_agent_trainer.exact.kernels.scan import largest_of_line

_ROUNDER: Final = np.float32(12582912.0)
"""1.5 * 2^23: adding it rounds a float32 below 2^22 to the nearest even integer."""

_ROUNDER_BITS: Final = np.int32(0x4B400000)


@inlined
def quantised_bits(x: Any, scale: Any) -> Any:
    """X * scale to the nearest integer, ties to even; exact product, |x * scale| <= 2^13."""
    return np.int32(bits_of_float32(x * scale + _ROUNDER) - _ROUNDER_BITS)


@inlined
def quantise(x: Any, scale: Any) -> Any:
    """The same, as int16."""
    return np.int16(quantised_bits(x, scale))


@kernel
def pack_rows(
    start: int,
    stop: int,
    x_RK: Any,
    bits: int,
    floor: int,
    power_R: Any,
    fault_R: Any,
    packed_RK: Any,
) -> None:
    """Rows, each scanned and put on its grid at once; the contracted axis lies along the row.

    Args:
        start, stop: Rows.
        x_RK: float32.
        bits: Significant bits of an operand.
        floor: Smallest exponent.
        power_R: float64; what an integer stands for.
        fault_R: bool; whether a row holds NaN or infinity.
        packed_RK: int16, in longer rows, which are filled up with zeros.
    """
    columns = x_RK.shape[1]
    bits_RK = x_RK.view(np.int32)
    for row in range(start, stop):
        found = largest_of_line(bits_RK[row])
        fault_R[row] = found >= NOT_FINITE
        exponent = exponent_of(min(found, NOT_FINITE - np.int32(1)), floor)
        power_R[row] = power_as_float64(exponent - (bits - 1))
        scale = power_as_float32(bits - 1 - exponent)
        for k in range(np.uint64(columns)):
            packed_RK[row, k] = quantise(x_RK[row, k], scale)
        packed_RK[row, columns:] = 0


@kernel
def pack_panels(
    start: int,
    stop: int,
    scale_BN: Any,
    x: Any,
    strides: Any,
    taps_T3: Any,
    depth: int,
    panel_stride: int,
    packed: Any,
) -> None:
    """Columns in panels of COLUMNS: within a panel by segment and pair, two values per column.

    Args:
        start, stop: Panels, counted through all batches.
        scale_BN: float32.
        x: float32, flat.
        strides: int64 (3,): of batches, of the contracted axis, of columns.
        taps_T3: int64: offset of a tap in `x`, the first pair of its segment, and its place
            there, in contracted values; taps of one segment lie one after another.
        depth: Contracted values of a tap.
        panel_stride: From panel to panel, in values.
        packed: int16, flat, zero where nothing is written.
    """
    columns = scale_BN.shape[1]
    panels = (columns + COLUMNS - 1) // COLUMNS
    batch_step, depth_step, column_step = strides
    for task in range(start, stop):
        batch, first = task // panels, (task % panels) * COLUMNS
        width = min(COLUMNS, columns - first)
        for k in range(depth):
            source = batch * batch_step + k * depth_step + first * column_step
            for column in range(width):
                scale = scale_BN[batch, first + column]
                place = np.uint64(source + column * column_step)
                for tap in range(len(taps_T3)):
                    contracted = taps_T3[tap, 2] + k
                    pair = taps_T3[tap, 1] + (contracted >> 1)
                    target = task * panel_stride + 2 * (pair * COLUMNS + column) + (contracted & 1)
                    value = x[place + np.uint64(taps_T3[tap, 0])]
                    packed[np.uint64(target)] = quantise(value, scale)


@kernel
def transpose_pairs(start: int, stop: int, pairs_BNP: Any, packed_BQPC: Any) -> None:
    """Columns whose pairs lie side by side into panels: (B, N, P) to (B, panels, P, COLUMNS).

    Args:
        start, stop: Panels, counted through all batches.
        pairs_BNP: A pair of int16 in each int32.
        packed_BQPC: int32.
    """
    panels, pairs = packed_BQPC.shape[1], pairs_BNP.shape[2]
    columns = pairs_BNP.shape[1]
    for task in range(start, stop):
        batch, panel = task // panels, task % panels
        packed_PC, first = packed_BQPC[batch, panel], panel * COLUMNS
        for column in range(np.uint64(min(COLUMNS, columns - first))):
            pairs_P = pairs_BNP[batch, np.uint64(first) + column]
            for pair in range(np.uint64(pairs)):
                packed_PC[pair, column] = pairs_P[pair]


@kernel
def pack_row_pairs(start: int, stop: int, scale_BC: Any, x_BKC: Any, packed_BNPC: Any) -> None:
    """Panels of columns, in each pairs of rows interleaved; an odd last row meets zeros.

    Args:
        start, stop: Pairs, counted through all batches.
        scale_BC, x_BKC: float32.
        packed_BNPC: A pair of int16 in each int32, zero at first; N panels of COLUMNS columns or
            LEFT_PANEL, at least as many pairs P as there are.
    """
    rows, columns = x_BKC.shape[1:]
    panel_columns = packed_BNPC.shape[3]
    apart = packed_BNPC.shape[2] * panel_columns if panel_columns < COLUMNS else LEFT_PANEL
    pairs = (rows + 1) // 2
    for task in range(start, stop):
        batch, pair = task // pairs, task % pairs
        kept = np.int32(-1 if 2 * pair + 1 < rows else 0)
        first_C = x_BKC[batch, 2 * pair]
        second_C = x_BKC[batch, 2 * pair + 1] if kept else first_C
        scale_C = scale_BC[batch]
        whole = columns // COLUMNS * COLUMNS
        for begin in range(0, whole, COLUMNS):
            panel, place = begin // panel_columns, begin % panel_columns
            pair_block(
                address(first_C, begin), address(second_C, begin), address(scale_C, begin), kept,
                address(packed_BNPC[batch, panel, pair], place), apart,
            )  # fmt: skip
        for column in range(whole, columns):
            panel, place = column // panel_columns, column % panel_columns
            packed_BNPC[batch, panel, pair, place] = _pair(
                first_C[column], second_C[column], scale_C[column], kept
            )


@kernel
def pack_places(
    start: int, stop: int, scale_N: Any, x_NDHWC: Any, offset_D: Any, packed_NDHWC: Any
) -> None:
    """Samples, each on its grid, into the middle of zeros; channels innermost.

    Args:
        start, stop: Lines of all samples, (N, D, H).
        scale_N, x_NDHWC: float32.
        offset_D: int64 (3,): where the first value stands in the padded array.
        packed_NDHWC: int16, zero at first, larger in D, H and W.
    """
    _, depth, height, width, channels = x_NDHWC.shape
    for line in range(start, stop):
        n, d, h = line // (depth * height), line // height % depth, line % height
        scale = scale_N[n]
        for w in range(width):
            source_C = x_NDHWC[n, d, h, w]
            target_C = packed_NDHWC[n, d + offset_D[0], h + offset_D[1], w + offset_D[2]]
            for channel in range(np.uint64(channels)):
                target_C[channel] = quantise(source_C[channel], scale)


@kernel
def pack_pairs(
    start: int, stop: int, scale_C: Any, x_NDHWC: Any, offset_D: Any, packed_PNDHWC: Any
) -> None:
    """Pairs of samples interleaved, each channel on its grid; an odd last sample meets zeros.

    Args:
        start, stop: Lines of all pairs of samples, (P, D, H).
        scale_C, x_NDHWC: float32.
        offset_D: int64 (3,): where the first value stands in the padded array.
        packed_PNDHWC: A pair of int16 in each int32, zero at first; panels of channels outermost,
            half the samples, larger in D, H and W.
    """
    samples, depth, height, width, channels = x_NDHWC.shape
    panel_channels = packed_PNDHWC.shape[5]
    panel_size = packed_PNDHWC.size // packed_PNDHWC.shape[0]
    apart = panel_size if panel_channels < min(COLUMNS, channels) else LEFT_PANEL
    whole = channels // COLUMNS * COLUMNS
    for line in range(start, stop):
        pair, d, h = line // (depth * height), line // height % depth, line % height
        kept = np.int32(-1 if 2 * pair + 1 < samples else 0)
        first_WC = x_NDHWC[2 * pair, d, h]
        second_WC = x_NDHWC[2 * pair + 1, d, h] if kept else first_WC
        packed_PWC = packed_PNDHWC[:, pair, d + offset_D[0], h + offset_D[1], offset_D[2] :]
        for w in range(width):
            first_C, second_C = first_WC[w], second_WC[w]
            for begin in range(0, whole, COLUMNS):
                panel, place = begin // panel_channels, begin % panel_channels
                pair_block(
                    address(first_C, begin), address(second_C, begin), address(scale_C, begin),
                    kept, address(packed_PWC[panel, w], place), apart,
                )  # fmt: skip
            for channel in range(whole, channels):
                panel, place = channel // panel_channels, channel % panel_channels
                packed_PWC[panel, w, place] = _pair(
                    first_C[channel], second_C[channel], scale_C[channel], kept
                )


@inlined
def _pair(first: Any, second: Any, scale: Any, kept: Any) -> Any:
    """One pair, as `pair_block` makes COLUMNS of them."""
    low, high = quantised_bits(first, scale), quantised_bits(second, scale) & kept
    return np.int32((low & np.int32(0xFFFF)) | (high << np.int32(16)))
