# SPDX-License-Identifier: Apache-2.0
"""The writer of `chronicle.cmeta`, the ledger of one run.

Guarantees:
    Equal records, seals and status give equal bytes, whatever was interrupted and resumed in
    between (tests/property, tests/conformance). Not claimed: protection against someone who
    rewrites the whole file; that is what the run's manifest is for [C-19].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from tiny_agent_trainer import durable
from tiny_agent_trainer.meta import chronicle_scan, chronicle_state, frames, record_codec, records

FILE_NAME: Final = "chronicle.cmeta"
"""Name of the ledger inside a run's directory."""


class ChronicleWriter:
    """Appends records to a ledger; made by `create` or `resume`.

    Every record is handed to the operating system at once, so it survives a crash of the process;
    `seal` and `end` sync, so what stands before them survives the loss of power. A failed append
    closes the writer: go on with `resume`.
    """

    def __init__(
        self,
        appender: durable.Appender,
        state: chronicle_state.LedgerState,
        last_seal: records.SealMark,
    ) -> None:
        self._appender = appender
        self._state = state
        self._last_seal = last_seal
        self._is_open = True

    @classmethod
    def create(cls, path: Path, genesis: records.Genesis) -> "ChronicleWriter":
        """Begin a ledger with header, GENESIS and a first SEAL; a file that is there is replaced.

        Raises:
            StorageError: The disk is full, read-only or not permitted.
        """
        state = chronicle_state.LedgerState(genesis)
        body = record_codec.encode_genesis(genesis)
        start = frames.HEADER + frames.encode_frame(frames.FrameType.GENESIS, body)
        seal = frames.encode_frame(frames.FrameType.SEAL, state.next_seal().encode())
        durable.write_atomic(path, start + seal)
        mark = state.absorb_seal(len(start))
        return cls(durable.Appender(path, mark.offset_bytes), state, mark)

    @classmethod
    def resume(cls, path: Path, mark: records.SealMark) -> "ChronicleWriter":
        """Verify a ledger up to a SEAL, cut off everything behind it, and go on from there.

        Raises:
            LedgerError: The file is damaged before the mark, or the mark belongs to another one.
            StorageError: The disk is full, read-only or not permitted.
        """
        state = chronicle_scan.require_mark(path, mark)
        return cls(durable.Appender(path, mark.offset_bytes), state, mark)

    @property
    def last_seal(self) -> records.SealMark:
        """Where the ledger was sealed last; only `seal` makes sure that it survives on disk."""
        return self._last_seal

    def append(self, record: records.Record) -> None:
        """Add one record, and the SEALs that its epoch or the number of records ask for.

        Raises:
            ValueError: The record does not fit the format or the metric table, or the writer is
                closed; nothing of the record is written then.
            TypeError: A metric's value is of another type than the table says.
            StorageError: The disk is full, read-only or not permitted.
        """
        self._require_open()
        try:
            self._append(record)
        except (TypeError, ValueError):
            raise  # the record was refused before anything of it was written
        except BaseException:
            self.close()  # half a frame may stand there: another one behind it would be damage
            raise

    def seal(self) -> records.SealMark:
        """Write a SEAL, unless the last frame is one already, and sync the file.

        Raises:
            StorageError: The disk is full, read-only or not permitted.
        """
        self._require_open()
        with self._closing_on_failure():
            if not self._state.is_sealed:
                self._write_seal()
            self._appender.sync()
        return self._last_seal

    def sync(self) -> None:
        """Make everything written so far survive the loss of power, without a SEAL.

        Raises:
            StorageError: The disk is full, read-only or not permitted.
        """
        self._require_open()
        with self._closing_on_failure():
            self._appender.sync()

    def end(self, status: str) -> None:
        """Close the ledger for good with a SEAL and END.

        Args:
            status: One of `records.STATUSES`.

        Raises:
            ValueError: An unknown status; nothing is written then.
            StorageError: The disk is full, read-only or not permitted.
        """
        self._state.next_end(status).encode()
        self.seal()
        body = self._state.next_end(status).encode()
        with self._closing_on_failure():
            self._appender.append(frames.encode_frame(frames.FrameType.END, body))
            self._appender.sync()
        self.close()

    def close(self) -> None:
        """Release the file without ending the ledger; a closed writer refuses to write."""
        self._is_open = False
        self._appender.close()

    def __enter__(self) -> "ChronicleWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, record: records.Record) -> None:
        state = self._state
        if state.must_seal_before(record.epoch):
            state.require_fit(record)  # a refused record must not leave its SEAL behind
            self._write_seal()
        kind, body = state.encode(record)
        self._appender.append(frames.encode_frame(kind, body))
        state.absorb_record(kind, body, (record.step, record.epoch))
        if state.num_pending == chronicle_state.MAX_SEGMENT_RECORDS:
            self._write_seal()

    def _write_seal(self) -> None:
        offset_bytes = self._appender.length_bytes
        body = self._state.next_seal().encode()
        self._appender.append(frames.encode_frame(frames.FrameType.SEAL, body))
        self._last_seal = self._state.absorb_seal(offset_bytes)

    @contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()  # as in `append`
            raise

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError("the ledger's writer is closed")
