# SPDX-License-Identifier: Apache-2.0
"""CSV and JSON Lines: every number can be read back with its bits.

Not tested here: files and options (tests/unit/cli), Parquet (tests/unit/experiments).
"""

import csv
import io
import json
import math

import pytest

from tiny_agent_trainer.meta import chronicle_export, records

GENESIS = records.Genesis(
    experiment_digest="x",
    metrics=(
        records.Metric(name='a "b", c', dtype="f64", unit="1"),
        records.Metric(name="seen", dtype="i64", unit="1"),
    ),
)
VALUES = [0.1, -0.0, 1e16, 5e-324, math.inf, -math.inf, 1 / 3]
RECORDS = (
    *(
        records.CycleRecord(step=step, epoch=0, phase="train", metrics={'a "b", c': value})
        for step, value in enumerate(VALUES)
    ),
    records.CycleRecord(step=7, epoch=1, phase="epoch", metrics={"seen": 2**63 - 1}),
    records.StateRecord(step=7, epoch=1, digests={"weights": "ab" * 32}),
)


@pytest.mark.parametrize("as_hex", [False, True])
def test_csv(as_hex):
    text = b"".join(chronicle_export.encode_csv(GENESIS, RECORDS, as_hex=as_hex)).decode()
    heading, *rows = csv.reader(io.StringIO(text))
    assert heading == ["record", "phase", "step", "epoch", 'a "b", c', "seen", "sha256 weights"]
    parse = float.fromhex if as_hex else float
    assert [repr(parse(row[4])) for row in rows[: len(VALUES)]] == [repr(it) for it in VALUES]
    assert rows[-2] == ["7", "epoch", "7", "1", "", str(2**63 - 1), ""]
    assert rows[-1] == ["8", "state", "7", "1", "", "", "ab" * 32]


@pytest.mark.parametrize("as_hex", [False, True])
def test_jsonl(as_hex):
    lines = [json.loads(line) for line in chronicle_export.encode_jsonl(RECORDS, as_hex=as_hex)]
    found = [line["metrics"]['a "b", c'] for line in lines[: len(VALUES)]]
    if as_hex:
        assert [repr(float.fromhex(it)) for it in found] == [repr(it) for it in VALUES]
    else:
        assert [type(it) is str for it in found] == [math.isinf(it) for it in VALUES]
        assert [repr(float(it)) for it in found] == [repr(it) for it in VALUES]
    assert lines[-2]["metrics"] == {"seen": 2**63 - 1}
    assert lines[-1] == {
        "record": 8,
        "phase": "state",
        "step": 7,
        "epoch": 1,
        "digests": {"weights": "ab" * 32},
    }
