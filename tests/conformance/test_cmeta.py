# SPDX-License-Identifier: Apache-2.0
"""The ledger's bytes against docs/formats/cmeta-v1.md: one test per clause, named after it.

The frames are taken apart and put together here by hand, with a CRC of its own, so that a fault
that the writer and the reader share would show.

Not tested here: random records and resumes (tests/property), floods of damage (tests/tamper).
"""

import hashlib
import json
import re
import struct
from pathlib import Path

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.meta import chronicle, chronicle_reader, frames, records

DOCUMENT = Path(__file__).parents[2] / "docs/formats/cmeta-v1.md"
HEADER = bytes.fromhex("89434d4554410d0a1a00 0100 00000000")
GENESIS, CYCLE, STATE, SEAL, END = 1, 2, 3, 4, 5
DIGEST = "ab" * 32

TABLE = (
    records.Metric(name="loss", dtype="f32", unit="1"),
    records.Metric(name="rate", dtype="f64", unit="1/step"),
    records.Metric(name="seen", dtype="i64", unit="samples"),
)


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def frame(kind, body):
    length = struct.pack("<I", len(body))
    payload = bytes((kind,)) + body
    sums = struct.pack("<I", crc32c(length)), struct.pack("<I", crc32c(payload))
    return length + sums[0] + payload + sums[1]


def split(data):
    """(offset, type, body) of every frame, by the lengths alone."""
    found, place = [], 16
    while place < len(data):
        size = struct.unpack_from("<I", data, place)[0]
        found.append((place, data[place + 8], data[place + 9 : place + 9 + size]))
        place += 13 + size
    assert place == len(data)
    return found


def cycle(step, epoch=0, phase="train", **metrics):
    return records.CycleRecord(step=step, epoch=epoch, phase=phase, metrics=metrics)


def state(step, epoch=0):
    return records.StateRecord(
        step=step, epoch=epoch, digests={"weights": DIGEST, "data_order": "cd" * 32}
    )


def written(path, found, status="completed"):
    genesis = records.Genesis(experiment_digest="sha256:x:00", metrics=TABLE)
    with chronicle.ChronicleWriter.create(path, genesis) as writer:
        for record in found:
            writer.append(record)
        if status is not None:
            writer.end(status)
    return path.read_bytes()


def bodies(data, kind):
    return [body for _, found, body in split(data) if found == kind]


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(errors.LedgerError) as caught:
        chronicle_reader.read(path)
    verdict = chronicle_reader.verify(path)
    assert not verdict.is_sound
    return caught.value


def chain_through(data, upto):
    """h before the frame at offset `upto`, by [C-12]."""
    value = hashlib.sha256(data[:16]).digest()
    for place, kind, body in split(data):
        if place == upto:
            break
        value = hashlib.sha256(b"\x02" + value + bytes((kind,)) + body).digest()
    return value


def root_of(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + root_of(leaves[:half]) + root_of(leaves[half:])).digest()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chronicle.cmeta"


