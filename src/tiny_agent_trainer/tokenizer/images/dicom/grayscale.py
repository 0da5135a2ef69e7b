# SPDX-License-Identifier: Apache-2.0
"""Stored values -> values in their unit: modality LUT, or slope and intercept, of each frame.

Source: PS3.3 C.11.1 and C.7.6.16.2.9. A Real World Value Mapping is an alternative to these and is
never applied on top of them; it is not read.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom

from tiny_agent_trainer.tokenizer.images import admission, refusing
from tiny_agent_trainer.tokenizer.images.dicom import decode, enhanced, tags

_EXACT_LIMIT: Final = 1 << 53
"""Integers up to here are float64 themselves, so slope and intercept lose nothing as integers."""


def quantify(
    stored: npt.NDArray[Any], frame: enhanced.Frame, layout: decode.Layout, factor: float = 1.0
) -> npt.NDArray[Any]:
    """Apply a frame's modality transformation.

    Args:
        stored: Integers, shape (rows, columns).
        frame: Where the transformation is described.
        layout: Of the stored values.
        factor: From the unit of the file to the one that is wanted.

    Returns:
        int16 or, where values need it, int32, if slope and intercept are whole numbers and the
        factor is 1; otherwise float32, (stored * slope + intercept) * factor in three operations
        of float64, rounded once.

    Raises:
        DatasetError: A slope of 0, a damaged LUT, values beyond 32 bits.
    """
    macro = frame.macro("PixelValueTransformationSequence")
    tables = tags.items(frame.dataset, "ModalityLUTSequence", frame.key)
    if tables:
        entries = look_up(stored, tables[0], layout.is_signed, frame.key)[0]
        return entries if factor == 1 else admission.admit(entries * np.float64(factor), frame.key)
    slope = (tags.numbers(macro, "RescaleSlope", frame.key, 1) or (1.0,))[0]
    intercept = (tags.numbers(macro, "RescaleIntercept", frame.key, 1) or (0.0,))[0]
    if slope == 0:
        where = f"{frame.key}, {tags.named('RescaleSlope')}"
        raise refusing.refusal(where, "a slope other than 0", "0")
    low, high = layout.stored_range
    reach = max(abs(low), abs(high)) * abs(slope) + abs(intercept)
    is_whole = slope.is_integer() and intercept.is_integer() and factor == 1
    if is_whole and reach < _EXACT_LIMIT:
        return _whole(stored, int(slope), int(intercept), frame.key)
    product = stored.astype(np.float64) * slope
    return admission.admit((product + intercept) * factor, frame.key)


def _whole(stored: npt.NDArray[Any], slope: int, intercept: int, key: str) -> npt.NDArray[Any]:
    """Whole numbers in one pass of the type that the extremes need; a slice is read many times."""
    ends = int(stored.min()), int(stored.max())
    results = [end * slope + intercept for end in ends]
    if not all(admission.INT32[0] <= end <= admission.INT32[1] for end in results):
        expected = f"values from {admission.INT32[0]} to {admission.INT32[1]}"
        raise refusing.refusal(key, expected, f"values from {min(results)} to {max(results)}")
    is_short = all(admission.INT16[0] <= end <= admission.INT16[1] for end in results)
    bounds = admission.INT16 if is_short else admission.INT32
    is_short_way = all(bounds[0] <= number <= bounds[1] for number in (*ends, slope, intercept))
    dtype = np.int16 if is_short else np.int32
    whole: npt.NDArray[np.signedinteger]
    if slope == 1 and is_short_way and stored.dtype.itemsize == np.dtype(dtype).itemsize:
        # Every value fits, so that its bits mean the same without a sign.
        whole = stored.view(dtype)
        return np.add(whole, dtype(intercept)) if intercept else whole
    # Products may leave the type on their way: what comes back into it is exact all the same.
    whole = stored.astype(dtype if is_short_way else np.int64)
    if slope != 1:
        whole *= slope
    if intercept:
        whole += intercept
    return whole.astype(dtype, copy=False)


def look_up(
    values: npt.NDArray[Any],
    item: pydicom.Dataset,
    is_signed: bool,
    key: str,
) -> tuple[npt.NDArray[Any], int]:
    """Apply a lookup table; values before its first and behind its last entry take these.

    Returns:
        The entries, as int16 or int32, and how many bits they have.

    Raises:
        DatasetError: Descriptor and data do not fit together.
    """
    entries, first, bits = descriptor_of(item, is_signed, key)
    table = _table(item, entries, bits, key)
    places = np.clip(values.astype(np.int64) - first, 0, entries - 1)
    return admission.narrow(table[places], key), bits


def descriptor_of(
    item: pydicom.Dataset,
    is_signed: bool,
    key: str,
) -> tuple[int, int, int]:
    """Entries, first value that is mapped, and bits of an entry (PS3.3 C.11.1.1).

    Raises:
        DatasetError: There are not three numbers, or bits beyond 16.
    """
    found = tags.integers(item, "LUTDescriptor", key)
    where = f"{key}, {tags.named('LUTDescriptor')}"
    if len(found) != 3:
        raise refusing.refusal(where, "three numbers", f"{len(found)}")
    entries, first, bits = found[0] or 1 << 16, found[1], found[2]
    if is_signed and first >= 1 << 15:
        first -= 1 << 16
    if not (0 < entries <= 1 << 16 and 8 <= bits <= 16):
        expected = "at most 65536 entries of 8 to 16 bits"
        raise refusing.refusal(where, expected, f"{entries} of {bits}")
    return entries, first, bits


def _table(item: pydicom.Dataset, entries: int, bits: int, key: str) -> npt.NDArray[np.int64]:
    data = tags.binary(item, "LUTData", key)
    where = f"{key}, {tags.named('LUTData')}"
    if isinstance(data, bytes):
        wide = len(data) >= 2 * entries
        order = "<" if getattr(item, "is_little_endian", True) is not False else ">"
        table = np.frombuffer(data, np.uint8 if not wide else np.dtype(order + "u2"))
    else:
        table = np.array(data, np.int64)
    if len(table) < entries:
        raise refusing.refusal(where, f"{entries} entries", f"{len(table)}")
    table = table[:entries].astype(np.int64) & ((1 << 16) - 1)
    if int(table.max()) >= 1 << bits:
        raise refusing.refusal(where, f"entries of {bits} bits", f"{int(table.max())}")
    return table
