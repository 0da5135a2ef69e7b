# SPDX-License-Identifier: Apache-2.0
"""Values of elements, read with a refusal that names the tag; and macros of functional groups."""

import math
from typing import Any

import pydicom
from pydicom import datadict

from tiny_agent_trainer.tokenizer.images import refusing


def named(keyword: str) -> str:
    """A tag as people look it up, such as "(0028,0030) PixelSpacing"."""
    tag = datadict.tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword}"


def _value(dataset: pydicom.Dataset, keyword: str, key: str) -> Any:  # noqa: ANN401
    """The value of an element; None when it is absent or empty."""
    with refusing.foreign(f"{key}, {named(keyword)}", "a value of the standard"):
        value = dataset.get(keyword)
        return None if value is None or value == "" else value


def text(dataset: pydicom.Dataset, keyword: str, key: str) -> str:
    """A text, without the blanks around it; "" when there is none."""
    value = _value(dataset, keyword, key)
    return "" if value is None else str(value).strip(" \0")


def words(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[str, ...]:
    """A text of several values; () when there is none."""
    return tuple(str(word).strip(" \0") for word in _several(dataset, keyword, key))


def integer(dataset: pydicom.Dataset, keyword: str, key: str, default: int | None = None) -> int:
    """An integer.

    Raises:
        DatasetError: It is absent and has no default, or is no integer.
    """
    values = _several(dataset, keyword, key)
    if not values and default is not None:
        return default
    where = f"{key}, {named(keyword)}"
    if len(values) != 1:
        raise refusing.refusal(where, "one value", f"{len(values)} values")
    with refusing.foreign(where, "an integer"):
        number = int(values[0])
        if number != float(values[0]):
            raise refusing.refusal(where, "an integer", "a fraction")
        return number


def numbers(dataset: pydicom.Dataset, keyword: str, key: str, count: int) -> tuple[float, ...]:
    """So many finite numbers, or () when there is no value (any number of them for count 0).

    Raises:
        DatasetError: Another number of values, or one that is not finite.
    """
    values = _several(dataset, keyword, key)
    where = f"{key}, {named(keyword)}"
    with refusing.foreign(where, "numbers"):
        found = tuple(_number(value) for value in values)
        if not all(math.isfinite(number) for number in found):
            raise refusing.refusal(where, "finite numbers", "one that is not")
    if found and count and len(found) != count:
        raise refusing.refusal(where, f"{count} numbers", f"{len(found)}")
    return found


def _number(value: Any) -> float:  # noqa: ANN401
    if "_" in str(getattr(value, "original_string", "")):
        raise ValueError("an underscore, which Python alone reads as part of a number")
    return float(value)


def items(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[pydicom.Dataset, ...]:
    """The items of a sequence; () when there is none."""
    value = _value(dataset, keyword, key)
    if value is None:
        return ()
    with refusing.foreign(f"{key}, {named(keyword)}", "a sequence"):
        found = tuple(value)
        if not all(isinstance(item, pydicom.Dataset) for item in found):
            raise refusing.refusal(f"{key}, {named(keyword)}", "a sequence", "other values")
        return found


def integers(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[int, ...]:
    """Integers, such as a descriptor of a lookup table; () when there is no value."""
    values = _several(dataset, keyword, key)
    with refusing.foreign(f"{key}, {named(keyword)}", "integers"):
        return tuple(int(value) for value in values)


def binary(dataset: pydicom.Dataset, keyword: str, key: str) -> bytes | tuple[int, ...]:
    """Bytes as stored, or the integers that pydicom made of them."""
    value = _value(dataset, keyword, key)
    if value is None:
        return b""
    return value if isinstance(value, bytes) else integers(dataset, keyword, key)


def _several(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[Any, ...]:
    value = _value(dataset, keyword, key)
    if value is None:
        return ()
    if isinstance(value, (str, bytes, int, float)):
        return (value,)
    with refusing.foreign(f"{key}, {named(keyword)}", "values"):
        return tuple(value) if hasattr(value, "__iter__") else (value,)
