# SPDX-License-Identifier: Apache-2.0
"""Where two ledgers part: the first cycle, and in it the field that comes first in cause."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from tiny_agent_trainer.meta import chronicle_scan, numbers, records

ABSENT: Final = "absent"
"""What stands for a value that only one of the two ledgers has."""

_DATA_ORDER, _LOSS, _METRIC, _STATE, _STRUCTURE = range(5)
"""The causal order: data make the loss, the loss the other numbers, all of them the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerDifference:
    """The first place where two ledgers differ.

    Args:
        record_index: Which record, from 0; for GENESIS 0, for END the number of records.
        step: The record's step.
        epoch: The record's epoch.
        phase: One of `records.PHASES`, or "state", "genesis" or "end".
        field: A metric or state name; "record" where the two have different records;
            "experiment_digest", "metrics" (GENESIS) or "status" (END).
        decimal_a: The value in the first ledger: shortest decimal, digest or words.
        decimal_b: The same of the second.
        hex_a: The same as `float.hex` where it is a float.
        hex_b: The same of the second.
        ulp_distance: Steps between the two numbers in the metric's dtype; None if not numbers.
    """

    record_index: int
    step: int
    epoch: int
    phase: str
    field: str
    decimal_a: str
    decimal_b: str
    hex_a: str
    hex_b: str
    ulp_distance: int | None


class _Group(NamedTuple):
    """Neighbouring records of one step and epoch; `first_index` counts records from 0."""

    first_index: int
    members: list[records.Record]


class _Value(NamedTuple):
    decimal: str
    hexadecimal: str
    image: int | None


class _Ledger:
    """One side: GENESIS at once, groups of records while iterating, END when they are through."""

    def __init__(self, entries: Iterator[chronicle_scan.Entry]) -> None:
        self._entries = entries
        self._num_records = 0
        genesis = next(entries).noun
        assert isinstance(genesis, records.Genesis)
        self.genesis = genesis
        self.end: records.EndMark | None = None

    def groups(self) -> Iterator[_Group]:
        for _, members in itertools.groupby(self._records(), lambda it: (it.step, it.epoch)):
            group = _Group(self._num_records, list(members))
            self._num_records += len(group.members)
            yield group

    def _records(self) -> Iterator[records.Record]:
        for _, noun in self._entries:
            if isinstance(noun, records.CycleRecord | records.StateRecord):
                yield noun
            elif isinstance(noun, records.EndMark):
                self.end = noun


def first_of(
    a: Iterator[chronicle_scan.Entry], b: Iterator[chronicle_scan.Entry]
) -> LedgerDifference | None:
    """The first difference between two ledgers' entries; see `chronicle_reader`."""
    left, right = _Ledger(a), _Ledger(b)
    dtypes = _common_dtypes(left.genesis, right.genesis)
    num_records = 0
    for group_a, group_b in itertools.zip_longest(left.groups(), right.groups()):
        difference = _first_in_group(group_a, group_b, dtypes)
        if difference is not None:
            return difference
        num_records += len(group_a.members)
    return _frame_difference(left, right, num_records)


def _first_in_group(
    a: _Group | None, b: _Group | None, dtypes: dict[str, str]
) -> LedgerDifference | None:
    first_index = (a or b or _Group(0, [])).first_index
    members_a, members_b = a.members if a else [], b.members if b else []
    found: list[tuple[int, LedgerDifference]] = []
    for place, (one, other) in enumerate(itertools.zip_longest(members_a, members_b)):
        found += _differences(first_index + place, one, other, dtypes)
        if found and found[-1][0] == _STRUCTURE:
            break  # what stands behind would be compared with the wrong partner
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _differences(
    index: int, a: records.Record | None, b: records.Record | None, dtypes: dict[str, str]
) -> list[tuple[int, LedgerDifference]]:
    known = a or b
    assert known is not None
    if a is None or b is None or _key(a) != _key(b):
        words_a, words_b = _words(a), _words(b)
        pair = (_Value(words_a, words_a, None), _Value(words_b, words_b, None))
        return [(_STRUCTURE, _difference(index, known, "record", pair))]
    values_a, values_b = _values(a, dtypes), _values(b, dtypes)
    absent = _Value(ABSENT, ABSENT, None)
    pairs = {
        name: (values_a.get(name, absent), values_b.get(name, absent))
        for name in (values_a | values_b)
    }
    return [
        (_rank(known, name), _difference(index, known, name, pair))
        for name, pair in pairs.items()
        if pair[0] != pair[1]
    ]


