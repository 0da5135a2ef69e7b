# SPDX-License-Identifier: Apache-2.0
"""Values in their unit -> what a screen shows: VOI LUT or window, then MONOCHROME1 inversion.

Source: PS3.3 C.11.2. The output range is that of 16 bits, whatever the file stores, so that images
of one set are alike. Every operation is one IEEE operation of float64 on one value; the result is
rounded half to even. The exponential of SIGMOID is `exact.elementary.exp`, the same everywhere.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.exact.kernels import lookup
from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import enhanced, grayscale, tags

TOP: Final = 65535
"""White."""

_SIGMOID_VALUES: Final = 1 << 16
"""Different values that a sigmoid is computed for, some 20 microseconds each."""

_EXP_LIMIT: Final = 700.0
"""Beyond it a sigmoid is black or white to the last of 16 bits (they need 12)."""

Display = Callable[[npt.NDArray[Any]], npt.NDArray[np.uint16]]


@dataclasses.dataclass(frozen=True, slots=True)
class Voi:
    """How values of interest become gray.

    Attributes:
        show: From values to 0..65535.
        name: For the record, such as "window 0 of 2, LINEAR, center 40, width 400".
    """

    show: Display
    name: str


def voi_of(frame: enhanced.Frame, index: int, *, is_signed: bool) -> Voi | None:
    """The VOI LUT or window of a frame; None when the file has neither.

    Args:
        frame: Where they are described.
        index: Which of several.
        is_signed: Whether values before it can be negative.

    Raises:
        DatasetError: There are some, but not so many; or a window that has no width.
    """
    macro = frame.macro("FrameVOILUTSequence")
    tables = tags.items(macro, "VOILUTSequence", frame.key)
    if tables:
        _require_index(index, len(tables), "VOI LUTs", frame.key)
        return Voi(_by_table(tables[index], is_signed, frame.key), f"VOI LUT {index}")
    centers = tags.numbers(macro, "WindowCenter", frame.key, 0)
    widths = tags.numbers(macro, "WindowWidth", frame.key, 0)
    if not centers and not widths:
        return None
    if len(centers) != len(widths):
        found = f"{len(centers)} centers and {len(widths)} widths of windows"
        raise refusing.refusal(frame.key, "as many centers as widths", found)
    _require_index(index, len(centers), "windows", frame.key)
    function = tags.text(macro, "VOILUTFunction", frame.key) or "LINEAR"
    name = f"window {index} of {len(centers)}, {function}"
    return Voi(window(function, centers[index], widths[index], frame.key), name)


def _require_index(index: int, count: int, what: str, key: str) -> None:
    if index >= count:
        remedy = f"set voi_index to at most {count - 1}"
        raise refusing.refusal(key, f"more than {index} {what}", f"{count}", remedy)


def window(function: str, center: float, width: float, key: str) -> Display:
    """A window as PS3.3 C.11.2.1.2 and C.11.2.1.3 define it, from 0 to 65535.

    Raises:
        DatasetError: An unknown function; a width below 1 (LINEAR) or not above 0.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        expected = "LINEAR, LINEAR_EXACT or SIGMOID"
        raise refusing.refusal(f"{key}, {tags.named('VOILUTFunction')}", expected, function)
    if width < 1 if function == "LINEAR" else width <= 0:
        expected = "at least 1" if function == "LINEAR" else "above 0"
        where = f"{key}, {tags.named('WindowWidth')}"
        raise refusing.refusal(where, f"a width {expected}", f"{width:g}")
    if function == "SIGMOID":
        return lambda values: _sigmoid(values, center, width, key)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    return lambda values: _linear(values, center, width)


def full_range(low: float, high: float) -> Display:
    """The smallest value black, the largest white; for files that have no window."""
    width = high - low
    return lambda values: _linear(values, low + width / 2.0, width)


def invert(shown: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """MONOCHROME1: the smallest value is white, after any VOI transformation (C.7.6.3.1.2).

    In place: nobody else holds what was just made to be shown.
    """
    np.subtract(np.uint16(TOP), shown, out=shown)
    return shown


def _linear(values: npt.NDArray[Any], center: float, width: float) -> npt.NDArray[np.uint16]:
    """Black up to center - width / 2, white above center + width / 2, straight between."""

    def exact(present: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        lower, upper = center - width / 2.0, center + width / 2.0
        middle = np.zeros_like(present)
        if width > 0:
            middle = np.clip((((present - center) / width) + 0.5) * float(TOP), 0.0, float(TOP))
        return np.where(present <= lower, 0.0, np.where(present > upper, float(TOP), middle))

    return _per_value(values, exact)


def _sigmoid(
    values: npt.NDArray[Any], center: float, width: float, key: str
) -> npt.NDArray[np.uint16]:
    def exact(present: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if len(present) > _SIGMOID_VALUES:
            found = f"{len(present)} different values"
            raise refusing.refusal(key, f"at most {_SIGMOID_VALUES} for a sigmoid", found)
        powers = -4.0 * (present - center) / width
        clipped = np.clip(powers, -_EXP_LIMIT, _EXP_LIMIT)
        exponentials = np.array([_exp(float(power)) for power in clipped])
        return float(TOP) / (1.0 + exponentials)

    return _per_value(values, exact, needs_few=True)


@functools.lru_cache(maxsize=_SIGMOID_VALUES)
def _exp(power: float) -> float:
    """Kept between the slices of a volume, which share values and window."""
    return elementary.exp(power)


def _per_value(
    values: npt.NDArray[Any],
    exact: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    *,
    needs_few: bool = False,
) -> npt.NDArray[np.uint16]:
    """Compute once for each different value of int16, and look the others up."""
    if values.dtype == np.int16:
        low = int(values.min())
        present = np.arange(low, int(values.max()) + 1, dtype=np.float64)
        # A negative value is the place that its bits name, so that one look-up is all.
        table = np.zeros(1 << 16, np.uint16)
        table[present.astype(np.int16).view(np.uint16)] = np.rint(exact(present))
        shown = np.empty(values.shape, np.uint16)
        bits = np.ascontiguousarray(values).view(np.uint16)
        lookup.look_up(table, bits.reshape(-1), shown.reshape(-1))
        return shown
    if needs_few:
        some, places = np.unique(values, return_inverse=True)
        few = np.rint(exact(some.astype(np.float64))).astype(np.uint16)
        return few[places].reshape(values.shape)
    return np.rint(exact(values.astype(np.float64))).astype(np.uint16)


def _by_table(item: Any, is_signed: bool, key: str) -> Display:  # noqa: ANN401
    def show(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        if values.dtype.kind != "i":
            raise refusing.refusal(key, "whole numbers before a VOI LUT", "fractions")
        entries, bits = grayscale.look_up(values, item, is_signed, key)
        white = float((1 << bits) - 1)
        scaled = entries.astype(np.float64) * float(TOP) / white
        return np.rint(scaled).astype(np.uint16)

    return show
