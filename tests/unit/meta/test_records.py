# SPDX-License-Identifier: Apache-2.0
"""The nouns refuse what the format cannot hold.

Not tested here: the bytes that come of them (tests/conformance).
"""

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.meta import records

MARK = records.SealMark(offset_bytes=200, num_records=3, chain="0f" * 32)


def test_a_mark_survives_json():
    assert records.SealMark.from_json(MARK.to_json()) == MARK


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        MARK.to_json() | {"more": 1},
        MARK.to_json() | {"chain": "0F" * 32},
        MARK.to_json() | {"chain": 5},
        MARK.to_json() | {"num_records": -1},
        MARK.to_json() | {"num_records": True},
        MARK.to_json() | {"offset_bytes": 1.0},
        MARK.to_json() | {"offset_bytes": 2**63},
    ],
)
def test_what_is_no_mark_is_refused(value):
    with pytest.raises(errors.LedgerError, match="the ledger mark of a checkpoint"):
        records.SealMark.from_json(value)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "a\x1b[31m", "\u202e", "ä" * 128])
def test_names_that_cannot_be_printed_are_refused(name):
    with pytest.raises(ValueError, match=r"printable|blank"):
        records.Metric(name=name, dtype="f32", unit="1")
    with pytest.raises(ValueError, match=r"printable|blank"):
        records.Metric(name="loss", dtype="f32", unit=name)


def test_tables_with_faults_are_refused():
    metric = records.Metric(name="loss", dtype="f32", unit="1")
    with pytest.raises(ValueError, match="twice"):
        records.Genesis(experiment_digest="x", metrics=(metric, metric))
    with pytest.raises(ValueError, match="more than 4096"):
        records.Genesis(experiment_digest="x", metrics=(metric,) * 4097)
    with pytest.raises(ValueError, match="dtype 'f16'"):
        records.Metric(name="loss", dtype="f16", unit="1")
    with pytest.raises(ValueError, match="printable"):
        records.Genesis(experiment_digest="", metrics=())
