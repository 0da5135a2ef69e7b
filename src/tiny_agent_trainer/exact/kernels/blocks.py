# SPDX-License-Identifier: Apache-2.0
"""Exponents of blocks and powers of two, inside kernels. Equation (1) of `exact/README.md`."""

from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import (
    bits_of_float64,
    float32_of_bits,
    float64_of_bits,
    inlined,
)

NOT_FINITE: Final = np.int32(0x7F800000)
"""Bits of the magnitude of infinity; those of NaN are larger."""


@inlined
def exponent_of(largest: Any, floor: int) -> Any:
    """The smallest e with max|x| < 2^e, from the bits of max|x|, or the floor if that is larger."""
    exponent: Any = max((np.int64(largest) >> 23) - 126, floor)
    return np.int64(exponent)


@inlined
def exponent_of_float64(x: float) -> Any:
    """The same for a normal float64 that is not negative; 0 for zero, infinity and NaN."""
    field = (bits_of_float64(x) >> 52) & 0x7FF
    return np.int64(0 if field in (0, 0x7FF) else field - 1022)


@inlined
def power_as_float32(exponent: Any) -> Any:
    """2^exponent, for -126 <= exponent <= 127."""
    return float32_of_bits(np.int32((exponent + 127) << 23))


@inlined
def power_as_float64(exponent: Any) -> Any:
    """2^exponent, for -1022 <= exponent <= 1023."""
    return float64_of_bits(np.int64((exponent + 1023) << 52))
