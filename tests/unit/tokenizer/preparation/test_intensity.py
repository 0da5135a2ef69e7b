# SPDX-License-Identifier: Apache-2.0
"""Windows and percentiles against exact fractions and sorted lists.

Not tested here: which window suits an organ.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer.preparation import intensity

VALUES = arrays.arrays(np.int32, st.integers(1, 40), elements=st.integers(-3000, 3000))
FLOATS = arrays.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(-3000, 3000, width=32)
)  # fmt: skip
BOUND = Fraction(1, 2) + Fraction(1, 1 << 30)
"""One rounding to an integer, and three of float64 on numbers below 2^18."""


@given(VALUES | FLOATS, st.integers(-1000, 0), st.integers(1, 1000))
def test_a_window_is_the_formula_rounded(values, low, high):
    found = intensity.apply_window(values, low, high)
    assert found.dtype == np.uint16
    for value, new in zip(values.tolist(), found.tolist(), strict=True):
        exact = (Fraction(value) - low) / (high - low) * 65535
        assert abs(min(max(exact, 0), 65535) - new) <= BOUND


def test_halves_go_to_the_even_neighbour():
    values = np.array([1, 3, 5], np.int16)
    assert intensity.apply_window(values, 0, 131070).tolist() == [0, 2, 2]


def test_an_empty_window_divides_in_two():
    values = np.array([3.0, 4.0, 5.0], np.float32)
    assert intensity.apply_window(values, 4, 4).tolist() == [0, 0, 65535]


@given(VALUES | FLOATS, st.lists(st.floats(0, 100), min_size=1, max_size=3))
def test_a_percentile_is_the_value_of_that_rank(values, shares):
    ordered = sorted(values.tolist())
    expected = []
    for share in shares:
        rank = math.ceil(Fraction(share) * len(ordered) / 100)
        expected.append(ordered[max(rank, 1) - 1])
    assert intensity.percentiles_of(values, shares) == expected


def test_the_size_of_a_piece_has_no_influence(monkeypatch):
    values = (np.arange(1000, dtype=np.int32) * 7919 % 4001).reshape(10, 100)
    whole = intensity.apply_window(values, 100, 3000)
    monkeypatch.setattr(intensity, "_VALUES_AT_ONCE", 7)
    assert (intensity.apply_window(values, 100, 3000) == whole).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wide_values_need_a_window(dtype):
    values = np.array([10000, 40000, 70000], dtype)
    with pytest.raises(errors.DatasetError, match="intensity") as caught:
        intensity.rescale(values, TokenizerSection(), "a/b")
    assert caught.value.where == "a/b"
    options = TokenizerSection(intensity="percentile", percentiles=(0, 100))
    assert intensity.rescale(values, options, "a/b").tolist() == [0, 32768, 65535]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([[-1024.0, 3071.0]], np.float32), np.int16),
        (np.array([[0, 65535]], np.int32), np.uint16),
        (np.array([[0, 7]], np.int32), np.int16),
    ],
)
def test_whole_numbers_of_wider_types_are_stored_exactly(values, dtype):
    stored = intensity.rescale(values, TokenizerSection(), "k")
    assert stored.dtype == dtype
    assert (stored == values).all()
    assert intensity.prepared_dtype(values.dtype, TokenizerSection()).itemsize == 2


@pytest.mark.parametrize(
    "values", [[0.5, 1.0], [-1.0, 40000.0], [np.nan, 1.0], [np.inf, 1.0], [0.0, 65536.0]]
)
def test_other_numbers_are_refused(values):
    with pytest.raises(errors.DatasetError, match="whole numbers of at most 16 bits"):
        intensity.rescale(np.array([values], np.float32), TokenizerSection(), "k")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_stored_integers_stay_as_they_are(dtype):
    values = np.array([1, 2, 3], dtype)
    assert intensity.rescale(values, TokenizerSection(), "") is values
    assert intensity.prepared_dtype(dtype, TokenizerSection()) == dtype


@pytest.mark.parametrize(
    "options",
    [
        {"intensity": "window"}, {"window": (0, 1)}, {"intensity": "window", "window": (1, 1)},
        {"intensity": "window", "window": (1,)}, {"percentiles": (5, 5)},
    ],
)  # fmt: skip
def test_ranges_that_say_nothing_are_refused(options):
    with pytest.raises(ValueError, match="window"):
        TokenizerSection(**options)


class TestDisplays:
    """Black stays black and white becomes white, whatever the bits."""

    OPTIONS = TokenizerSection(intensity="display")

    def test_every_value_of_8_bits_keeps_its_share_of_white(self):
        values = np.arange(256, dtype=np.uint8)
        found = intensity.rescale(values, self.OPTIONS, "x")
        assert found.dtype == np.uint16 == intensity.prepared_dtype(np.uint8, self.OPTIONS)
        assert [Fraction(int(new), 65535) for new in found] == [
            Fraction(v, 255) for v in range(256)
        ]

    def test_16_bits_stay(self):
        values = np.array([0, 1, 4095, 65535], np.uint16)
        assert intensity.rescale(values, self.OPTIONS, "x").tolist() == values.tolist()

    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
    def test_what_is_no_display_is_refused(self, dtype):
        with pytest.raises(errors.DatasetError, match=f"x: .*{np.dtype(dtype).name}"):
            intensity.rescale(np.zeros(4, dtype), self.OPTIONS, "x")
