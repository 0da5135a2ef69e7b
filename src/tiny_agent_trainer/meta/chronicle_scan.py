# SPDX-License-Identifier: Apache-2.0
"""Walks through a ledger from its start and checks everything that can be checked.

Guarantees:
    Reading takes memory for one frame (1 MiB at most), whatever the file says; the only exception
    is `LedgerError` (tests/tamper). A change to any byte is found; a rewritten file is not [C-19].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from tiny_agent_trainer import errors
from tiny_agent_trainer.meta import chronicle_state, frames, record_codec, records

Noun = records.Genesis | records.Record | records.SealMark | records.EndMark

_KIND = frames.FrameType
_RECORD_KINDS: Final = (frames.FrameType.CYCLE, frames.FrameType.STATE)


class Entry(NamedTuple):
    """One frame and what it says, checked against all frames before it."""

    frame: frames.Frame
    noun: Noun


class Scanner:
    """Reads one ledger from its start.

    Args:
        file: The ledger, positioned at its start.
        where: Its path, for errors.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self._state: chronicle_state.LedgerState | None = None
        self._is_ended = False

    @property
    def state(self) -> chronicle_state.LedgerState:
        """The ledger's state behind the last entry; there is none before GENESIS."""
        if self._state is None:
            raise ValueError("no GENESIS was read")
        return self._state

    @property
    def num_records(self) -> int:
        """How many records were read and found right."""
        return 0 if self._state is None else self._state.num_records

    def entries(self) -> Iterator[Entry]:
        """All entries in order.

        Raises:
            LedgerDamage: At the first place that is not as the format says.
        """
        frames.read_header(self._file, self._where)
        offset_bytes = len(frames.HEADER)
        while (frame := self._next_frame(offset_bytes)) is not None:
            try:
                noun = self._understand(frame)
            except ValueError as error:
                raise self._damage(frame, f"a {frame.kind.name} frame", str(error)) from None
            yield Entry(frame, noun)
            offset_bytes = frame.end_bytes

    def _next_frame(self, offset_bytes: int) -> frames.Frame | None:
        has_begun = self._state is not None and self._state.seal_offset_bytes > 0
        try:
            frame = frames.read_frame(self._file, self._where, offset_bytes)
        except frames.LedgerDamage as damage:
            if has_begun or not damage.is_torn_tail:
                raise
            raise self._no_start(offset_bytes) from None
        if frame is None and not has_begun:
            raise self._no_start(offset_bytes)
        return frame

    def _understand(self, frame: frames.Frame) -> Noun:
        if self._is_ended:
            raise self._damage(frame, "the end of the file behind END", f"a {frame.kind.name}")
        if self._state is None:
            return self._begin(frame)
        if frame.kind in _RECORD_KINDS:
            return self._record(frame, self._state)
        if frame.kind is _KIND.SEAL:
            return self._seal(frame, self._state)
        if frame.kind is _KIND.END:
            return self._end(frame, self._state)
        raise self._damage(frame, "a record, SEAL or END", "a second GENESIS")

    def _begin(self, frame: frames.Frame) -> records.Genesis:
        if frame.kind is not _KIND.GENESIS:
            raise self._damage(frame, "GENESIS as the first frame", frame.kind.name)
        genesis = record_codec.decode_genesis(frame.body)
        self._state = chronicle_state.LedgerState(genesis)
        return genesis

    def _record(self, frame: frames.Frame, state: chronicle_state.LedgerState) -> records.Record:
        record: records.Record
        if frame.kind is _KIND.CYCLE:
            record = state.codec.decode(frame.body)
        else:
            record = record_codec.decode_state(frame.body)
        if state.seal_offset_bytes == 0 or state.must_seal_before(record.epoch):
            raise self._damage(
                frame, f"a SEAL before record {state.num_records}", f"a {frame.kind.name}"
            )
        state.absorb_record(frame.kind, frame.body, (record.step, record.epoch))
        return record

    def _seal(self, frame: frames.Frame, state: chronicle_state.LedgerState) -> records.SealMark:
        if state.is_sealed:
            raise self._damage(frame, "a record or END", "a second SEAL directly behind another")
        right, found = state.next_seal(), record_codec.Seal.decode(frame.body)
        for name, wanted, got in zip(right._fields, right, found, strict=True):
            if wanted != got:
                raise self._damage(
                    frame, f"{_covered(state)} with {name} {_text(wanted)}", _text(got)
                )
        return state.absorb_seal(frame.offset_bytes)

    def _end(self, frame: frames.Frame, state: chronicle_state.LedgerState) -> records.EndMark:
        found = record_codec.End.decode(frame.body)
        right = state.next_end(found.status)
        if not state.is_sealed or found != right:
            raise self._damage(
                frame,
                f"END behind the SEAL at {right.seal_offset_bytes}, root {right.root.hex()}",
                f"END for the SEAL at {found.seal_offset_bytes}, root {found.root.hex()}",
            )
        self._is_ended = True
        return records.EndMark(status=found.status, root=found.root.hex())

    def _no_start(self, offset_bytes: int) -> frames.LedgerDamage:
        return frames.LedgerDamage(
            where=self._where,
            offset_bytes=offset_bytes,
            expected="GENESIS and a first SEAL, which are written together",
            found="a file that ends before them",
        )

    def _damage(self, frame: frames.Frame, expected: str, found: str) -> frames.LedgerDamage:
        place = f"{self._where}, record {self.num_records}"
        return frames.LedgerDamage(
            where=place, offset_bytes=frame.offset_bytes, expected=expected, found=found
        )


@contextmanager
def open_ledger(path: Path) -> Iterator[BinaryIO]:
    """Open a ledger for reading; whatever the disk refuses becomes a `LedgerError`."""
    try:
        if not path.is_file():
            raise _unreadable(path, "no such file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from error


def require_mark(path: Path, mark: records.SealMark) -> chronicle_state.LedgerState:
    """Verify a ledger up to a SEAL and return its state there; what follows is not looked at.

    Raises:
        LedgerError: Damage before the mark, or no SEAL with this chain value at this place.
    """
    with open_ledger(path) as file:
        scanner = Scanner(file, str(path))
        for entry in scanner.entries():
            if entry.frame.end_bytes >= mark.offset_bytes:
                if entry.noun == mark:
                    return scanner.state
                break
    raise errors.LedgerError(
        where=f"{path}, offset {mark.offset_bytes}",
        expected=f"the end of the SEAL over {mark.num_records} records with chain {mark.chain}",
        found="another ledger, or one that ends before",
        remedy="continue from the checkpoint that was written together with this ledger",
    )


def _covered(state: chronicle_state.LedgerState) -> str:
    first = state.num_records - state.num_pending
    return f"a SEAL over the records {first} to {state.num_records - 1}"


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _unreadable(path: Path, found: str) -> errors.LedgerError:
    return errors.LedgerError(
        where=str(path),
        expected="a ledger that can be read",
        found=found,
        remedy="give the path of a chronicle.cmeta, or of the run that holds it",
    )
