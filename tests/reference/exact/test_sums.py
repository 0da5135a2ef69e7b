# SPDX-License-Identifier: Apache-2.0
"""Exact sums against rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from rational import exponent_of, round_to_float32, same_bits

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import grids, sums, threads

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = numpy_strategies.arrays(np.float32, st.integers(1, 40), elements=finite)


def exact_sum(values, bits):
    """Equations (3) and (4) word for word."""
    step = Fraction(2) ** (exponent_of(values, grids.SUM_FLOOR) - bits)
    total = sum(round(Fraction(float(value)) / step) for value in values)
    rounded = round_to_float32(Fraction(total))  # the integer is rounded, then scaled
    return np.ldexp(rounded, int(math.log2(step)))


class TestSums:
    """Every term is rounded once to the grid, the sum of the grid once to float32."""

    @given(vectors)
    def test_total_equals_rational_arithmetic(self, values):
        with np.errstate(over="ignore", under="ignore"):
            assert same_bits(sums.total(values), exact_sum(values, grids.sum_bits(len(values))))

    @given(vectors, st.randoms())
    def test_order_is_free(self, values, random):
        shuffled = values.tolist()
        random.shuffle(shuffled)
        with np.errstate(over="ignore", under="ignore"):
            assert same_bits(sums.total(np.float32(shuffled)), sums.total(values))

    def test_rows_and_columns_equal_totals(self):
        values = randomness.stream(3, "v").uniform(6 * 5 * 4).reshape(6, 5, 4) - np.float32(0.3)
        columns = sums.of_columns(values, "values")
        rows = sums.of_rows(values.reshape(30, 4), "values")
        for b in range(6):
            for c in range(4):
                alone = sums.total(np.ascontiguousarray(values[b, :, c]))
                assert same_bits(columns[b, c], alone)
        assert all(same_bits(rows[r], sums.total(values.reshape(30, 4)[r])) for r in range(30))

    @pytest.mark.parametrize("number", [2, 3, 7])
    def test_threads_and_parts_change_nothing(self, number):
        values = (randomness.stream(3, "long").uniform(100_003) - np.float32(0.5)) ** 9
        expected = (
            sums.total(values),
            sums.norm(values),
            sums.of_columns(values.reshape(1, -1, 1), ""),
        )
        threads.set_threads(number)
        again = sums.total(values), sums.norm(values), sums.of_columns(values.reshape(1, -1, 1), "")
        assert all(map(same_bits, expected, again))
        assert expected[0] == pytest.approx(math.fsum(values.tolist()), rel=1e-6)
        assert expected[1] == pytest.approx(np.linalg.norm(values.astype(np.float64)), rel=1e-7)

    def test_a_double_rounding_would_show(self):
        """2^60 + 2^36 + 1 rounds up to float32, but down by way of float64."""
        totals = np.array([2**60 + 2**36 + 1])
        assert sums.rounded(totals, np.int32(0))[0] == np.float32(2**60 + 2**37)
        assert np.float32(np.float64(totals[0])) == np.float32(2**60)

    @given(
        st.lists(numpy_strategies.arrays(np.float32, 5, elements=finite), min_size=2, max_size=5)
    )
    def test_shards_add_in_any_order(self, parts):
        """Each span of the vector on a grid of its own, as the rational sum has it."""
        spans = [slice(0, 2), slice(2, 5)]

        def add(vectors):
            largest = sums.largest_of_spans(vectors, spans, "gradients")
            shifts = sums.shard_shifts(largest, len(vectors), "gradients")
            pairs = zip(spans, shifts, strict=True)
            added = [sums.add_on_grid(vectors, span, shift) for span, shift in pairs]
            return shifts, np.concatenate(added)

        shifts, totals = add(parts)
        assert same_bits(add(parts[::-1])[1], totals)
        bits = grids.sum_bits(len(parts), grids.SHARD_BITS)
        for span, shift in zip(spans, shifts, strict=True):
            values = np.concatenate([part[span] for part in parts])
            assert shift == bits - exponent_of(values, grids.SUM_FLOOR)
            step = Fraction(2) ** int(-shift)
            for place in range(span.start, span.stop):
                terms = [round(Fraction(float(part[place])) / step) for part in parts]
                assert totals[place] == sum(terms)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    @pytest.mark.parametrize("function", [sums.total, sums.norm])
    def test_refuses_what_is_not_finite(self, function, bad):
        with pytest.raises(errors.NotFiniteError):
            function(np.array([1, bad, 2], np.float32))

    def test_terms_stay_below_the_accumulator(self):
        """Equation (3) at its bound: n terms of the largest magnitude."""
        for count in (1, 2, 3, 2**20, 2**22 - 1, 2**22, 2**40):
            assert count * 2 ** grids.sum_bits(count) <= 2**62