def test_every_clause_has_a_test():
    clauses = re.findall(r"^- \*\*\[C-(\d+)\]", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    tested = {m.group(1) for name in globals() if (m := re.match(r"test_c(\d+)_", name))}
    assert clauses == [str(number) for number in range(1, len(clauses) + 1)]
    assert set(clauses) == tested


def test_c1_header(path):
    data = written(path, [cycle(1, loss=0.5)])
    assert data[:16] == HEADER
    as_text = data.replace(b"\r\n", b"\n")
    assert "offset 0" in str(refused(path, as_text))


def test_c2_frames(path):
    data = written(path, [cycle(1, loss=0.5), state(1)])
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's polynomial
    rebuilt = HEADER + b"".join(frame(kind, body) for _, kind, body in split(data))
    assert rebuilt == data


def test_c3_bounded_bodies(path):
    data = written(path, [], status=None)
    limit = 1 << 20
    length = struct.pack("<I", limit + 1)
    endless = data + length + struct.pack("<I", crc32c(length))
    assert "1048577" in str(refused(path, endless))
    assert not chronicle_reader.verify(path).is_torn_tail
    assert "counted as" in str(refused(path, data + frame(CYCLE, bytes([255]) * limit)))


@pytest.mark.parametrize("kind", [0, 6, 255])
def test_c4_unknown_types(path, kind):
    data = written(path, [], status=None)
    assert f"type {kind}" in str(refused(path, data + frame(kind, b"")))


def test_c4_order_of_frames(path):
    data = written(path, [cycle(1, loss=0.5)])
    genesis, seal, record, seal_2, end = (frame(kind, body) for _, kind, body in split(data))
    assert HEADER + genesis + seal + record + seal_2 + end == data
    assert "GENESIS as the first" in str(refused(path, HEADER + seal + genesis + record))
    assert "a second GENESIS" in str(refused(path, HEADER + genesis + seal + genesis))
    assert "a SEAL before record 0" in str(refused(path, HEADER + genesis + record))
    assert "behind END" in str(refused(path, data + record))
    for short in (HEADER, HEADER + genesis, HEADER + genesis + seal[:-1], HEADER + genesis[:9]):
        assert "ends before them" in str(refused(path, short))
        assert not chronicle_reader.verify(path).is_torn_tail


def test_c5_genesis(path):
    (body,) = bodies(written(path, []), GENESIS)
    assert json.loads(body) == {
        "experiment_digest": "sha256:x:00",
        "metrics": [
            {"dtype": "f32", "name": "loss", "unit": "1"},
            {"dtype": "f64", "name": "rate", "unit": "1/step"},
            {"dtype": "i64", "name": "seen", "unit": "samples"},
        ],
    }
    assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()


GOOD_METRIC = '{"dtype":"f32","name":"a","unit":"1"}'


@pytest.mark.parametrize(
    "body",
    [
        '{"experiment_digest": "x","metrics":[]}',  # a blank: not canonical
        '{"metrics":[],"experiment_digest":"x"}',  # names out of order
        '{"experiment_digest":"x","experiment_digest":"x","metrics":[]}',
        '{"experiment_digest":"x","metrics":[],"more":1}',
        '{"experiment_digest":"x"}',
        '{"experiment_digest":1,"metrics":[]}',
        '{"experiment_digest":"","metrics":[]}',
        '{"experiment_digest":"x","metrics":{}}',
        '{"experiment_digest":"x","metrics":[1]}',
        '{"experiment_digest":"x","metrics":[' + GOOD_METRIC + "," + GOOD_METRIC + "]}",
        '{"experiment_digest":"x","metrics":[' + GOOD_METRIC.replace("f32", "f16") + "]}",
        '{"experiment_digest":"x","metrics":[' + GOOD_METRIC.replace('"a"', '" a"') + "]}",
        '{"experiment_digest":"x","metrics":[' + GOOD_METRIC.replace('"a"', '"\\u001b"') + "]}",
        '{"experiment_digest":"x","metrics":[' + GOOD_METRIC.replace('"a"', '"\\ud800"') + "]}",
        '{"experiment_digest":"x","metrics":[' + GOOD_METRIC.replace("a", "a" * 256) + "]}",
        '{"experiment_digest":"x","metrics":' + "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "1" * 10_000,
        "NaN",
        "",
        "\ufeff{}",
    ],
)
def test_c5_genesis_refused(path, body):
    error = refused(path, HEADER + frame(GENESIS, body.encode()))
    assert "offset 16" in str(error)
    assert "ends before them" not in str(error)


def test_c6_counted_integers(path):
    numbers = [0, 1, -1, 127, -128, 128, 2**63 - 1, -(2**63)]
    data = written(path, [cycle(300 * i, seen=seen) for i, seen in enumerate(numbers)])
    found = bodies(data, CYCLE)
    assert found[0] == bytes.fromhex("00 00 00 04 00")
    assert found[1] == bytes.fromhex("022c01 00 00 04 0102")
    assert found[2] == bytes.fromhex("025802 00 00 04 0103")
    # the last step is from 2^63 - 1 to -2^63: a difference of -(2^64 - 1)
    assert found[7] == bytes.fromhex("023408 00 00 04 09 fdffffffffffffff01")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("0100 00 00 00", "counted as 1"),  # zero with a byte
        ("020100 00 00 00", "counted as 2"),  # one with a leading zero
        ("0a01010101010101010101 00 00 00", "counted as 10"),
        ("08ffffffffffffffff 00 00 00", "2^63"),
        ("00 00 00 04 05ff", "counted as 5"),  # ends within the number
        ("00 00 00 04", "ends before a metric"),
        ("00 00 00", "early"),
        ("00 00 00 00 00", "behind the last metric"),
        ("00 00 04 00", "phase 4"),
        ("00 00 00 08 0101", "beyond the table"),
        ("00 00 00 01 09ffffffffffffffff01", "leaves the range"),
        ("00 00 00 04 09010000000000000001", "leaves the range"),
    ],
)
def test_c6_one_spelling(path, body, why):
    start = written(path, [], status=None)
    assert why in str(refused(path, start + frame(CYCLE, bytes.fromhex(body))))


