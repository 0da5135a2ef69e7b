# SPDX-License-Identifier: Apache-2.0
"""predictions_<split>.csv reads back to the same bits, whatever the order of the samples.

Not tested here: building the columns from numpy arrays (tests/unit/validator/test_predictions.py).
"""

import csv
import io
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tiny_agent_trainer.reports.predictions_csv import encode_float32, encode_predictions

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def single(text: str) -> float:
    return struct.unpack("<f", struct.pack("<f", float(text)))[0]


class TestFloat32:
    """The shortest decimal that reads back to the same float32."""

    @given(finite)
    @example(2.0**-149)
    @example(2.0**-126)
    @example(3.4028234663852886e38)
    @example(-0.0)
    def test_reads_back(self, value):
        assert struct.pack("<f", float(encode_float32(value))) == struct.pack("<f", value)

    @given(finite)
    def test_no_shorter_rounding_reads_back(self, value):
        digits = len(encode_float32(abs(value)).split("e")[0].replace(".", "").strip("0")) or 1
        for fewer in range(1, digits):
            try:
                assert single(format(abs(value), f".{fewer}g")) != abs(value)
            except OverflowError:
                continue

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.5, "0.5"), (0.0, "0"), (1.0, "1"), (single("0.1"), "0.1"), (single("1e-05"), "1e-05")],
    )
    def test_known_texts(self, value, text):
        assert encode_float32(value) == text

    @pytest.mark.parametrize("value", [0.1, float("nan"), float("inf"), 1e300])
    def test_refuses_what_is_no_float32(self, value):
        with pytest.raises(ValueError, match="float32"):
            encode_float32(value)


def encoded(order, task="multiclass"):
    multilabel = task == "multilabel"
    labels = [[0, 1], [1, 1], [0, 0]] if multilabel else [0, 1, 1]
    called = [[1, 1], [0, 1], [0, 0]] if multilabel else [0, 0, 1]
    probabilities = [[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]]
    return encode_predictions(
        samples=[(7, 2, 5)[i] for i in order],
        patients=[(1, 1, 3)[i] for i in order],
        labels=[labels[i] for i in order],
        called=[called[i] for i in order],
        probabilities=[probabilities[i] for i in order],
        classes=["clear", 'spot, "ring"'],
        task=task,
    )


class TestLines:
    """One line per sample, ordered by its ordinal."""

    def test_multiclass(self):
        rows = list(csv.reader(io.StringIO(encoded([0, 1, 2]).decode())))
        assert rows == [
            ["sample", "patient", "label", "predicted", "p_clear", 'p_spot, "ring"'],
            ["2", "1", 'spot, "ring"', "clear", "0.5", "0.5"],
            ["5", "3", 'spot, "ring"', 'spot, "ring"', "0.125", "0.875"],
            ["7", "1", "clear", "clear", "0.75", "0.25"],
        ]

    def test_multilabel(self):
        rows = list(csv.reader(io.StringIO(encoded([0, 1, 2], "multilabel").decode())))
        assert rows[0][2:6] == ["label_clear", 'label_spot, "ring"', "predicted_clear", rows[0][5]]
        assert rows[3] == ["7", "1", "0", "1", "1", "1", "0.75", "0.25"]

    @pytest.mark.parametrize("task", ["multiclass", "multilabel"])
    def test_order_does_not_matter(self, task):
        assert encoded([2, 0, 1], task) == encoded([0, 1, 2], task)

    def test_lines_end_in_lf(self):
        assert b"\r" not in encoded([0, 1, 2])

    def test_uneven_columns_are_refused(self):
        with pytest.raises(ValueError, match="zip"):
            encode_predictions(
                samples=[1, 2],
                patients=[1],
                labels=[0, 0],
                called=[0, 0],
                probabilities=[[1.0], [1.0]],
                classes=["a"],
                task="multiclass",
            )
