# SPDX-License-Identifier: Apache-2.0
"""Where two ledgers part: the cycle, the field that comes first in cause, and the distance.

Not tested here: random histories (tests/property).
"""

import math

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.meta import chronicle, chronicle_reader, records

TABLE = (
    records.Metric(name="accuracy", dtype="f64", unit="1"),
    records.Metric(name="loss", dtype="f32", unit="1"),
    records.Metric(name="seen", dtype="i64", unit="samples"),
)


def cycle(step, epoch=0, phase="train", **metrics):
    return records.CycleRecord(step=step, epoch=epoch, phase=phase, metrics=metrics)


def state(step, epoch=0, **digests):
    named = {name: f"{value:064x}" for name, value in digests.items()}
    return records.StateRecord(step=step, epoch=epoch, digests=named)


@pytest.fixture
def compare(tmp_path):
    def compare(a, b, **changes):
        paths = []
        for name, found in (("a", a), ("b", b)):
            table = changes.get(f"table_{name}", TABLE)
            digest = changes.get(f"digest_{name}", "sha256:x:0")
            genesis = records.Genesis(experiment_digest=digest, metrics=table)
            path = tmp_path / f"{name}.cmeta"
            with chronicle.ChronicleWriter.create(path, genesis) as writer:
                for record in found:
                    writer.append(record)
                writer.end(changes.get(f"status_{name}", "completed"))
            paths.append(path)
        return chronicle_reader.first_difference(*paths)

    return compare


def test_equal_ledgers_do_not_differ(compare):
    history = [cycle(1, accuracy=math.nan, loss=-0.0), state(1, weights=5)]
    assert compare(history, history) is None


def test_the_first_cycle_and_its_distance(compare):
    before = [cycle(1, loss=0.5), cycle(2, loss=0.5)]
    above = 0.5 + 2.0**-24
    found = compare([*before, cycle(3, loss=0.5)], [*before, cycle(3, loss=above)])
    assert (found.record_index, found.step, found.epoch, found.phase) == (2, 3, 0, "train")
    assert (found.field, found.ulp_distance) == ("loss", 1)
    assert (found.decimal_a, found.decimal_b) == ("0.5", repr(above))
    assert (found.hex_a, found.hex_b) == ("0x1.0000000000000p-1", above.hex())


def test_the_distance_is_in_the_metrics_own_dtype(compare):
    found = compare([cycle(1, accuracy=0.5)], [cycle(1, accuracy=0.5 + 2.0**-24)])
    assert found.ulp_distance == 2**29
    assert compare([cycle(1, seen=5)], [cycle(1, seen=3)]).ulp_distance == 2
    assert compare([cycle(1, loss=0.0)], [cycle(1, loss=-0.0)]).ulp_distance == 1


FIELDS = ["data_order", "loss", "accuracy", "weights"]


@pytest.mark.parametrize("first", range(4))
def test_the_order_of_causes(compare, first):
    """The states stand behind the metrics in the file; the data's order still comes first."""
    one = [cycle(1, accuracy=0.5, loss=0.5), state(1, data_order=1, weights=1)]
    values = {name: (name in FIELDS[first:]) for name in FIELDS}
    other = [
        cycle(1, accuracy=0.5 + values["accuracy"], loss=0.5 + values["loss"]),
        state(1, data_order=1 + values["data_order"], weights=1 + values["weights"]),
    ]
    found = compare(one, other)
    assert found.field == FIELDS[first]
    assert found.phase == ("state" if first in (0, 3) else "train")
    assert (found.ulp_distance is None) == (first in (0, 3))


def test_a_missing_metric_and_missing_records(compare):
    found = compare([cycle(1, loss=0.5)], [cycle(1, loss=0.5, accuracy=0.5)])
    assert (found.field, found.decimal_a, found.decimal_b) == ("accuracy", "absent", "0.5")
    found = compare([cycle(1, loss=0.5)], [cycle(1, loss=0.5), cycle(2, loss=0.5)])
    assert (found.field, found.record_index, found.decimal_a) == ("record", 1, "absent")
    assert found.decimal_b == "train record of step 2, epoch 0"
    found = compare([cycle(1, loss=0.5)], [cycle(1, phase="test", loss=0.25)])
    assert (found.field, found.decimal_b) == ("record", "test record of step 1, epoch 0")


def test_genesis_and_end_are_compared_last(compare):
    same = [cycle(1, loss=0.5)]
    found = compare(same, same, digest_b="sha256:x:1")
    assert (found.phase, found.field) == ("genesis", "experiment_digest")
    assert (found.decimal_a, found.decimal_b) == ("sha256:x:0", "sha256:x:1")
    assert compare(same, [cycle(1, loss=1.0)], digest_b="sha256:x:1").field == "loss"
    assert compare(same, same, table_b=TABLE[1:]).field == "metrics"
    found = compare(same, same, status_b="stopped_early")
    assert (found.phase, found.field, found.record_index) == ("end", "status", 1)


def test_damage_before_the_difference_is_an_error(compare, tmp_path):
    compare([cycle(1, loss=0.5)], [cycle(1, loss=0.5)])
    path = tmp_path / "b.cmeta"
    for damaged in (b"", path.read_bytes()[:-1], b"\1" + path.read_bytes()[1:]):
        path.write_bytes(damaged)
        with pytest.raises(errors.LedgerError):
            chronicle_reader.first_difference(tmp_path / "a.cmeta", path)
