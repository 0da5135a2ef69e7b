# SPDX-License-Identifier: Apache-2.0
"""The types of values that an `Image` may have, and how others become one of them."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.tokenizer.images import refusing

_KEPT: Final = ("uint8", "uint16", "int16", "int32", "float32")
_WIDENED: Final = {"bool": "uint8", "int8": "int16", "float16": "float32"}
"""Every value stays what it is."""

_NARROWED: Final = ("uint32", "int64", "uint64")
"""To int32, where all values fit; refused otherwise."""

INT16: Final = (-(1 << 15), (1 << 15) - 1)
INT32: Final = (-(1 << 31), (1 << 31) - 1)


def admit(values: npt.NDArray[Any], key: str) -> npt.NDArray[Any]:
    """Values of any type as one of the types of an `Image`, in row-major order, little changed.

    Integers and float32 keep their values; float64 is rounded once to float32.

    Raises:
        DatasetError: Integers beyond 32 bits, values that are not finite, or no real numbers.
    """
    name = values.dtype.name
    if name in _KEPT:
        admitted = values.astype(name, copy=False)
    elif name in _WIDENED:
        admitted = values.astype(_WIDENED[name])
    elif name in _NARROWED:
        require_range(values, key, INT32)
        admitted = values.astype(np.int32)
    elif name == "float64":
        with np.errstate(over="ignore"):
            admitted = values.astype(np.float32)
    else:
        raise refusing.refusal(key, "integers of at most 64 bits, or floats", f"type {name}")
    require_finite(admitted, key)
    return np.ascontiguousarray(admitted)


def narrow(values: npt.NDArray[Any], key: str) -> npt.NDArray[Any]:
    """Integers as int16 if all fit, else as int32.

    Raises:
        DatasetError: They do not fit into 32 bits.
    """
    if values.dtype == np.int16:
        return values
    low, high = int(values.min()), int(values.max())
    if INT16[0] <= low and high <= INT16[1]:
        return values.astype(np.int16)
    require_range(values, key, INT32)
    return values.astype(np.int32)


def require_range(values: npt.NDArray[Any], key: str, bounds: tuple[int, int]) -> None:
    """Refuse integers outside of the bounds.

    Raises:
        DatasetError: The smallest or the largest is.
    """
    low, high = int(values.min()), int(values.max())
    if low < bounds[0] or high > bounds[1]:
        expected = f"values from {bounds[0]} to {bounds[1]}"
        raise refusing.refusal(key, expected, f"values from {low} to {high}")


def require_finite(values: npt.NDArray[Any], key: str) -> None:
    """Refuse NaN and infinity, which would spread through every sum.

    Raises:
        DatasetError: There is one, or a float64 that float32 cannot hold.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int(values.size - np.count_nonzero(np.isfinite(values)))
        raise refusing.refusal(key, "finite numbers of 32 bits", f"{count} that are not finite")
