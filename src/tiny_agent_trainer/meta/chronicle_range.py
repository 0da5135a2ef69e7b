# SPDX-License-Identifier: Apache-2.0
"""Reads a range of steps without the rest: along the SEALs' back-pointers [C-15].

A SEAL says which steps stand between it and the SEAL before, holds the chain's value at its place,
and every metric after it begins with a keyframe. So a segment can be decoded and checked alone.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tiny_agent_trainer.meta import chronicle_state, frames, record_codec, records

_KIND = frames.FrameType


class _PlacedSeal(NamedTuple):
    """A SEAL and where its frame stands."""

    frame: frames.Frame
    seal: record_codec.Seal

    def chain_behind(self) -> bytes:
        """The chain's value with this SEAL included."""
        return chronicle_state.next_chain(self.seal.chain, _KIND.SEAL, self.frame.body)


class _Ledger(NamedTuple):
    """An open ledger with what its beginning says."""

    file: BinaryIO
    where: str
    size_bytes: int
    genesis: records.Genesis
    first_seal_bytes: int


def records_between(
    file: BinaryIO, where: str, first_step: int, last_step: int
) -> Iterator[records.Record]:
    """The records with steps in `first_step`..`last_step`, in file order; see `read_range`."""
    ledger = _read_start(file, where)
    last_seal = _last_seal(ledger)
    wanted: list[tuple[_PlacedSeal, _PlacedSeal]] = []
    later = last_seal
    while later.frame.offset_bytes != ledger.first_seal_bytes:
        earlier = _seal_before(ledger, later)
        if later.seal.first_step <= last_step and later.seal.last_step >= first_step:
            wanted.append((earlier, later))
        later = earlier
    for start, stop in reversed(wanted):
        yield from _matching(_segment(ledger, start, stop), first_step, last_step)
    yield from _matching(_segment(ledger, last_seal, None), first_step, last_step)


def _read_start(file: BinaryIO, where: str) -> _Ledger:
    size_bytes = file.seek(0, 2)
    file.seek(0)
    frames.read_header(file, where)
    offset_bytes = len(frames.HEADER)
    frame = frames.read_frame(file, where, offset_bytes)
    if frame is None or frame.kind is not _KIND.GENESIS:
        raise _damage(
            where, offset_bytes, "GENESIS", "nothing" if frame is None else frame.kind.name
        )
    try:
        genesis = record_codec.decode_genesis(frame.body)
    except ValueError as error:
        raise _damage(where, offset_bytes, "GENESIS", str(error)) from None
    return _Ledger(file, where, size_bytes, genesis, frame.end_bytes)


def _last_seal(ledger: _Ledger) -> _PlacedSeal:
    end = _end_frame(ledger)
    if end is not None:
        return _read_seal(ledger, _decode_end(ledger, end).seal_offset_bytes)
    place = offset_bytes = ledger.first_seal_bytes
    ledger.file.seek(offset_bytes)
    while (size := frames.read_length(ledger.file, ledger.where, offset_bytes)) is not None:
        if ledger.file.read(1) == bytes((_KIND.SEAL,)):
            place = offset_bytes
        offset_bytes += size + frames.OVERHEAD_BYTES
        ledger.file.seek(offset_bytes)
    return _read_seal(ledger, place)


def _end_frame(ledger: _Ledger) -> frames.Frame | None:
    """END at the end of the file, or None where the bytes there are something else."""
    offset_bytes = ledger.size_bytes - frames.OVERHEAD_BYTES - record_codec.END_BODY_BYTES
    if offset_bytes < ledger.first_seal_bytes:
        return None
    ledger.file.seek(offset_bytes)
    try:
        frame = frames.read_frame(ledger.file, ledger.where, offset_bytes)
    except frames.LedgerDamage:
        return None
    is_end = frame is not None and frame.kind is _KIND.END and frame.end_bytes == ledger.size_bytes
    return frame if is_end else None


def _decode_end(ledger: _Ledger, frame: frames.Frame) -> record_codec.End:
    try:
        return record_codec.End.decode(frame.body)
    except ValueError as error:
        raise _damage(ledger.where, frame.offset_bytes, "END", str(error)) from None


def _seal_before(ledger: _Ledger, later: _PlacedSeal) -> _PlacedSeal:
    offset_bytes = later.seal.previous_offset_bytes
    if not ledger.first_seal_bytes <= offset_bytes < later.frame.offset_bytes:
        found = f"a pointer to {offset_bytes}"
        raise _damage(ledger.where, later.frame.offset_bytes, "a SEAL that points back", found)
    return _read_seal(ledger, offset_bytes)


def _read_seal(ledger: _Ledger, offset_bytes: int) -> _PlacedSeal:
    if not ledger.first_seal_bytes <= offset_bytes < ledger.size_bytes:
        raise _damage(
            ledger.where, ledger.size_bytes, "a SEAL in the file", f"one at {offset_bytes}"
        )
    ledger.file.seek(offset_bytes)
    frame = frames.read_frame(ledger.file, ledger.where, offset_bytes)
    if frame is None or frame.kind is not _KIND.SEAL:
        raise _damage(ledger.where, offset_bytes, "a SEAL", "another frame")
    try:
        return _PlacedSeal(frame, record_codec.Seal.decode(frame.body))
    except ValueError as error:
        raise _damage(ledger.where, offset_bytes, "a SEAL", str(error)) from None


def _segment(ledger: _Ledger, start: _PlacedSeal, stop: _PlacedSeal | None) -> list[records.Record]:
    """The records between two SEALs, checked against both; without `stop`, up to the file's end."""
    codec = record_codec.CycleCodec(ledger.genesis.metrics)
    chain = start.chain_behind()
    found: list[records.Record] = []
    offset_bytes = start.frame.end_bytes
    stop_bytes = ledger.size_bytes if stop is None else stop.frame.offset_bytes
    ledger.file.seek(offset_bytes)
    while offset_bytes < stop_bytes and len(found) < chronicle_state.MAX_SEGMENT_RECORDS:
        frame = frames.read_frame(ledger.file, ledger.where, offset_bytes)
        if frame is None or (stop is None and frame.kind is _KIND.END):
            break
        found.append(_decode(ledger.where, codec, frame))
        chain = chronicle_state.next_chain(chain, frame.kind, frame.body)
        offset_bytes = frame.end_bytes
    if stop is not None and (offset_bytes != stop_bytes or chain != stop.seal.chain):
        raise _damage(
            ledger.where, stop_bytes, f"chain {stop.seal.chain.hex()} before this SEAL", chain.hex()
        )
    return found


def _decode(where: str, codec: record_codec.CycleCodec, frame: frames.Frame) -> records.Record:
    try:
        if frame.kind is _KIND.CYCLE:
            return codec.decode(frame.body)
        if frame.kind is _KIND.STATE:
            return record_codec.decode_state(frame.body)
    except ValueError as error:
        raise _damage(where, frame.offset_bytes, f"a {frame.kind.name}", str(error)) from None
    raise _damage(where, frame.offset_bytes, "a CYCLE or STATE frame", frame.kind.name)


def _matching(
    found: list[records.Record], first_step: int, last_step: int
) -> Iterator[records.Record]:
    return (record for record in found if first_step <= record.step <= last_step)


def _damage(where: str, offset_bytes: int, expected: str, found: str) -> frames.LedgerDamage:
    return frames.LedgerDamage(
        where=where, offset_bytes=offset_bytes, expected=expected, found=found
    )
