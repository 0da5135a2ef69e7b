# SPDX-License-Identifier: Apache-2.0
"""The writer: what it refuses leaves the ledger as it was.

Not tested here: bytes (tests/conformance), crashes and random records (tests/property).
"""

import pytest

from tiny_agent_trainer.meta import chronicle, chronicle_reader, records

GENESIS = records.Genesis(
    experiment_digest="sha256:unit:0",
    metrics=(
        records.Metric(name="rate", dtype="f64", unit="1"),
        records.Metric(name="loss", dtype="f32", unit="1"),
    ),
)


def cycle(**changes):
    fields = {"step": 1, "epoch": 0, "phase": "train", "metrics": {"loss": 0.5, "rate": 0.1}}
    return records.CycleRecord(**fields | changes)


def state(digests):
    return records.StateRecord(step=1, epoch=0, digests=digests)


@pytest.fixture
def path(tmp_path):
    return tmp_path / chronicle.FILE_NAME


@pytest.mark.parametrize(
    "record",
    [
        cycle(step=-1),
        cycle(step=2**63),
        cycle(step=1.0),
        cycle(epoch=-1),
        cycle(phase="training"),
        cycle(metrics={"accuracy": 1.0}),
        cycle(metrics={"rate": 0.7, "loss": 0.1}),  # rate is fine, loss is not
        cycle(metrics={"rate": 0.7, "loss": 1}),
        cycle(epoch=1, metrics={"rate": 0.7, "loss": 0.1}),  # would ask for a SEAL
        records.StateRecord(step=1, epoch=1, digests={"weights": "ab"}),
        state({"weights": "AB" * 32}),
        state({"weights": "ab"}),
        state({" weights": "ab" * 32}),
        state({str(number): "ab" * 32 for number in range(256)}),
    ],
)
def test_a_refused_record_leaves_no_trace(path, record):
    with chronicle.ChronicleWriter.create(path, GENESIS) as writer:
        writer.append(cycle())
        writer.append(cycle(step=2))
        writer.end("completed")
    wanted = path.read_bytes()
    with chronicle.ChronicleWriter.create(path, GENESIS) as writer:
        writer.append(cycle())
        with pytest.raises((TypeError, ValueError)):
            writer.append(record)
        writer.append(cycle(step=2))
        writer.end("completed")
    assert path.read_bytes() == wanted


def test_create_replaces_and_can_be_read_at_once(path):
    path.write_bytes(b"something else" * 1000)
    with chronicle.ChronicleWriter.create(path, GENESIS) as writer:
        found = chronicle_reader.read(path)
        assert found.seals == (writer.last_seal,)
        assert (found.records, found.end, found.genesis) == ((), None, GENESIS)


def test_a_closed_writer_refuses(path):
    writer = chronicle.ChronicleWriter.create(path, GENESIS)
    with pytest.raises(ValueError, match="status 'failed'"):
        writer.end("failed")
    writer.end("stopped_early")
    writer.close()
    for act in (writer.seal, lambda: writer.append(cycle()), lambda: writer.end("completed")):
        with pytest.raises(ValueError, match="closed"):
            act()


def test_an_ended_ledger_can_be_continued_from_an_earlier_mark(path):
    with chronicle.ChronicleWriter.create(path, GENESIS) as writer:
        writer.append(cycle())
        mark = writer.seal()
        writer.append(cycle(step=2))
        writer.end("stopped_early")
    with chronicle.ChronicleWriter.resume(path, mark) as writer:
        writer.end("completed")
    found = chronicle_reader.read(path)
    assert len(found.records) == 1
    assert found.end.status == "completed"
