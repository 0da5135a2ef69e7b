# SPDX-License-Identifier: Apache-2.0
"""The ledger under random records: every bit comes back, and resuming leaves no trace.

Not tested here: the meaning of each byte (tests/conformance), damage (tests/tamper).
"""

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.meta import chronicle, chronicle_reader, merkle, numbers, records

TABLE = tuple(
    records.Metric(name=f"{dtype} {place}", dtype=dtype, unit="1")
    for place in range(4)
    for dtype in records.DTYPES
)
GENESIS = records.Genesis(experiment_digest="sha256:property:0", metrics=TABLE)


def f64(bits):
    return struct.unpack("<d", bits.to_bytes(8, "little"))[0]


def bits_of(value):
    return value if isinstance(value, int) else struct.pack("<d", value)


def plain(record):
    """A record as values that compare by bits."""
    if isinstance(record, records.StateRecord):
        return (record.step, record.epoch, sorted(record.digests.items()))
    values = sorted((name, bits_of(value)) for name, value in record.metrics.items())
    return (record.step, record.epoch, record.phase, values)


images = {
    "f32": st.integers(-(2**31), 2**31 - 1).map(numbers.f32_of_image),
    "f64": st.integers(0, 2**64 - 1).map(f64) | st.floats(),
    "i64": st.integers(-(2**63), 2**63 - 1),
}
steps = st.integers(0, 100) | st.integers(0, 2**63 - 1)
epochs = st.integers(0, 2) | st.integers(0, 2**63 - 1)
metric_values = st.fixed_dictionaries(
    {}, optional={metric.name: images[metric.dtype] for metric in TABLE}
)
names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
cycles = st.builds(
    records.CycleRecord,
    step=steps,
    epoch=epochs,
    phase=st.sampled_from(records.PHASES),
    metrics=metric_values,
)
states = st.builds(
    records.StateRecord,
    step=steps,
    epoch=epochs,
    digests=st.dictionaries(names, st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=4),
)
histories = st.lists(cycles | states, max_size=12)


@pytest.fixture(scope="module")
def path():
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "chronicle.cmeta")


def write(path, history, sealed_at=(), status="completed"):
    with chronicle.ChronicleWriter.create(path, GENESIS) as writer:
        for place, record in enumerate(history):
            writer.append(record)
            if place in sealed_at:
                writer.seal()
        if status is not None:
            writer.end(status)
    return path.read_bytes()


@given(histories, st.sets(st.integers(0, 11)))
def test_every_bit_comes_back(path, history, sealed_at):
    data = write(path, history, sealed_at)
    found = chronicle_reader.read(path)
    assert found.genesis == GENESIS
    assert [plain(record) for record in found.records] == [plain(record) for record in history]
    assert found.size_bytes == len(data)
    assert chronicle_reader.verify(path).num_records == len(history)


@given(histories, st.sets(st.integers(0, 11)))
@settings(max_examples=50)
def test_resuming_at_every_seal_leaves_no_trace(path, history, sealed_at):
    whole = write(path, history, sealed_at)
    for mark in chronicle_reader.read(path).seals:
        path.write_bytes(whole)
        with chronicle.ChronicleWriter.resume(path, mark) as writer:
            for place, record in enumerate(history[mark.num_records :], mark.num_records):
                writer.append(record)
                if place in sealed_at:
                    writer.seal()
            writer.end("completed")
        assert path.read_bytes() == whole


@given(histories, st.sets(st.integers(0, 11)), st.integers(0, 2**63), st.integers(0, 2**63))
@example([], set(), 0, 0)
def test_a_range_is_a_filter(path, history, sealed_at, first, last):
    for status in ("completed", None):
        write(path, history, sealed_at, status)
        for low, high in ((first, last), (0, 50), (10, 10)):
            wanted = [plain(record) for record in history if low <= record.step <= high]
            found = chronicle_reader.read_range(path, low, high)
            assert [plain(record) for record in found] == wanted


