# SPDX-License-Identifier: Apache-2.0
"""Dates and times of DICOM as whole microseconds, for differences between them.

Source: PS3.5 6.2, value representations DA, TM and DT.
"""

import calendar
import re
from typing import Final

import pydicom

from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import tags

SECOND: Final = 1_000_000
"""In microseconds, as all of this module."""

DAY: Final = 86400 * SECOND

_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d)(?:([0-5]\d|60)(?:\.(\d{1,6}))?)?")
_DATE: Final = re.compile(r"(\d{4})(\d{2})(\d{2})")
_BOTH: Final = re.compile(r"(\d{8})(\d{4,6}(?:\.\d{1,6})?)([+-]\d{4})?")


def day_of(dataset: pydicom.Dataset, keyword: str, key: str) -> int | None:
    """The beginning of a date, from 1970; None when it is absent.

    Raises:
        DatasetError: It is no date.
    """
    written = tags.text(dataset, keyword, key)
    return _day(written, keyword, key) if written else None


def time_of(dataset: pydicom.Dataset, keyword: str, key: str) -> int | None:
    """What has passed since midnight; None when the time is absent.

    Raises:
        DatasetError: It is no time, or one without minutes.
    """
    written = tags.text(dataset, keyword, key)
    return _time(written, keyword, key) if written else None


def moment_of(dataset: pydicom.Dataset, keyword: str, zone: str, key: str) -> int | None:
    """A date with its time; None when it is absent.

    Args:
        dataset: Where it stands.
        keyword: Its name.
        zone: (0008,0201) of the file, in which dates and times without one are; "" when unknown.
        key: For messages.

    Raises:
        DatasetError: It is none, has no minutes, or is in another zone than the rest of the file.
    """
    written = tags.text(dataset, keyword, key)
    if not written:
        return None
    found = _BOTH.fullmatch(written)
    if not found:
        raise _refused(keyword, "a date with its time", key)
    if found[3] not in (None, zone):
        raise _refused(keyword, f"a time in the zone of the file ({zone or 'none is named'})", key)
    return _day(found[1], keyword, key) + _time(found[2], keyword, key)


def _day(written: str, keyword: str, key: str) -> int:
    found = _DATE.fullmatch(written)
    year, month, day = map(int, found.groups()) if found else (0, 0, 0)
    if not (year >= 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        raise _refused(keyword, "a date, YYYYMMDD", key)
    return calendar.timegm((year, month, day, 0, 0, 0)) * SECOND


def _time(written: str, keyword: str, key: str) -> int:
    found = _TIME.fullmatch(written)
    if not found:
        raise _refused(keyword, "a time, HHMMSS", key)
    hours, minutes, seconds, part = found.groups("0")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * SECOND + int(part.ljust(6, "0"))


def _refused(keyword: str, expected: str, key: str) -> Exception:
    return refusing.refusal(f"{key}, {tags.named(keyword)}", expected, "another text")
