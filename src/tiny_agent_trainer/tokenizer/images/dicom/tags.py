# SPDX-License-Identifier: Apache-2.0
"""Values of elements, read with a refusal that names the tag; and macros of functional groups."""

import functools
import math
import types
from typing import Any, Final

import pydicom
from pydicom import tag as pydicom_tag
from pydicom.dataelem import RawDataElement as Raw

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import plain


def named(keyword: str) -> str:
    """A tag as people look it up, such as "(0028,0030) PixelSpacing"."""
    tag = tag_of(keyword)
    return f"({tag.group:04X},{tag.element:04X}) {keyword}"


_UNREADABLE: Final = object()


class _Element:
    """Turns what pydicom raises at a value into a refusal that names its tag.

    Made for every value of every file: a generator or a filter of warnings would take longer than
    the reading. Callers are inside `refusing.silence`.
    """

    __slots__ = ("_expected", "_key", "_keyword")

    def __init__(self, keyword: str, key: str, expected: str) -> None:
        self._keyword, self._key, self._expected = keyword, key, expected

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: object, error: BaseException | None, _trace: types.TracebackType | None
    ) -> None:
        if isinstance(error, refusing.FOREIGN):
            raise self.refusal(refusing.describe(error)) from error

    def refusal(self, found: str) -> errors.DatasetError:
        """The error that names the tag."""
        where = f"{self._key}, {named(self._keyword)}"
        return refusing.refusal(where, self._expected, found)


def _value(dataset: pydicom.Dataset, keyword: str, key: str) -> Any:  # noqa: ANN401
    """The value of an element; None when it is absent or empty."""
    with _Element(keyword, key, "a value of the standard"):
        value = dataset[tag_of(keyword)].value if is_there(dataset, keyword) else None
        return None if value is None or value == "" else value


def _plain(dataset: pydicom.Dataset, keyword: str) -> plain.Values | None:
    """The values of an element that is written as usual, () of none; None for pydicom to look."""
    element = _stored(dataset, keyword)
    if element is None:
        return ()
    return plain.values_of(element, keyword) if isinstance(element, Raw) else None


def _stored(dataset: pydicom.Dataset, keyword: str) -> object:
    """An element as it is held: raw as long as nobody asked pydicom for its value.

    `_UNREADABLE` for one that pydicom does not even hold, such as one without a length and of an
    unknown type: whoever then asks for its value refuses it by its tag.
    """
    try:
        return dataset.get_item(tag_of(keyword))
    except refusing.FOREIGN:
        return _UNREADABLE


@functools.cache
def tag_of(keyword: str) -> pydicom_tag.BaseTag:
    """The tag of a keyword of the standard; looking it up takes longer than reading an integer."""
    return pydicom_tag.Tag(keyword)


def is_there(dataset: pydicom.Dataset, keyword: str) -> bool:
    """Whether a data set has an element, be it empty."""
    return tag_of(keyword) in dataset


def text(dataset: pydicom.Dataset, keyword: str, key: str) -> str:
    """A text, without the blanks around it; "" when there is none."""
    found = _plain(dataset, keyword)
    if found is not None and len(found) <= 1:
        return str(found[0]).strip(" \0") if found else ""
    value = _value(dataset, keyword, key)
    return "" if value is None else str(value).strip(" \0")


def words(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[str, ...]:
    """A text of several values; () when there is none."""
    return tuple(str(word).strip(" \0") for word in several(dataset, keyword, key))


def integer(dataset: pydicom.Dataset, keyword: str, key: str, default: int | None = None) -> int:
    """An integer.

    Raises:
        DatasetError: It is absent and has no default, or is no integer.
    """
    values = several(dataset, keyword, key)
    if not values and default is not None:
        return default
    if len(values) == 1 and type(values[0]) is int:
        return values[0]
    element = _Element(keyword, key, "one integer")
    if len(values) != 1:
        raise element.refusal(f"{len(values)} values")
    with element:
        number = int(values[0])
        if number != float(values[0]):
            raise element.refusal("a fraction")
        return number


def numbers(dataset: pydicom.Dataset, keyword: str, key: str, count: int) -> tuple[float, ...]:
    """So many finite numbers, or () when there is no value (any number of them for count 0).

    Raises:
        DatasetError: Another number of values, or one that is not finite.
    """
    values = several(dataset, keyword, key)
    if not values:
        return ()
    element = _Element(keyword, key, f"{count or 'some'} finite numbers")
    with element:
        found = tuple(_number(value) for value in values)
    if not all(math.isfinite(number) for number in found):
        raise element.refusal("one that is not finite")
    if count and len(found) != count:
        raise element.refusal(f"{len(found)} numbers")
    return found


def _number(value: Any) -> float:  # noqa: ANN401
    if "_" in str(getattr(value, "original_string", "")):
        raise ValueError("an underscore, which Python alone reads as part of a number")
    return float(value)


def items(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[pydicom.Dataset, ...]:
    """The items of a sequence; () when there is none."""
    if not is_there(dataset, keyword):
        return ()
    value = _value(dataset, keyword, key)
    if value is None:
        return ()
    element = _Element(keyword, key, "a sequence")
    with element:
        found = tuple(value)
        if not all(isinstance(item, pydicom.Dataset) for item in found):
            raise element.refusal("other values")
        return found


def integers(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[int, ...]:
    """Integers, such as a descriptor of a lookup table; () when there is no value."""
    values = several(dataset, keyword, key)
    with _Element(keyword, key, "integers"):
        return tuple(int(value) for value in values)


def binary(dataset: pydicom.Dataset, keyword: str, key: str) -> bytes | tuple[int, ...]:
    """Bytes as stored, or the integers that pydicom made of them."""
    value = _value(dataset, keyword, key)
    if value is None:
        return b""
    return value if isinstance(value, bytes) else integers(dataset, keyword, key)


def raw_bytes(dataset: pydicom.Dataset, keyword: str) -> bytes | None:
    """The bytes of an element that is bytes or words; None when it is absent or anything else."""
    element = _stored(dataset, keyword)
    if isinstance(element, Raw) and element.VR in (None, "OB", "OW"):
        return element.value
    return None


def several(dataset: pydicom.Dataset, keyword: str, key: str) -> tuple[Any, ...]:
    """The values of an element as they are; () when there is none."""
    found = _plain(dataset, keyword)
    if found is not None:
        return found
    value = _value(dataset, keyword, key)
    if value is None:
        return ()
    if isinstance(value, (str, bytes, int, float)):
        return (value,)
    with _Element(keyword, key, "values"):
        return tuple(value) if hasattr(value, "__iter__") else (value,)
