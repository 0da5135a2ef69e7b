# SPDX-License-Identifier: Apache-2.0
"""The only reader of time. What it returns goes into observed files, never into results."""

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time; tests bring their own."""

    def now_utc(self) -> datetime.datetime:
        """The time of day in UTC."""

    def elapsed_s(self) -> float:
        """Seconds since an arbitrary start, never going back."""


class SystemClock:
    """The clock of this machine."""

    def now_utc(self) -> datetime.datetime:
        """The time of day in UTC."""
        return datetime.datetime.now(datetime.UTC)

    def elapsed_s(self) -> float:
        """Seconds since an arbitrary start, never going back."""
        return time.monotonic()


def compact(moment: datetime.datetime) -> str:
    """`yyyymmddThhmmssZ`, the form used in directory names."""
    return moment.strftime("%Y%m%dT%H%M%SZ")


def iso(moment: datetime.datetime) -> str:
    """`yyyy-mm-ddThh:mm:ssZ`, the form used in the journal."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def minutes(count: int) -> datetime.timedelta:
    """A duration, for those who wait."""
    return datetime.timedelta(minutes=count)


def days(count: int) -> datetime.timedelta:
    """A duration, for those who wait."""
    return datetime.timedelta(days=count)
