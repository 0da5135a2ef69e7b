# SPDX-License-Identifier: Apache-2.0
"""`observed/journal.jsonl`: what happened to a run, when; only ever appended to, and chained.

Guarantees:
    When `append` returns, the line survives the loss of power. Processes wait for each other, so
    that no line is lost. A change to any byte of any line is found and its line named. Not claimed:
    that lines cut off the end or a journal written anew show by themselves; the manifest holds the
    sealed part, and status.html the rest.

Source:
    docs/formats/run-v1.md [R-7], [R-8].
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, clock, digests, durable, errors
from tiny_agent_trainer.experiments.run_directory import layout

FILE_NAME: Final = layout.JOURNAL
"""Path of the journal inside a run's directory."""

START: Final = "0" * 64
"""The chain's value before the first line."""

_FIELDS: Final = frozenset({"at", "chain", "event", "facts", "number"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line.

    Args:
        number: Which line, from 1 on.
        at: When, `yyyy-mm-ddThh:mm:ssZ`.
        event: What happened, one word, for example `sealed` or `verified`.
        facts: What else is to be known.
        chain: The chain's value with this line, 64 hexadecimal digits.
    """

    number: int
    at: str
    event: str
    facts: Mapping[str, canonical.JsonValue]
    chain: str


class Journal:
    """A journal open for appending, by any number of processes.

    A last line without its newline is a write that was interrupted; it is cut off on opening.

    Args:
        path: The file; created when absent.
        clock: Where the times come from.

    Raises:
        IntegrityError: The chain does not hold.
        StorageError: The disk is full, read-only or not permitted.
    """

    def __init__(self, path: Path, clock: clock.Clock) -> None:
        self._path = path
        self._clock = clock
        if not path.exists():
            durable.Appender(path).close()
        with held(path):
            _, length_bytes = _read_whole(path)
            with durable.Appender(path, length_bytes) as appender:
                appender.sync()

    def append(self, event: str, **facts: canonical.JsonValue) -> Entry:
        """Add one line and sync it; what another process added meanwhile stays before it.

        Raises:
            ValueError: A fact that is not JSON; nothing is written then.
            IntegrityError: The chain does not hold.
            StorageError: The disk is full, read-only or not permitted, or the journal has grown
                to its limit; what the disk took of the line is cut off again.
        """
        with held(self._path):
            return append_held(self._path, self._clock, event, facts)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep the other processes that read or write a journal waiting.

    Raises:
        IntegrityError: There is no such file.
        StorageError: It may not be written to.
    """
    _require_file(path)
    with durable.exclusive(path):
        yield


def append_held(
    path: Path, now: clock.Clock, event: str, facts: Mapping[str, canonical.JsonValue]
) -> Entry:
    """`Journal.append` for a caller who has it `held`."""
    entries, length_bytes = _read_whole(path)
    number, at = len(entries) + 1, clock.iso(now.now_utc())
    chain = _chain_of(entries[-1].chain if entries else START, number, at, event, facts)
    entry = Entry(number=number, at=at, event=event, facts=facts, chain=chain)
    line = encode(entry)
    if length_bytes + len(line) > layout.GROWING_BYTES:
        raise _too_long(path)
    try:
        with durable.Appender(path, length_bytes) as appender:
            appender.append(line)
            appender.sync()
    except BaseException:
        with suppress(OSError):
            os.truncate(path, length_bytes)
        raise
    return entry


def read(path: Path) -> list[Entry]:
    """Read a journal and verify its chain.

    Raises:
        IntegrityError: The file is not there, or a line is wrong; the line is named.
    """
    with durable.shared(path):
        return read_held(path)


def read_held(path: Path) -> list[Entry]:
    """`read` for a caller who has it `held`."""
    return decode(_read_bytes(path), str(path))


def seal_point(path: Path) -> tuple[int, str]:
    """Length in bytes and SHA-256 of the present content.

    Raises:
        IntegrityError: The file cannot be read.
    """
    data = _read_bytes(path)
    return len(data), digests.sha256_hex(data)


def encode(entry: Entry) -> bytes:
    """The line of one entry, newline included."""
    return canonical.encode_line(
        {
            "at": entry.at,
            "chain": entry.chain,
            "event": entry.event,
            "facts": entry.facts,
            "number": entry.number,
        }
    )


def decode(data: bytes, where: str) -> list[Entry]:
    """Decode a whole journal and verify its chain.

    Raises:
        IntegrityError: A line is not canonical, not in the chain or not whole; the line is named.
    """
    entries: list[Entry] = []
    chain = START
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        try:
            entry = _decode_line(line, number, chain)
        except (ValueError, RecursionError) as error:
            raise _damage(f"{where}, line {number}", str(error)) from None
        entries.append(entry)
        chain = entry.chain
    return entries


def _decode_line(line: bytes, number: int, chain: str) -> Entry:
    if not line.endswith(b"\n"):
        raise ValueError("a line without its end")
    value = canonical.decode_canonical(line)
    if not isinstance(value, Mapping) or set(value) != _FIELDS:
        raise ValueError("a line with other names")
    at, event, facts = value["at"], value["event"], value["facts"]
    if not isinstance(at, str) or not isinstance(event, str) or not isinstance(facts, Mapping):
        raise ValueError("a line with values of other types")  # noqa: TRY004
    if value["number"] is True or value["number"] != number:
        message = f"the number {value['number']!r}"
        raise ValueError(message)
    right = _chain_of(chain, number, at, event, facts)
    if value["chain"] != right:
        message = f"the chain value {value['chain']!r} where {right} belongs"
        raise ValueError(message)
    return Entry(number=number, at=at, event=event, facts=facts, chain=right)


def _chain_of(
    before: str, number: int, at: str, event: str, facts: Mapping[str, canonical.JsonValue]
) -> str:
    rest = canonical.encode({"at": at, "event": event, "facts": facts, "number": number})
    return hashlib.sha256(before.encode() + rest).hexdigest()


def _read_whole(path: Path) -> tuple[list[Entry], int]:
    """The entries, and how many bytes they take; a line without its end is not among them."""
    data = _read_bytes(path)
    whole = data[: data.rfind(b"\n") + 1]
    return decode(whole, str(path)), len(whole)


def _read_bytes(path: Path) -> bytes:
    _require_file(path)
    try:
        if path.stat().st_size > layout.GROWING_BYTES:
            raise _damage(str(path), f"more than {layout.GROWING_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _damage(str(path), error.strerror or type(error).__name__) from error


def _require_file(path: Path) -> None:
    try:
        is_file = path.is_file() and not path.is_symlink()
    except OSError as error:
        raise _damage(str(path), error.strerror or type(error).__name__) from error
    if not is_file:
        raise _damage(str(path), "no such file")


def _too_long(path: Path) -> errors.StorageError:
    return errors.StorageError(
        where=str(path),
        expected=f"a journal of at most {layout.GROWING_BYTES} bytes",
        found="a line too many",
        remedy="archive the run; what was written before is kept",
    )


def _damage(where: str, found: str) -> errors.IntegrityError:
    return errors.IntegrityError(
        where=where,
        expected="a journal whose lines are chained",
        found=found,
        remedy="restore the run from its archive; the journal must not be edited",
    )
