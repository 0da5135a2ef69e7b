# SPDX-License-Identifier: Apache-2.0
"""A ledger as CSV and JSON Lines: pure functions from records to pieces of bytes.

Guarantees:
    Every number is written in a form that gives its bits back: shortest decimal, or `float.hex`.
    JSON has no word for NaN and the infinities; there they are texts, as every float is in hex.
"""

import csv
import io
from collections.abc import Iterator, Mapping

from tiny_agent_trainer import canonical
from tiny_agent_trainer.meta import numbers, records

POSITION_COLUMNS = ("record", "phase", "step", "epoch")
"""The first columns of every export; metrics follow in table order, then states by name."""

STATE_PHASE = "state"
"""What stands in the column `phase` for a state record."""


def encode_csv(
    genesis: records.Genesis, found: tuple[records.Record, ...], *, as_hex: bool = False
) -> Iterator[bytes]:
    """Encode records as CSV (RFC 4180 with LF): one heading, one line per record."""
    metrics, states = metric_names(genesis), state_names(found)
    heading = (*POSITION_COLUMNS, *metrics, *(f"sha256 {name}" for name in states))
    yield _csv_line(heading)
    for index, record in enumerate(found):
        values = _values(record)
        cells = [_cell(values.get(name), as_hex=as_hex) for name in metrics]
        digests = _digests(record)
        cells += [digests.get(name, "") for name in states]
        yield _csv_line((str(index), *_position(record), *cells))


def encode_jsonl(found: tuple[records.Record, ...], *, as_hex: bool = False) -> Iterator[bytes]:
    """Encode records as JSON Lines: one object per record, only with what it carries."""
    for index, record in enumerate(found):
        phase, step, epoch = _position(record)
        parts = [f'"record":{index},"phase":"{phase}","step":{step},"epoch":{epoch}']
        if isinstance(record, records.CycleRecord):
            items = (
                f"{_quoted(name)}:{_number(value, as_hex=as_hex)}"
                for name, value in record.metrics.items()
            )
            parts.append('"metrics":{' + ",".join(items) + "}")
        else:
            parts.append('"digests":' + canonical.encode(dict(record.digests)).decode())
        yield ("{" + ",".join(parts) + "}\n").encode()


def metric_names(genesis: records.Genesis) -> tuple[str, ...]:
    """The names of all metrics, in the order of the table."""
    return tuple(metric.name for metric in genesis.metrics)


def state_names(found: tuple[records.Record, ...]) -> tuple[str, ...]:
    """The names of all states that stand in these records, sorted."""
    return tuple(sorted({name for record in found for name in _digests(record)}))


def text_of(value: float | int, *, as_hex: bool = False) -> str:
    """A metric's value as text that gives its bits back."""
    if isinstance(value, int):
        return str(value)
    return numbers.text_of_float(value, as_hex=as_hex)


def _position(record: records.Record) -> tuple[str, str, str]:
    phase = record.phase if isinstance(record, records.CycleRecord) else STATE_PHASE
    return phase, str(record.step), str(record.epoch)


def _values(record: records.Record) -> Mapping[str, float | int]:
    return record.metrics if isinstance(record, records.CycleRecord) else {}


def _digests(record: records.Record) -> Mapping[str, str]:
    return record.digests if isinstance(record, records.StateRecord) else {}


def _cell(value: float | int | None, *, as_hex: bool) -> str:
    return "" if value is None else text_of(value, as_hex=as_hex)


def _number(value: float | int, *, as_hex: bool) -> str:
    text = text_of(value, as_hex=as_hex)
    is_json = isinstance(value, int) or (not as_hex and text.lstrip("-")[0].isdigit())
    return text if is_json else _quoted(text)


def _quoted(text: str) -> str:
    return canonical.encode(text).decode()


def _csv_line(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()
