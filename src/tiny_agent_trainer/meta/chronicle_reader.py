# SPDX-License-Identifier: Apache-2.0
"""The reader of `chronicle.cmeta`: whole, by range of steps, as a verdict, and two side by side.

Guarantees:
    No exception but `LedgerError` for whatever stands in the file (tests/tamper); records come out
    with the bits that went in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.meta import (
    chronicle_range,
    chronicle_scan,
    frames,
    record_difference,
    records,
)
from tiny_agent_trainer.meta.record_difference import LedgerDifference
from tiny_agent_trainer.meta.records import EndMark, Record, SealMark

__all__ = [
    "Chronicle",
    "LedgerDifference",
    "LedgerVerdict",
    "first_difference",
    "read",
    "read_range",
    "repair_tail",
    "verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicle:
    """A whole ledger; `end` is None while the run goes on or was interrupted."""

    genesis: records.Genesis
    records: tuple[Record, ...]
    seals: tuple[SealMark, ...]
    end: EndMark | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerVerdict:
    """What `verify` found.

    Args:
        is_sound: Nothing is wrong from the first byte to the last.
        is_ended: The run was closed with END; without it whole records may be missing at the end.
        num_records: Records before the problem, or all.
        problem: The first thing that is wrong, in one sentence; None when sound.
        offset_bytes: Where the problem begins; None when sound or when there is no file.
        is_torn_tail: The file only stops inside its last frame; `repair_tail` can cut that off.
    """

    is_sound: bool
    is_ended: bool
    num_records: int
    problem: str | None
    offset_bytes: int | None
    is_torn_tail: bool


def read(path: Path) -> Chronicle:
    """Read and verify a whole ledger.

    Raises:
        LedgerError: Anything is wrong, a torn tail too.
    """
    genesis: records.Genesis | None = None
    found: list[records.Record] = []
    seals: list[records.SealMark] = []
    end: records.EndMark | None = None
    size_bytes = 0
    for frame, noun in _entries(path):
        size_bytes = frame.end_bytes
        match noun:
            case records.Genesis():
                genesis = noun
            case records.SealMark():
                seals.append(noun)
            case records.EndMark():
                end = noun
            case _:
                found.append(noun)
    assert genesis is not None  # the scanner refuses a file without one
    return Chronicle(
        genesis=genesis,
        records=tuple(found),
        seals=tuple(seals),
        end=end,
        size_bytes=size_bytes,
    )


def read_range(path: Path, first_step: int, last_step: int) -> Iterator[records.Record]:
    """The records whose step is in `first_step`..`last_step`, both included, in file order.

    Only the segments between SEALs that hold such steps are decoded, and each is checked against
    the chain values of the SEALs around it; the rest of the file is not read.

    Raises:
        LedgerError: While iterating: what had to be read is damaged.
    """
    with chronicle_scan.open_ledger(path) as file:
        yield from chronicle_range.records_between(file, str(path), first_step, last_step)


def verify(path: Path) -> LedgerVerdict:
    """Check a ledger from its first byte to its last; damage is a verdict, never an exception."""
    num_records, is_ended = 0, False
    try:
        for _, noun in _entries(path):
            num_records += isinstance(noun, records.CycleRecord | records.StateRecord)
            is_ended = isinstance(noun, records.EndMark)
    except errors.LedgerError as error:
        return LedgerVerdict(
            is_sound=False,
            is_ended=False,
            num_records=num_records,
            problem=error.fault,
            offset_bytes=error.offset_bytes if isinstance(error, frames.LedgerDamage) else None,
            is_torn_tail=isinstance(error, frames.LedgerDamage) and error.is_torn_tail,
        )
    return LedgerVerdict(
        is_sound=True,
        is_ended=is_ended,
        num_records=num_records,
        problem=None,
        offset_bytes=None,
        is_torn_tail=False,
    )


def repair_tail(path: Path) -> int:
    """Cut a torn tail back to the last whole frame and return how many bytes went.

    A sound ledger stays as it is.

    Raises:
        LedgerError: Something else is wrong; the file stays as it is.
        StorageError: The disk is read-only or not permitted.
    """
    try:
        for _ in _entries(path):
            pass
    except frames.LedgerDamage as damage:
        if not damage.is_torn_tail:
            raise
        size_bytes = damage.offset_bytes
    else:
        return 0
    cut_bytes = path.stat().st_size - size_bytes
    with durable.Appender(path, size_bytes) as appender:
        appender.sync()
    return cut_bytes


def first_difference(a: Path, b: Path) -> LedgerDifference | None:
    """The first cycle in which two ledgers differ, and the field that comes first in cause.

    Within the records of one step and epoch, the order is: digest of the data order, loss, other
    metrics, digests of the state. GENESIS is compared last, because two experiments that differ
    there can still be asked where their numbers part.

    Returns:
        None when every record, GENESIS and END are equal bit for bit.

    Raises:
        LedgerError: One of the files is damaged before the first difference.
    """
    with chronicle_scan.open_ledger(a) as file_a, chronicle_scan.open_ledger(b) as file_b:
        return record_difference.first_of(
            chronicle_scan.Scanner(file_a, str(a)).entries(),
            chronicle_scan.Scanner(file_b, str(b)).entries(),
        )


def _entries(path: Path) -> Iterator[chronicle_scan.Entry]:
    with chronicle_scan.open_ledger(path) as file:
        yield from chronicle_scan.Scanner(file, str(path)).entries()
