# SPDX-License-Identifier: Apache-2.0
"""A ledger as one Parquet table, by pyarrow from the extra `[export]`.

Not claimed: equal bytes between versions of pyarrow (its version stands in the file). The ledger
is the evidence; this is a copy for analysis.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.meta import chronicle_export, chronicle_reader, records


def write_parquet(chronicle: chronicle_reader.Chronicle, path: Path) -> None:
    """Write one row per record; a metric or state that a record lacks is null.

    Args:
        chronicle: The ledger.
        path: The Parquet file; one that is there is replaced.

    Raises:
        UsageError: pyarrow is not installed.
        StorageError: The disk is full, read-only or not permitted.
    """
    arrow = _require_pyarrow("pyarrow")
    parquet = _require_pyarrow("pyarrow.parquet")
    schema = _schema(arrow, chronicle)
    rows = [_row(index, record) for index, record in enumerate(chronicle.records)]
    table = arrow.Table.from_pylist(rows, schema=schema)
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink)
    durable.write_atomic(path, sink.getvalue().to_pybytes())


def _require_pyarrow(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise errors.UsageError(
            where="chronicle export --format parquet",
            expected="pyarrow, which writes Parquet",
            found="no pyarrow in this environment",
            remedy="install it with `pip install 'tiny-agent-trainer[export]'`, or export csv",
        ) from error


def _schema(arrow: ModuleType, chronicle: chronicle_reader.Chronicle) -> object:
    dtypes = {"f32": arrow.float32(), "f64": arrow.float64(), "i64": arrow.int64()}
    fields = [
        arrow.field(name, arrow.string() if name == "phase" else arrow.int64(), nullable=False)
        for name in chronicle_export.POSITION_COLUMNS
    ]
    fields += [
        arrow.field(f"metric {metric.name}", dtypes[metric.dtype], metadata={"unit": metric.unit})
        for metric in chronicle.genesis.metrics
    ]
    fields += [
        arrow.field(f"sha256 {name}", arrow.string())
        for name in chronicle_export.state_names(chronicle.records)
    ]
    return arrow.schema(fields, {"experiment_digest": chronicle.genesis.experiment_digest})


def _row(index: int, record: records.Record) -> dict[str, object]:
    row: dict[str, object] = {"record": index, "step": record.step, "epoch": record.epoch}
    if isinstance(record, records.CycleRecord):
        row["phase"] = record.phase
        row |= {f"metric {name}": value for name, value in record.metrics.items()}
    else:
        row["phase"] = chronicle_export.STATE_PHASE
        row |= {f"sha256 {name}": digest for name, digest in record.digests.items()}
    return row
