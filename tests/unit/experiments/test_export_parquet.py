# SPDX-License-Identifier: Apache-2.0
"""The Parquet export through pyarrow's own reader.

Not tested here: payloads of binary32 NaNs, which pyarrow does not promise to keep.
"""

import math
import struct
import sys

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments import export_parquet
from tiny_agent_trainer.meta import chronicle, chronicle_reader, records

TABLE = (
    records.Metric(name="loss", dtype="f32", unit="1"),
    records.Metric(name="rate", dtype="f64", unit="1/step"),
    records.Metric(name="step", dtype="i64", unit="samples"),
)
VALUES = [0.1, -0.0, math.inf, math.nan, 5e-324]


@pytest.fixture
def ledger(tmp_path):
    genesis = records.Genesis(experiment_digest="sha256:x:0", metrics=TABLE)
    path = tmp_path / chronicle.FILE_NAME
    with chronicle.ChronicleWriter.create(path, genesis) as writer:
        for step, value in enumerate(VALUES):
            metrics = {"rate": value, "loss": 0.5, "step": -step}
            writer.append(records.CycleRecord(step=step, epoch=0, phase="train", metrics=metrics))
        writer.append(records.StateRecord(step=4, epoch=0, digests={"weights": "ab" * 32}))
    return chronicle_reader.read(path)


def test_values_types_and_units(ledger, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    export_parquet.write_parquet(ledger, tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.num_rows == 6
    assert table.schema.metadata[b"experiment_digest"] == b"sha256:x:0"
    assert table.schema.field("metric rate").metadata[b"unit"] == b"1/step"
    assert [str(table.schema.field(f"metric {it.name}").type) for it in TABLE] == [
        "float",
        "double",
        "int64",
    ]
    rates = table["metric rate"].to_pylist()
    assert [struct.pack("<d", it) for it in rates[:5]] == [struct.pack("<d", it) for it in VALUES]
    assert table["metric step"].to_pylist() == [0, -1, -2, -3, -4, None]
    assert table["step"].to_pylist() == [0, 1, 2, 3, 4, 4]
    assert table["sha256 weights"].to_pylist() == [None] * 5 + ["ab" * 32]


def test_without_pyarrow_the_extra_is_named(ledger, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.UsageError, match=r"tiny-agent-trainer\[export\]"):
        export_parquet.write_parquet(ledger, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