def _difference(
    index: int, record: records.Record, field: str, pair: tuple[_Value, _Value]
) -> LedgerDifference:
    a, b = pair
    is_number = a.image is not None and b.image is not None
    return LedgerDifference(
        record_index=index,
        step=record.step,
        epoch=record.epoch,
        phase=_phase(record),
        field=field,
        decimal_a=a.decimal,
        decimal_b=b.decimal,
        hex_a=a.hexadecimal,
        hex_b=b.hexadecimal,
        ulp_distance=abs((a.image or 0) - (b.image or 0)) if is_number else None,
    )


def _frame_difference(left: _Ledger, right: _Ledger, num_records: int) -> LedgerDifference | None:
    genesis_a, genesis_b = left.genesis, right.genesis
    fields = (
        ("genesis", "experiment_digest", genesis_a.experiment_digest, genesis_b.experiment_digest),
        ("genesis", "metrics", _table(genesis_a), _table(genesis_b)),
        ("end", "status", _status(left), _status(right)),
    )
    for phase, field, a, b in fields:
        if a != b:
            return LedgerDifference(
                record_index=0 if phase == "genesis" else num_records,
                step=0,
                epoch=0,
                phase=phase,
                field=field,
                decimal_a=a,
                decimal_b=b,
                hex_a=a,
                hex_b=b,
                ulp_distance=None,
            )
    return None


def _values(record: records.Record, dtypes: dict[str, str]) -> dict[str, _Value]:
    if isinstance(record, records.StateRecord):
        return {name: _Value(digest, digest, None) for name, digest in record.digests.items()}
    return {name: _value(number, dtypes.get(name)) for name, number in record.metrics.items()}


def _value(number: float | int, dtype: str | None) -> _Value:
    if isinstance(number, int):
        return _Value(str(number), str(number), number)
    image = numbers.IMAGES[dtype or "f64"](number)
    decimal = numbers.text_of_float(number)
    return _Value(decimal, numbers.text_of_float(number, as_hex=True), image)


def _common_dtypes(a: records.Genesis, b: records.Genesis) -> dict[str, str]:
    """The dtypes that both tables agree on; elsewhere floats are compared as binary64."""
    other = {metric.name: metric.dtype for metric in b.metrics}
    return {
        metric.name: metric.dtype for metric in a.metrics if other.get(metric.name) == metric.dtype
    }


def _rank(record: records.Record, name: str) -> int:
    if isinstance(record, records.StateRecord):
        return _DATA_ORDER if name == "data_order" else _STATE
    return _LOSS if name == "loss" or name.endswith("_loss") else _METRIC


def _phase(record: records.Record) -> str:
    return record.phase if isinstance(record, records.CycleRecord) else "state"


def _key(record: records.Record) -> tuple[str, int, int]:
    return (_phase(record), record.step, record.epoch)


def _words(record: records.Record | None) -> str:
    if record is None:
        return ABSENT
    return f"{_phase(record)} record of step {record.step}, epoch {record.epoch}"


def _table(genesis: records.Genesis) -> str:
    return ", ".join(f"{metric.name} {metric.dtype} [{metric.unit}]" for metric in genesis.metrics)


def _status(ledger: _Ledger) -> str:
    return ABSENT if ledger.end is None else ledger.end.status