def test_c7_cycle(path):
    made = [
        cycle(1, 0, "train", loss=1.0, seen=5),
        cycle(1, 0, "epoch", seen=7),
        cycle(1, 0, "validation", rate=1.0),
        cycle(1, 0, "test", loss=1.0000001192092896),
    ]
    found = bodies(written(path, made), CYCLE)
    one_f32, one_f64 = 2 * 0x3F800000, 2 * 0x3FF0000000000000
    assert found == [
        bytes.fromhex("0101 00 00 05 04") + one_f32.to_bytes(4, "little") + bytes.fromhex("010a"),
        bytes.fromhex("0101 00 01 04 0104"),
        bytes.fromhex("0101 00 02 02 08") + one_f64.to_bytes(8, "little"),
        bytes.fromhex("0101 00 03 01 0102"),
    ]


def test_c8_images(path):
    as_f64 = lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0]  # noqa: E731
    bits = [
        0,
        1 << 63,
        0x7FF << 52,
        0xFFF << 52,
        0x7FF0000000000001,
        0xFFF8000000000F00,
        1,
        2**64 - 1,
    ]
    data = written(path, [cycle(step, rate=as_f64(number)) for step, number in enumerate(bits)])
    read = [record.metrics["rate"] for record in chronicle_reader.read(path).records]
    assert [int.from_bytes(struct.pack("<d", value), "little") for value in read] == bits
    assert bodies(data, CYCLE)[0][4:] == b"\x00"  # +0.0 is 0
    assert bodies(data, CYCLE)[1][5:] == b"\x01\x01"  # -0.0 is -1


def test_c8_signalling_nan_of_f32(path):
    narrow = 0x7F800001
    wide = struct.unpack("<d", (0x7FF << 52 | 1 << 29).to_bytes(8, "little"))[0]
    data = written(path, [cycle(0, loss=wide)])
    assert bodies(data, CYCLE)[0][4:] == b"\x04" + (2 * narrow).to_bytes(4, "little")
    assert struct.pack("<d", chronicle_reader.read(path).records[0].metrics["loss"]) == struct.pack(
        "<d", wide
    )


def test_c8_keyframe_behind_every_seal(path):
    genesis = records.Genesis(experiment_digest="x", metrics=TABLE)
    with chronicle.ChronicleWriter.create(path, genesis) as writer:
        for _ in range(3):
            writer.append(cycle(1, rate=0.1))
            writer.seal()
    assert len(set(bodies(path.read_bytes(), CYCLE))) == 1


