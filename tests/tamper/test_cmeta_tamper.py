# SPDX-License-Identifier: Apache-2.0
"""Floods of damage: every cut and tens of thousands of flipped bits are found, none healed wrongly.

Not tested here: a file rewritten to its end with all sums right. It cannot be found from the
ledger alone ([C-19], shown in tests/conformance); the run's manifest finds it.
"""

import os
import random
import struct

import google_crc32c
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.meta import chronicle, chronicle_reader, records

NUM_FLIPS = 20_000
TABLE = (
    records.Metric(name="loss", dtype="f32", unit="1"),
    records.Metric(name="rate", dtype="f64", unit="1"),
)
GENESIS = records.Genesis(experiment_digest="sha256:tamper:0", metrics=TABLE)
CYCLE, STATE, SEAL = 2, 3, 4


def make_history():
    history = []
    for step in range(12):
        metrics = {"loss": 1 / 2 ** (step % 5), "rate": 0.1 * (step + 1)}
        history.append(
            records.CycleRecord(step=step, epoch=step // 5, phase="train", metrics=metrics)
        )
        if step % 5 == 4:
            digests = {"weights": f"{step:064x}"}
            history.append(records.StateRecord(step=step, epoch=step // 5, digests=digests))
    return tuple(history)


HISTORY = make_history()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chronicle.cmeta"


@pytest.fixture
def data(path):
    with chronicle.ChronicleWriter.create(path, GENESIS) as writer:
        for record in HISTORY:
            writer.append(record)
        writer.end("completed")
    return path.read_bytes()


def split(data):
    found, place = [], 16
    while place < len(data):
        stop = place + 13 + struct.unpack_from("<I", data, place)[0]
        found.append(data[place:stop])
        place = stop
    return found


def framed(kind, body):
    length, payload = struct.pack("<I", len(body)), bytes((kind,)) + body
    sums = [struct.pack("<I", google_crc32c.value(part)) for part in (length, payload)]
    return length + sums[0] + payload + sums[1]


def require_found(path, damaged, what):
    """`verify` finds it, and `repair_tail` refuses or leaves a true beginning."""
    path.write_bytes(damaged)
    verdict = chronicle_reader.verify(path)
    assert not (verdict.is_sound and verdict.is_ended), f"not found: {what}"
    assert verdict.is_sound or verdict.problem, what
    try:
        chronicle_reader.repair_tail(path)
    except errors.LedgerError:
        assert path.read_bytes() == damaged, f"refused, but changed: {what}"
        return verdict
    found = chronicle_reader.read(path)
    assert found.records == HISTORY[: len(found.records)], f"healed wrongly: {what}"
    return verdict


def test_nothing_is_found_in_the_untouched_file(data, path):
    """The negative control of everything below."""
    verdict = chronicle_reader.verify(path)
    assert (verdict.is_sound, verdict.is_ended, verdict.problem) == (True, True, None)
    assert chronicle_reader.read(path).records == HISTORY


def test_every_cut_is_found(data, path):
    borders = {16 + sum(map(len, split(data)[:count])) for count in range(len(split(data)) + 1)}
    start = sorted(borders)[2]
    torn = 0
    for size in range(len(data)):
        verdict = require_found(path, data[:size], f"data[:{size}]")
        assert verdict.is_torn_tail == (size > start and size not in borders), size
        assert verdict.is_sound == (size >= start and size in borders), size
        assert verdict.is_sound or verdict.offset_bytes <= size
        torn += verdict.is_torn_tail
    assert torn > 500


def test_flipped_bits_are_found(data, path):
    die = random.Random(20260611)
    for _ in range(NUM_FLIPS):
        place, bit = die.randrange(len(data)), die.randrange(8)
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        verdict = require_found(path, bytes(damaged), f"bit {bit} of byte {place}")
        assert not verdict.is_sound
        assert not verdict.is_torn_tail
        assert verdict.offset_bytes <= place


def test_random_bytes_are_found(data, path):
    """Bursts that a checksum of 32 bits still finds, and floods that it would find by luck."""
    die = random.Random(4)
    for _ in range(2_000):
        place, size = die.randrange(len(data)), die.randrange(1, 60)
        damaged = bytearray(data)
        damaged[place : place + size] = die.randbytes(len(damaged[place : place + size]))
        if damaged != data:
            assert not require_found(path, bytes(damaged), f"{size} bytes at {place}").is_sound


def test_removed_swapped_doubled_and_inserted_frames_are_found(data, path):
    """Every frame here has valid checksums; the chain has to find what they cannot."""
    parts = split(data)
    cases = []
    for place in range(len(parts)):
        cases.append((f"frame {place} removed", place, parts[:place] + parts[place + 1 :]))
        cases.append((f"frame {place} doubled", place + 1, [*parts[: place + 1], *parts[place:]]))
    for place in range(len(parts) - 1):
        swapped = [*parts[:place], parts[place + 1], parts[place], *parts[place + 2 :]]
        cases.append((f"frames {place} and {place + 1} swapped", place, swapped))
    for place in range(2, len(parts)):
        strangers = (framed(CYCLE, bytes(4)), framed(STATE, b"\0\0\1\1a" + bytes(32)))
        cases += [
            (f"a frame inserted at {place}", place, [*parts[:place], stranger, *parts[place:]])
            for stranger in strangers
        ]
    untouched = 0
    for what, place, changed in cases:
        damaged = data[:16] + b"".join(changed)
        if damaged == data:
            untouched += 1
            continue
        verdict = require_found(path, damaged, what)
        if what == f"frame {len(parts) - 1} removed":
            assert verdict.is_sound  # END is gone: sound, but not ended
            continue
        assert not verdict.is_sound, what
        first_touched = 16 + sum(map(len, parts[:place]))
        assert first_touched <= verdict.offset_bytes, what
        seals = [
            16 + sum(map(len, changed[:it])) for it in range(len(changed)) if is_seal(changed[it])
        ]
        later = [seal for seal in seals if seal >= first_touched]
        assert not later or verdict.offset_bytes <= later[0], f"{what}: named too late"
    assert untouched == 0


def is_seal(frame):
    return frame[8] == SEAL


def test_a_changed_record_is_named_by_its_seal_and_its_range(data, path):
    parts = split(data)
    place = next(it for it in range(2, len(parts)) if parts[it][8] == CYCLE) + 1
    body = bytearray(parts[place][9:-4])
    body[-1] ^= 0x02
    parts[place] = framed(CYCLE, bytes(body))
    verdict = require_found(path, data[:16] + b"".join(parts), "a changed value")
    seal = next(it for it in range(place, len(parts)) if is_seal(parts[it]))
    assert verdict.offset_bytes == 16 + sum(map(len, parts[:seal]))
    assert "the records 0 to 5 with chain" in verdict.problem


def test_a_ledger_of_another_experiment_cannot_lend_its_tail(data, path):
    other = records.Genesis(experiment_digest="sha256:tamper:1", metrics=TABLE)
    chronicle.ChronicleWriter.create(path, other).close()
    start = path.read_bytes()
    assert not require_found(path, start + b"".join(split(data)[2:]), "a foreign tail").is_sound


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\0" * 4096,
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b'{"step":1}\n',
        bytes.fromhex("89434d4554410d0a1a00 0100 00000000"),
        bytes.fromhex("89434d4554410d0a1a00 0100"),
        bytes.fromhex("89434d4554410d0a1a00 0100 00000001") + bytes(100),
    ],
    ids=["empty", "zeros", "png", "json", "header only", "half a header", "reserved bytes"],
)
def test_foreign_files_are_refused(path, foreign):
    verdict = require_found(path, foreign, "a foreign file")
    assert not verdict.is_sound
    assert not verdict.is_torn_tail
    assert verdict.num_records == 0
    for read in (chronicle_reader.read, lambda it: list(chronicle_reader.read_range(it, 0, 1))):
        with pytest.raises(errors.LedgerError, match="offset"):
            read(path)


def test_what_is_no_file_is_refused(path, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for place in (path, tmp_path, fifo, tmp_path / "a" / "b"):
        verdict = chronicle_reader.verify(place)
        assert (verdict.is_sound, verdict.offset_bytes) == (False, None)
        with pytest.raises(errors.LedgerError, match="no such file"):
            chronicle_reader.read(place)
        with pytest.raises(errors.LedgerError, match="no such file"):
            list(chronicle_reader.read_range(place, 0, 1))


def test_a_range_of_a_damaged_file_is_right_or_refused(data, path):
    die = random.Random(8)
    refused = 0
    for _ in range(2_000):
        place = die.randrange(len(data))
        damaged = bytearray(data)
        damaged[place] ^= 1 << die.randrange(8)
        path.write_bytes(damaged)
        first = die.randrange(12)
        wanted = [record for record in HISTORY if first <= record.step <= first + 2]
        try:
            assert list(chronicle_reader.read_range(path, first, first + 2)) == wanted
        except errors.LedgerError:
            refused += 1
    assert 200 < refused < 1_900


def test_random_bodies_with_valid_sums_raise_only_ledger_errors(data, path):
    """Hostile bodies: whatever stands in a frame, only `LedgerError` comes out."""
    die = random.Random(9)
    start = data[:16] + b"".join(split(data)[:2])
    for _ in range(3_000):
        kind, body = die.randrange(1, 6), die.randbytes(die.randrange(60))
        path.write_bytes(start + framed(kind, body) * die.randrange(1, 3))
        verdict = chronicle_reader.verify(path)
        assert verdict.problem is None or verdict.offset_bytes >= len(start)
        try:
            list(chronicle_reader.read_range(path, 0, 2**64))
        except errors.LedgerError:
            continue
