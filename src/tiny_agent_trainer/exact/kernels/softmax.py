# SPDX-License-Identifier: Apache-2.0
"""Softmax, its logarithm and their derivatives, along rows or along columns.

With m the largest x of a row, t = e^(x - m) in float64, and T the sum of all t, each rounded once
to a multiple of 2^-40 and added in int64: softmax is t / T, its logarithm (x - m) - log(T), all in
float64 and rounded once. Equal largest values give equal m, and no order of additions matters.
Fewer than 2^22 values fit the accumulator; for n of them the error of T is below n 2^-41, T >= 1.
"""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import bits_of_float64, float32_of_bits, kernel
from tiny_agent_trainer.exact.kernels.functions import exp, log, merged
from tiny_agent_trainer.exact.kernels.sums import to_grid

BLOCK: Final = 256
"""Columns worked on together: their t in float64 fit the first cache for up to 16 classes."""

_MAGNITUDE: Final = np.int32(0x7FFFFFFF)
_SIGN_SHIFT: Final = np.int32(31)
_INFINITY: Final = np.int32(0x7F800000)
_LEAST_KEY: Final = np.int32(-0x80000000)
_MINUS_INFINITY_KEY: Final = np.int32(-0x7F800001)

_ROUNDER: Final = 6144.0
"""1.5 * 2^12: adding it leaves the nearest multiple of 2^-40 in the last bits."""

_ROUNDER_BITS: Final = np.int64(0x40B8000000000000)
_UNIT: Final = 2.0**-40


@merged
def _ordered(bits: Any) -> Any:
    """The bits of a float32 as an integer that grows with it; its own inverse."""
    return np.int32(bits ^ ((bits >> _SIGN_SHIFT) & _MAGNITUDE))


@merged
def _value(key: Any) -> Any:
    """The float32 of such an integer, as float64."""
    return np.float64(float32_of_bits(_ordered(key)))


@merged
def _is_defined(key: Any, magnitude: Any) -> Any:
    """Not with NaN, not with infinity, and not where every value is -infinity."""
    return magnitude <= _INFINITY and key > _MINUS_INFINITY_KEY and key < _INFINITY


@merged
def _term(t: Any) -> Any:
    """An exponential t in units of 2^-40."""
    return bits_of_float64(t + _ROUNDER) - _ROUNDER_BITS


@kernel
def forward_rows(
    start: int, stop: int, x_RC: Any, bits_RC: Any, is_log: bool, out_RC: Any, defined_R: Any
) -> None:
    """Softmax of each row, or its logarithm; a row that has none is left and marked."""
    t_C = np.empty(x_RC.shape[1])
    for row in range(start, stop):
        bits_C, key, magnitude = bits_RC[row], _LEAST_KEY, np.int32(0)
        for column in range(len(bits_C)):
            key = max(key, _ordered(bits_C[column]))
            magnitude = max(magnitude, bits_C[column] & _MAGNITUDE)
        defined_R[row] = _is_defined(key, magnitude)
        if defined_R[row]:
            _finish_row(x_RC[row], _value(key), is_log, t_C, out_RC[row])


@merged
def _finish_row(x_C: Any, largest: Any, is_log: Any, t_C: Any, out_C: Any) -> Any:
    terms = np.int64(0)
    for column in range(len(x_C)):
        t_C[column] = exp(np.float64(x_C[column]) - largest)
        terms += _term(t_C[column])
    total = np.float64(terms) * _UNIT
    if is_log:
        level = log(total)
        for column in range(len(x_C)):
            out_C[column] = (np.float64(x_C[column]) - largest) - level
    else:
        for column in range(len(x_C)):
            out_C[column] = t_C[column] / total


@kernel
def forward_columns(
    start: int, stop: int, x_BCI: Any, bits_BCI: Any, is_log: bool, out_BCI: Any, defined_T: Any
) -> None:
    """The same along C; a task is a block of columns, of which all or none are computed."""
    t_CW = np.empty((x_BCI.shape[1], BLOCK))
    largest_W, total_W = np.empty(BLOCK), np.empty(BLOCK)
    blocks = (x_BCI.shape[2] + BLOCK - 1) // BLOCK
    for task in range(start, stop):
        batch, first = task // blocks, task % blocks * BLOCK
        last = min(first + BLOCK, x_BCI.shape[2])
        defined_T[task] = _largest_of_block(bits_BCI[batch], first, last, largest_W)
        if defined_T[task]:
            _exponentials_of_block(x_BCI[batch], first, last, largest_W, t_CW, total_W)
            if is_log:
                _log_of_block(x_BCI[batch], first, last, largest_W, total_W, out_BCI[batch])
            else:
                _divide_block(t_CW, first, last, total_W, out_BCI[batch])


@merged
def _largest_of_block(bits_CI: Any, first: Any, last: Any, largest_W: Any) -> Any:
    key_W, magnitude_W = np.full(BLOCK, _LEAST_KEY), np.zeros(BLOCK, np.int32)
    for c in range(len(bits_CI)):
        bits_W = bits_CI[c, first:last]
        for i in range(len(bits_W)):
            key_W[i] = max(key_W[i], _ordered(bits_W[i]))
            magnitude_W[i] = max(magnitude_W[i], bits_W[i] & _MAGNITUDE)
    undefined = 0
    for i in range(last - first):
        undefined += not _is_defined(key_W[i], magnitude_W[i])
        largest_W[i] = _value(key_W[i])
    return undefined == 0