@pytest.mark.parametrize("metrics", [{"loss": 0.1}, {"loss": 1e300}, {"seen": 2**63}])
def test_c8_nothing_is_rounded(path, metrics):
    with pytest.raises(ValueError, match=r"not a binary32|64 bits"):
        written(path, [cycle(1, **metrics)])


def test_c9_state(path):
    (body,) = bodies(written(path, [state(7, 2)]), STATE)
    assert body == (
        bytes.fromhex("0107 0102 02")
        + b"\x0adata_order" + bytes.fromhex("cd" * 32)
        + b"\x07weights" + bytes.fromhex(DIGEST)
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\2" + b"\1b" + bytes(32) + b"\1a" + bytes(32),
        b"\0\0\2" + b"\1a" + bytes(32) + b"\1a" + bytes(32),
        b"\0\0\1" + b"\0" + bytes(32),
        b"\0\0\1" + b"\1\xff" + bytes(32),
        b"\0\0\1" + b"\1a" + bytes(31),
        b"\0\0\0\0",
        b"\0\0\xff",
        b"",
    ],
)
def test_c9_state_refused(path, body):
    start = written(path, [], status=None)
    assert "a STATE frame" in str(refused(path, start + frame(STATE, body)))


def test_c10_seal(path):
    data = written(path, [cycle(9, loss=1.0), cycle(4, loss=1.0), cycle(6, loss=1.0)])
    places = [(place, body) for place, kind, body in split(data) if kind == SEAL]
    leaves = [bytes((kind,)) + body for _, kind, body in split(data) if kind in (CYCLE, STATE)]
    (first_place, first), (place, last) = places
    assert first == struct.pack(
        "<QQQQ32s32s", 0, 0, 0, 0, chain_through(data, first_place), root_of([])
    )
    assert last == struct.pack(
        "<QQQQ32s32s", 3, first_place, 4, 9, chain_through(data, place), root_of(leaves)
    )


@pytest.mark.parametrize("field", range(6))
def test_c10_every_field_is_checked(path, field):
    data = written(path, [cycle(9, loss=1.0)])
    *_, (place, _, body), _ = split(data)
    values = list(struct.unpack("<QQQQ32s32s", body))
    values[field] = values[field] + 1 if field < 4 else bytes(32)
    error = refused(path, data[:place] + frame(SEAL, struct.pack("<QQQQ32s32s", *values)))
    name = ("num_records", "previous_offset_bytes", "first_step", "last_step", "chain", "root")
    assert f"offset {place}" in str(error)
    assert name[field] in str(error)


@pytest.mark.parametrize("status", ["completed", "stopped_early"])
def test_c11_end(path, status):
    data = written(path, [cycle(1, loss=1.0), state(1)], status)
    *_, (place, kind, _), (_, end, body) = split(data)
    leaves = [bytes((it,)) + body for _, it, body in split(data) if it in (CYCLE, STATE)]
    assert (kind, end) == (SEAL, END)
    code = ("completed", "stopped_early").index(status)
    assert body == struct.pack("<BQ32s", code, place, root_of(leaves))
    chronicle_end = chronicle_reader.read(path).end
    assert (chronicle_end.status, chronicle_end.root) == (status, root_of(leaves).hex())
    *_, (end_place, _, _) = split(data)
    for wrong in (b"\2" + body[1:], body[:1] + bytes(8) + body[9:], body[:-1] + b"\0", body[:-1]):
        if wrong != body:
            assert f"offset {end_place}" in str(refused(path, data[:end_place] + frame(END, wrong)))
    first_seal = next(it for it, kind, _ in split(data) if kind == SEAL)
    unsealed = struct.pack("<BQ32s", code, first_seal, root_of(leaves))
    assert f"offset {place}" in str(refused(path, data[:place] + frame(END, unsealed)))