@given(st.lists(cycles, min_size=1, max_size=6), st.data())
def test_a_changed_value_is_the_first_difference(path, history, data):
    place = data.draw(st.integers(0, len(history) - 1))
    changed = data.draw(cycles)
    other = path.with_suffix(".other")
    write(path, history)
    write(other, [*history[:place], changed, *history[place + 1 :]])
    found = chronicle_reader.first_difference(path, other)
    if plain(changed) == plain(history[place]):
        assert found is None
        return
    assert found is not None
    in_group = {index for index in range(len(history)) if history[index].step == found.step}
    assert found.record_index == place
    assert place in in_group or found.field == "record"


class _Killed(BaseException):
    pass


def test_killed_at_every_write_and_sync_then_resumed(path, monkeypatch):
    """At any of durable's primitives the process may die; resuming gives the same bytes."""
    history = [
        records.CycleRecord(step=step, epoch=step // 3, phase="train", metrics={"f64 0": step / 7})
        for step in range(8)
    ]
    whole = write(path, history)
    marks = {mark.num_records: mark for mark in chronicle_reader.read(path).seals}
    real_write, real_fsync = durable._write, durable._fsync
    calls = [0, None]

    def dying(real, share):
        def call(descriptor, *data):
            calls[0] += 1
            if calls[0] == calls[1]:
                if share and data:
                    real(descriptor, data[0][: len(data[0]) // 2])
                raise _Killed
            return real(descriptor, *data)

        return call

    monkeypatch.setattr(durable, "_write", dying(real_write, share=True))
    monkeypatch.setattr(durable, "_fsync", dying(real_fsync, share=False))
    write(path, history)
    total = calls[0]
    assert total > 15  # else this test would kill nothing
    for last_call in range(1, total + 1):
        path.unlink(missing_ok=True)
        calls[:] = [0, last_call]
        with pytest.raises(_Killed):
            write(path, history)
        calls[:] = [0, None]
        if not path.exists():
            continue  # it died before the file had its name
        verdict = chronicle_reader.verify(path)
        assert verdict.is_sound or verdict.is_torn_tail
        count = max(it for it in marks if marks[it].offset_bytes <= path.stat().st_size)
        with chronicle.ChronicleWriter.resume(path, marks[count]) as writer:
            for record in history[count:]:
                writer.append(record)
            writer.end("completed")
        assert path.read_bytes() == whole, f"died at call {last_call} of {total}"


def test_a_writer_whose_write_failed_is_closed(path, monkeypatch):
    record = records.CycleRecord(step=1, epoch=0, phase="train", metrics={"i64 0": 1})
    writer = chronicle.ChronicleWriter.create(path, GENESIS)
    with monkeypatch.context() as patch:

        def refuse(descriptor, data):
            raise OSError(28, "no space")

        patch.setattr(durable, "_write", refuse)
        with pytest.raises(errors.StorageError):
            writer.append(record)
    with pytest.raises(ValueError, match="closed"):
        writer.append(record)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_images_keep_the_order_of_floats(a, b):
    x, y = f64(a), f64(b)
    if x < y:
        assert numbers.image_of_f64(x) < numbers.image_of_f64(y)
    assert bits_of(numbers.f64_of_image(numbers.image_of_f64(x))) == bits_of(x)


@given(st.integers(-(2**31), 2**31 - 1))
def test_images_of_f32_come_back(image):
    assert numbers.image_of_f32(numbers.f32_of_image(image)) == image


@given(st.lists(st.binary(max_size=8), max_size=40, unique=True), st.data())
def test_the_tree_grows_as_it_is_defined_and_proves_its_leaves(leaves, data):
    tree = merkle.Tree()
    for leaf in leaves:
        tree.append(leaf)
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    root = merkle.root_of(hashes)
    assert tree.root() == root
    for index, leaf in enumerate(hashes):
        proof = merkle.inclusion_proof(hashes, index)
        assert merkle.is_included(leaf, index, len(leaves), proof, root)
        other = data.draw(st.integers(0, len(leaves)))
        if other != index:
            assert not merkle.is_included(leaf, other, len(leaves), proof, root)
        if proof:
            assert not merkle.is_included(leaf, index, len(leaves), proof[:-1], root)
            assert not merkle.is_included(leaf, index, len(leaves), (*proof, root), root)