@merged
def _exponentials_of_block(
    x_CI: Any, first: Any, last: Any, largest_W: Any, t_CW: Any, total_W: Any
) -> Any:
    terms_W = np.zeros(BLOCK, np.int64)
    for c in range(len(x_CI)):
        x_W, t_W = x_CI[c, first:last], t_CW[c]
        for i in range(len(x_W)):
            t_W[i] = exp(np.float64(x_W[i]) - largest_W[i])
            terms_W[i] += _term(t_W[i])
    for i in range(last - first):
        total_W[i] = np.float64(terms_W[i]) * _UNIT


@merged
def _log_of_block(
    x_CI: Any, first: Any, last: Any, largest_W: Any, total_W: Any, out_CI: Any
) -> Any:
    for i in range(last - first):
        total_W[i] = log(total_W[i])
    for c in range(len(x_CI)):
        x_W, out_W = x_CI[c, first:last], out_CI[c, first:last]
        for i in range(len(x_W)):
            out_W[i] = (np.float64(x_W[i]) - largest_W[i]) - total_W[i]


@merged
def _divide_block(t_CW: Any, first: Any, last: Any, total_W: Any, out_CI: Any) -> Any:
    for c in range(len(out_CI)):
        t_W, out_W = t_CW[c], out_CI[c, first:last]
        for i in range(len(out_W)):
            out_W[i] = t_W[i] / total_W[i]


@merged
def _product(g: Any, y: Any, is_log: Any) -> Any:
    """A term of the derivative's sum, exact: g for the logarithm, else g y."""
    return np.float64(g) if is_log else np.float64(g) * np.float64(y)


@merged
def _derivative(g: Any, y: Any, is_log: Any, added: Any) -> Any:
    """For the logarithm g - e^y (sum of g), else y (g - sum of g y)."""
    if is_log:
        return np.float64(g) - exp(np.float64(y)) * added
    return np.float64(y) * (np.float64(g) - added)


@kernel
def backward_rows(
    start: int, stop: int, g_RC: Any, y_RC: Any, scale_R: Any, is_log: bool, out_RC: Any
) -> None:
    """The derivative of each row from its result y; each row has its grid of 1 / scale."""
    for row in range(start, stop):
        g_C, y_C, out_C, scale = g_RC[row], y_RC[row], out_RC[row], scale_R[row]
        terms = np.int64(0)
        for c in range(len(g_C)):
            terms += to_grid(_product(g_C[c], y_C[c], is_log), scale)
        added = np.float64(terms) / scale
        for c in range(len(g_C)):
            out_C[c] = _derivative(g_C[c], y_C[c], is_log, added)


@kernel
def backward_columns(
    start: int, stop: int, g_BCI: Any, y_BCI: Any, scale_BI: Any, is_log: bool, out_BCI: Any
) -> None:
    """The same along C; a task is a block of columns."""
    blocks = (g_BCI.shape[2] + BLOCK - 1) // BLOCK
    for task in range(start, stop):
        batch, first = task // blocks, task % blocks * BLOCK
        last = min(first + BLOCK, g_BCI.shape[2])
        scale_W = scale_BI[batch, first:last]
        added_W = _add_block(g_BCI[batch], y_BCI[batch], first, last, scale_W, is_log)
        for c in range(g_BCI.shape[1]):
            g_W, y_W = g_BCI[batch, c, first:last], y_BCI[batch, c, first:last]
            out_W = out_BCI[batch, c, first:last]
            for i in range(len(g_W)):
                out_W[i] = _derivative(g_W[i], y_W[i], is_log, added_W[i])


@merged
def _add_block(g_CI: Any, y_CI: Any, first: Any, last: Any, scale_W: Any, is_log: Any) -> Any:
    terms_W, added_W = np.zeros(BLOCK, np.int64), np.empty(BLOCK)
    for c in range(len(g_CI)):
        g_W, y_W = g_CI[c, first:last], y_CI[c, first:last]
        for i in range(len(g_W)):
            terms_W[i] += to_grid(_product(g_W[i], y_W[i], is_log), scale_W[i])
    for i in range(last - first):
        added_W[i] = np.float64(terms_W[i]) / scale_W[i]
    return added_W


@kernel
def log_sum_exp_rows(
    start: int, stop: int, x_RC: Any, bits_RC: Any, out_R: Any, defined_R: Any
) -> None:
    """Of each row m + log(T); a row that has none is left and marked."""
    for row in range(start, stop):
        x_C, bits_C, key, magnitude = x_RC[row], bits_RC[row], _LEAST_KEY, np.int32(0)
        for column in range(len(bits_C)):
            key = max(key, _ordered(bits_C[column]))
            magnitude = max(magnitude, bits_C[column] & _MAGNITUDE)
        defined_R[row] = _is_defined(key, magnitude)
        if defined_R[row]:
            largest, terms = _value(key), np.int64(0)
            for column in range(len(x_C)):
                terms += _term(exp(np.float64(x_C[column]) - largest))
            out_R[row] = largest + log(np.float64(terms) * _UNIT)
