# SPDX-License-Identifier: Apache-2.0
"""Measurements are ratios of counts that are rounded once.

Not tested here: which counts the validator puts into them (tests/unit/validator).
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer.reports import words
from tiny_agent_trainer.reports.measurement import Figure, Mean, Measurement, encode_metric

counts = st.integers(0, 2**80)
positive_counts = st.integers(1, 2**80)


def nearest(ratio: Fraction) -> float:
    return float(ratio)  # Fraction.__float__ divides integers, which rounds once


class TestMeasurement:
    """`value` is the float64 nearest to numerator/denominator."""

    @given(counts, positive_counts)
    def test_is_rounded_once(self, numerator, denominator):
        part = Measurement(name="x", numerator=numerator, denominator=denominator)
        exact = Fraction(numerator, denominator)
        assert part.value == nearest(exact)
        neighbour_gap = abs(Fraction(part.value) - exact)
        assert neighbour_gap <= exact / 2**53

    def test_without_denominator_is_undefined_and_says_why(self):
        part = Measurement(name="ppv[a]", numerator=0, denominator=0, over="samples called a")
        assert part.value is None
        assert part.undefined_because == "ppv[a]: there are no samples called a"

    def test_with_denominator_gives_no_reason(self):
        assert Measurement(name="x", numerator=0, denominator=3).undefined_because is None

    @pytest.mark.parametrize(("numerator", "denominator"), [(-1, 2), (1, -2)])
    def test_refuses_negative_counts(self, numerator, denominator):
        with pytest.raises(ValueError, match="two counts"):
            Measurement(name="x", numerator=numerator, denominator=denominator)


class TestMean:
    """`value` is the float64 nearest to the exact mean."""

    @given(
        st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**9)), min_size=1, max_size=9)
    )
    def test_is_rounded_once(self, pairs):
        parts = tuple(Measurement(name="x", numerator=n, denominator=d) for n, d in pairs)
        exact = sum(Fraction(n, d) for n, d in pairs) / len(pairs)
        assert Mean(name="m", of=parts).value == nearest(exact)

    def test_differs_from_a_mean_of_rounded_values(self):
        """Negative control: rounding the parts first gives another float here."""
        parts = tuple(Measurement(name="x", numerator=1, denominator=d) for d in (3, 7, 19))
        rounded = sum(part.value for part in parts) / len(parts)
        exact = Mean(name="m", of=parts).value
        assert exact == float(sum(Fraction(1, d) for d in (3, 7, 19)) / 3)
        assert rounded != exact

    def test_names_every_undefined_part(self):
        parts = (
            Measurement(name="a", numerator=0, denominator=0, over="apples"),
            Measurement(name="b", numerator=1, denominator=2),
            Measurement(name="c", numerator=0, denominator=0, over="cherries"),
        )
        mean = Mean(name="m", of=parts)
        assert mean.value is None
        assert mean.undefined_because == "a: there are no apples; c: there are no cherries"

    def test_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match="at least one"):
            Mean(name="m", of=())


class TestEncoding:
    """Counts beyond 2^53 - 1 are strings of digits."""

    def test_small_counts_are_numbers(self):
        part = Measurement(name="x", numerator=2**53 - 2, denominator=2**53 - 1)
        assert encode_metric(part)["numerator"] == 2**53 - 2
        assert encode_metric(part)["denominator"] == 2**53 - 1

    def test_large_counts_are_strings(self):
        encoded = encode_metric(Measurement(name="x", numerator=2**53, denominator=2**64))
        assert encoded["numerator"] == "9007199254740992"
        assert encoded["denominator"] == "18446744073709551616"

    def test_a_mean_names_its_parts(self):
        parts = (Measurement(name="f1[a]", numerator=1, denominator=2),)
        assert encode_metric(Mean(name="macro_f1", of=parts)) == {
            "name": "macro_f1",
            "value": 0.5,
            "mean_of": ["f1[a]"],
        }


class TestFigure:
    """A value that is no ratio of counts says over how many samples it is."""

    def test_is_encoded_with_its_number_of_samples(self):
        figure = Figure(name="rmse", value=1.5, num_samples=1200)
        assert encode_metric(figure) == {"name": "rmse", "value": 1.5, "num_samples": 1200}
        assert figure.undefined_because is None
        assert words.show_counts(figure) == "n=1,200"

    def test_without_value_says_why(self):
        figure = Figure(name="r2", value=None, num_samples=3, reason="all true values are equal")
        assert encode_metric(figure) == {
            "name": "r2",
            "value": None,
            "num_samples": 3,
            "undefined_because": "r2: all true values are equal",
        }