def test_c12_chain(path):
    data = written(path, [cycle(1, loss=1.0), state(1)])
    chronicle_ = chronicle_reader.read(path)
    for mark, (place, _, body) in zip(
        chronicle_.seals, [it for it in split(data) if it[1] == SEAL], strict=True
    ):
        before = chain_through(data, place)
        after = hashlib.sha256(b"\x02" + before + bytes((SEAL,)) + body).hexdigest()
        assert (mark.chain, mark.offset_bytes) == (after, place + 13 + 96)


def test_c13_root(path):
    made = [cycle(step, loss=float(step)) for step in range(70)] + [state(70)]
    data = written(path, made)
    leaves = [bytes((kind,)) + body for _, kind, body in split(data) if kind in (CYCLE, STATE)]
    assert len(leaves) == 71
    assert chronicle_reader.read(path).end.root == root_of(leaves).hex()


def test_c14_cadence(path):
    made = [cycle(step, step // 100, loss=1.0) for step in range(170)]
    kinds = [kind for _, kind, _ in split(written(path, made))]
    runs = re.findall(r"2+|4+", "".join(map(str, kinds)))
    assert [len(run) for run in runs] == [1, 64, 1, 36, 1, 64, 1, 6, 1]


def test_c14_cadence_is_required(path):
    """What a careless writer would leave out or add is refused, with all sums right."""
    start = written(path, [], status=None)
    record = lambda epoch: frame(CYCLE, bytes((0, 1, epoch, 0, 0)))  # noqa: E731
    assert "a SEAL before record 64" in str(refused(path, start + record(1) * 65))
    assert "a SEAL before record 1" in str(refused(path, start + record(1) + record(2)))
    (_, _, first), *_ = [it for it in split(start) if it[1] == SEAL]
    assert "second SEAL" in str(refused(path, start + frame(SEAL, first)))


def test_c14_asking_twice_seals_once(path):
    genesis = records.Genesis(experiment_digest="x", metrics=TABLE)
    with chronicle.ChronicleWriter.create(path, genesis) as writer:
        writer.append(cycle(1, loss=1.0))
        assert writer.seal() == writer.seal() == writer.last_seal
    assert [kind for _, kind, _ in split(path.read_bytes())] == [GENESIS, SEAL, CYCLE, SEAL]


@pytest.mark.parametrize("status", ["completed", None])
def test_c15_range(path, status):
    made = [cycle(step, step // 90, loss=float(step)) for step in range(200)]
    made.insert(150, cycle(20, 1, "test", loss=-1.0))  # steps need not rise
    written(path, made, status)
    for first, last in ((0, 999), (63, 64), (20, 20), (199, 199), (150, 3), (500, 600)):
        wanted = [record for record in made if first <= record.step <= last]
        assert list(chronicle_reader.read_range(path, first, last)) == wanted


def test_c15_other_segments_are_not_read(path):
    made = [cycle(step, loss=float(step)) for step in range(200)]
    data = written(path, made)
    damaged = bytearray(data)
    first_record = next(place for place, kind, _ in split(data) if kind == CYCLE)
    damaged[first_record + 10] ^= 1
    path.write_bytes(damaged)
    assert list(chronicle_reader.read_range(path, 130, 131)) == made[130:132]
    with pytest.raises(errors.LedgerError, match=f"offset {first_record}"):
        list(chronicle_reader.read_range(path, 3, 3))


def test_c15_segments_are_checked_and_pointers_point_back(path):
    made = [cycle(step, loss=float(step)) for step in range(130)]
    data = written(path, made)
    parts = split(data)
    second = [place for place, kind, _ in parts if kind == SEAL][1]
    third = [place for place, kind, _ in parts if kind == SEAL][2]
    place, _, body = parts[5]
    forged = frame(CYCLE, body[:-1] + bytes((body[-1] ^ 2,)))
    path.write_bytes(data[:place] + forged + data[place + len(forged) :])
    with pytest.raises(errors.LedgerError, match=rf"offset {second}: .*chain"):
        list(chronicle_reader.read_range(path, 0, 5))
    body = bytearray(next(body for place, _, body in parts if place == third))
    for target in (third, third + 109, 0, 2**63):
        body[8:16] = target.to_bytes(8, "little")
        path.write_bytes(data[:third] + frame(SEAL, bytes(body)) + data[third + 109 :])
        with pytest.raises(errors.LedgerError, match="points back"):
            list(chronicle_reader.read_range(path, 0, 5))


def test_c16_resume(path):
    made = [cycle(step, step // 5, loss=float(step)) for step in range(12)]
    whole = written(path, made)
    marks = {mark.num_records: mark for mark in chronicle_reader.read(path).seals}
    assert sorted(marks) == [0, 5, 10, 12]
    for count, mark in marks.items():
        path.write_bytes(whole[:-7])
        with chronicle.ChronicleWriter.resume(path, mark) as writer:
            assert path.stat().st_size == mark.offset_bytes
            assert writer.last_seal == mark
            for record in made[count:]:
                writer.append(record)
            writer.end("completed")
        assert path.read_bytes() == whole


@pytest.mark.parametrize("change", ["chain", "offset_bytes", "num_records", "damage", "short"])
def test_c16_resume_refused(path, change):
    data = written(path, [cycle(step, loss=1.0) for step in range(3)])
    mark = chronicle_reader.read(path).seals[-1].to_json()
    changes = {"chain": "0" * 64, "offset_bytes": 200, "num_records": 2}
    mark |= {change: changes[change]} if change in changes else {}
    if change == "damage":
        data = data[:180] + bytes((data[180] ^ 1,)) + data[181:]
    elif change == "short":
        data = data[: mark["offset_bytes"] - 1]
    path.write_bytes(data)
    with pytest.raises(errors.LedgerError):
        chronicle.ChronicleWriter.resume(path, records.SealMark.from_json(mark))
    assert path.read_bytes() == data


def test_c17_recovery(path):
    data = written(path, [cycle(step, loss=1.0) for step in range(3)], status=None)
    *_, (last, _, _) = split(data)
    path.write_bytes(data[:-1])
    verdict = chronicle_reader.verify(path)
    assert (verdict.is_torn_tail, verdict.offset_bytes, verdict.num_records) == (True, last, 2)
    assert chronicle_reader.repair_tail(path) == len(data) - 1 - last
    assert path.read_bytes() == data[:last]
    assert chronicle_reader.verify(path).is_sound
    assert chronicle_reader.repair_tail(path) == 0
    path.write_bytes(data + bytes(20))  # zeros, as after a loss of power
    assert not chronicle_reader.verify(path).is_torn_tail
    with pytest.raises(errors.LedgerError, match=f"offset {len(data)}"):
        chronicle_reader.repair_tail(path)
    assert path.read_bytes() == data + bytes(20)


@pytest.mark.parametrize("version", [0, 2, 256])
def test_c18_versions(path, version):
    data = written(path, [cycle(1, loss=1.0)])
    other = data[:10] + version.to_bytes(2, "little") + data[12:]
    assert f"version {version}" in str(refused(path, other))
    assert frames.VERSION == 1


def test_c19_threat_model(path):
    """What the clause says is not found is indeed not found: the manifest has to hold the size."""
    made = [cycle(step, step // 2, loss=1.0) for step in range(6)]
    data = written(path, made)
    seal = chronicle_reader.read(path).seals[-2]
    path.write_bytes(data[: seal.offset_bytes])
    verdict = chronicle_reader.verify(path)
    assert (verdict.is_sound, verdict.is_ended, verdict.num_records) == (True, False, 4)
    forged = written(path, [*made[:5], cycle(5, 2, loss=0.5)])
    assert forged != data
    assert chronicle_reader.verify(path).is_sound
