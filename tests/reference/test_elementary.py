# SPDX-License-Identifier: Apache-2.0
"""Elementary functions and distributions against mpmath and scipy, within the bounds they state.

Not tested here: the words that distributions are made of (tests/unit/test_randomness.py).
"""

import math
import struct

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import distributions, elementary

REFUSE_BELOW = 1e-4
PRECISION = 1200
"""Bits that mpmath works with: enough for cosines of 2^60 and for exp of the smallest float."""

SMALLEST, LARGEST = 5e-324, 1.7976931348623157e308
SPECIAL = [
    SMALLEST, 2.2250738585072014e-308, 2.0**-1060, 2.0**-300, 2.0**-150, 2.0**-70, 2.0**-54,
    2.0**-53, 2.0**-52, 2.0**-27, 2.0**-26, 1e-5, 0.1, 0.5, 1.0 - 2.0**-53, 1.0, 1.0 + 2.0**-52,
    1.5, 2.0, 3.0, math.e, math.pi, math.pi / 2, math.pi / 4, 22.0, 355.0, 700.0,
]  # fmt: skip
finite = st.floats(allow_nan=False, allow_infinity=False)
angles = st.floats(-(2.0**60), 2.0**60)


def bits(x):
    return struct.pack("<d", x)


def nearest(value):
    """The float64 nearest to an mpmath number, ties to even, gradual underflow included."""
    if value == 0:
        return 0.0
    sign, mantissa, exponent, _ = value._mpf_
    numerator = -mantissa if sign else mantissa
    try:
        if exponent >= 0:
            return float(numerator << exponent)
        return numerator / (1 << -exponent)  # Python rounds this quotient correctly
    except OverflowError:
        return math.inf


def reference(name, *arguments):
    with mpmath.workprec(PRECISION):
        return nearest(getattr(mpmath, name)(*map(mpmath.mpf, arguments)))


def random_floats(name, count, low, high):
    drawn = randomness.stream(11, "arguments", name).uniform64(count)
    return (low + (high - low) * drawn).tolist()


def random_patterns(name, count):
    words = randomness.stream(12, "patterns", name).words(2 * count).view(np.float64)
    return [float(x) for x in words if math.isfinite(x)]


class TestExp:
    """The float64 nearest to e^x."""

    def test_random_arguments(self):
        for x in random_floats("exp", 600, -745.2, 709.78):
            assert bits(elementary.exp(x)) == bits(reference("exp", x)), x

    def test_results_below_the_normal_range(self):
        for x in random_floats("exp denormal", 200, -745.2, -708.0):
            assert bits(elementary.exp(x)) == bits(reference("exp", x)), x

    @pytest.mark.parametrize("x", [0.0, -0.0, *SPECIAL, *(-x for x in SPECIAL), *range(-20, 20)])
    def test_special_arguments(self, x):
        assert bits(elementary.exp(x)) == bits(reference("exp", x))

    @settings(max_examples=200)
    @given(st.floats(-746.5, 709.78))
    def test_any_argument(self, x):
        assert bits(elementary.exp(x)) == bits(reference("exp", x))

    @pytest.mark.parametrize("x", [-745.1332191019412, -745.133219101942, -746.0, -900.0])
    def test_it_sinks_to_zero_where_half_the_smallest_float_is_passed(self, x):
        assert bits(elementary.exp(x)) == bits(reference("exp", x))
        assert elementary.exp(-745.0) == SMALLEST
        assert elementary.exp(-LARGEST) == 0.0

    @pytest.mark.parametrize("x", [709.782712893385, 710.0, 745.0, 745.2, 1e10, LARGEST])
    def test_beyond_the_range_it_refuses(self, x):
        with pytest.raises(OverflowError):
            elementary.exp(x)

    def test_the_last_argument_within_the_range_is_computed(self):
        assert elementary.exp(709.782712893384) == reference("exp", 709.782712893384) < math.inf


class TestLog:
    """The float64 nearest to the natural logarithm."""

    def test_random_bit_patterns(self):
        for x in random_patterns("log", 600):
            if x != 0:
                assert bits(elementary.log(abs(x))) == bits(reference("log", abs(x))), x

    def test_arguments_close_to_one(self):
        for k in range(1, 53):
            for x in (1.0 + 2.0**-k, 1.0 - 2.0**-k):
                assert bits(elementary.log(x)) == bits(reference("log", x)), x

    @pytest.mark.parametrize("x", [*SPECIAL, LARGEST, *range(4, 22)])
    def test_special_arguments(self, x):
        assert bits(elementary.log(x)) == bits(reference("log", x))

    def test_the_logarithm_of_one_is_zero_and_no_power_of_one_is_another_number(self):
        assert bits(elementary.log(1.0)) == bits(0.0)
        assert elementary.power(1.0, LARGEST) == elementary.power(1.0, -LARGEST) == 1.0

    @pytest.mark.parametrize("x", [0.0, -0.0, -1.0, -SMALLEST, math.nan, math.inf, -math.inf])
    def test_outside_of_its_domain_it_refuses(self, x):
        with pytest.raises(ValueError, match="positive finite"):
            elementary.log(x)


class TestPower:
    """The float64 nearest to base^exponent."""

    def test_random_arguments(self):
        bases = random_floats("base", 500, 0.0, 3.0)
        exponents = random_floats("exponent", 500, -300.0, 300.0)
        for base, exponent in zip(bases, exponents, strict=True):
            expected = reference("power", base, exponent)
            if expected < math.inf:
                assert bits(elementary.power(base, exponent)) == bits(expected), (base, exponent)

    @pytest.mark.parametrize("base", [0.9, 0.999, 0.1, 0.5, 0.99, 1 - 2.0**-53])
    @pytest.mark.parametrize("count", [1, 2, 3, 10, 1000, 10_000, 1_000_000])
    def test_the_powers_of_bias_corrections(self, base, count):
        assert bits(elementary.power(base, float(count))) == bits(reference("power", base, count))

    @settings(max_examples=150)
    @given(st.floats(min_value=SMALLEST, max_value=LARGEST), st.floats(-5.0, 5.0))
    def test_any_base(self, base, exponent):
        expected = reference("power", base, exponent)
        if expected == math.inf:
            with pytest.raises(OverflowError):
                elementary.power(base, exponent)
        else:
            assert bits(elementary.power(base, exponent)) == bits(expected)

    @pytest.mark.parametrize("base", SPECIAL)
    def test_whole_and_half_powers(self, base):
        for exponent in (0.0, 1.0, -1.0, 2.0, 0.5, SMALLEST):
            expected = reference("power", base, exponent)
            if expected < math.inf:
                assert bits(elementary.power(base, exponent)) == bits(expected)

    def test_zero_to_a_positive_power_is_zero(self):
        assert bits(elementary.power(0.0, 0.9)) == bits(0.0)

    @pytest.mark.parametrize(("base", "exponent"), [(0.0, 0.0), (0.0, -1.0), (-1.0, 2.0)])
    def test_outside_of_its_domain_it_refuses(self, base, exponent):
        with pytest.raises(ValueError):
            elementary.power(base, exponent)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_numbers_that_are_not_finite_are_refused(self, bad):
        with pytest.raises(ValueError):
            elementary.power(bad, 1.0)
        with pytest.raises(ValueError):
            elementary.power(2.0, bad)

    def test_beyond_the_range_it_refuses_or_sinks_to_zero(self):
        assert elementary.power(0.1, 1e10) == 0.0
        assert elementary.power(10.0, -1e300) == 0.0
        with pytest.raises(OverflowError):
            elementary.power(10.0, 1e300)
        with pytest.raises(OverflowError):
            elementary.power(10.0, 308.5)


@pytest.mark.parametrize("name", ["cos", "sin"])
class TestAngles:
    """The float64 nearest to the cosine and the sine, up to 2^60 radians."""

    def test_random_arguments(self, name):
        for scale in (1.0, 7.0, 1e6, 2.0**60):
            for x in random_floats(f"{name} {scale}", 200, -scale, scale):
                assert bits(getattr(elementary, name)(x)) == bits(reference(name, x)), x

    @pytest.mark.parametrize("x", [0.0, *SPECIAL, *(-x for x in SPECIAL)])
    def test_special_arguments(self, name, x):
        assert bits(getattr(elementary, name)(x)) == bits(reference(name, x))

    def test_multiples_of_a_quarter_turn(self, name):
        for k in range(1, 300):
            for x in (k * (math.pi / 2), math.nextafter(k * (math.pi / 2), 0.0)):
                assert bits(getattr(elementary, name)(x)) == bits(reference(name, x)), x

    @settings(max_examples=100)
    @given(angles)
    def test_any_argument(self, name, x):
        found, expected = getattr(elementary, name)(x), reference(name, x)
        assert found == expected  # of zeros only the sign may differ
        assert bits(found) == bits(expected) or x == 0

    @pytest.mark.parametrize("x", [2.0**61, -LARGEST, math.nan, math.inf])
    def test_outside_of_its_domain_it_refuses(self, name, x):
        with pytest.raises(ValueError):
            getattr(elementary, name)(x)


def test_the_comparison_sees_a_result_that_is_one_unit_off():
    """Negative control: numpy's float32 exponential is not the nearest float64."""
    wrong = sum(
        bits(float(np.float64(np.float32(math.e) ** np.float32(x)))) != bits(reference("exp", x))
        for x in random_floats("control", 20, 0.0, 1.0)
    )
    assert wrong > 10


class TestVectorFunctions:
    """Within the bounds that docstrings state, in units of 2^-53."""

    arguments = np.array(random_floats("vector", 1500, 0.0, 1.0))

    def test_log_is_within_three_units(self):
        tiny = 2.0 ** -np.arange(0, 60, 0.37)
        for x in [*self.arguments, *tiny, 1.0 - 2.0**-53, 0.5, 0.70710678, 3.0, 1e300]:
            (found,) = distributions.log(np.array([x]))
            with mpmath.workprec(200):
                exact = mpmath.log(mpmath.mpf(float(x)))
                assert abs(mpmath.mpf(float(found)) - exact) <= 3 * abs(exact) / 2**53, x

    def test_turn_is_within_two_units(self):
        shares = np.concatenate([self.arguments, np.arange(0, 1, 1 / 64)])
        cosine, sine = distributions.turn(shares)
        for share, *found in zip(shares.tolist(), cosine.tolist(), sine.tolist(), strict=True):
            with mpmath.workprec(200):
                angle = 2 * mpmath.pi * mpmath.mpf(share)
                for value, exact in zip(found, (mpmath.cos(angle), mpmath.sin(angle)), strict=True):
                    assert abs(mpmath.mpf(value) - exact) <= 2 / mpmath.mpf(2**53), share

    def test_turn_is_exact_at_quarters(self):
        cosine, sine = distributions.turn(np.array([0.0, 0.25, 0.5, 0.75]))
        assert cosine.tolist() == [1.0, 0.0, -1.0, 0.0]
        assert sine.tolist() == [0.0, 1.0, 0.0, -1.0]

    def test_erfinv_is_within_its_relative_bound(self):
        close = 1.0 - 2.0 ** -np.arange(1.0, 24.0)
        small = 2.0 ** -np.arange(1.0, 24.0)
        x = np.concatenate([2 * self.arguments - 1, close, -close, small, -small])
        exact = special.erfinv(x)
        assert (np.abs(distributions.erfinv(x) - exact) <= 4e-7 * np.abs(exact)).all()

    def test_erfinv_of_the_borders_and_of_zero(self):
        found = distributions.erfinv(np.array([-1.0, 0.0, 1.0]))
        assert found.tolist() == [-math.inf, 0.0, math.inf]


class TestDistributions:
    """Moments and the Kolmogorov-Smirnov distance of 40000 numbers at a fixed seed."""

    count = 40_000

    def stream(self, *name):
        return randomness.stream(2026, "distributions", *name)

    @pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (-3.0, 0.02), (10.0, 5.0)])
    def test_normal_numbers_are_normal(self, mean, deviation):
        found = distributions.normal(self.stream("normal"), self.count, mean, deviation)
        assert stats.kstest(found, "norm", (mean, deviation)).pvalue > REFUSE_BELOW
        assert abs(found.mean() - mean) < 4 * deviation / math.sqrt(self.count)
        assert abs(found.std() / deviation - 1) < 4 / math.sqrt(2 * self.count)

    def test_the_two_numbers_of_a_pair_are_not_correlated(self):
        found = distributions.normal(self.stream("pairs"), self.count, 0.0, 1.0)
        for power in (1, 2):
            matrix = np.corrcoef(found[0::2] ** power, found[1::2] ** power)
            assert abs(matrix[0, 1]) < 4 / math.sqrt(self.count / 2)

    @pytest.mark.parametrize("count", [0, 1, 2, 7])
    def test_a_longer_normal_draw_begins_with_the_shorter_one(self, count):
        whole = distributions.normal(self.stream("prefix"), 8, 0.0, 1.0)
        part = distributions.normal(self.stream("prefix"), count, 0.0, 1.0)
        assert (part == whole[:count]).all()

    @pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.5, 1.0), (-0.05, 3.0)])
    def test_truncated_normal_numbers_are_what_they_say(self, low, high):
        rounds = distributions.RoundStreams(self.stream("truncated"))
        found = distributions.truncated_normal(rounds, self.count, 0.0, 1.0, low, high)
        assert low <= found.min()
        assert found.max() <= high
        expected = stats.truncnorm(low, high)
        assert stats.kstest(found, expected.cdf).pvalue > REFUSE_BELOW
        assert abs(found.mean() - expected.mean()) < 4 * expected.std() / math.sqrt(self.count)

    def test_bounds_that_hold_almost_nothing_are_refused(self, monkeypatch):
        monkeypatch.setattr(distributions, "_REJECTION_ROUNDS", 3)
        rounds = distributions.RoundStreams(self.stream("hopeless"))
        with pytest.raises(ValueError, match="holds too little"):
            distributions.truncated_normal(rounds, 10, 0.0, 1.0, 50.0, 51.0)

    def test_every_round_of_a_draw_has_a_stream_of_its_own(self):
        rounds = distributions.RoundStreams(self.stream("rounds"))
        assert len({rounds(attempt).key for attempt in range(50)}) == 50
        assert rounds(0) == self.stream("rounds")

    @pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.03, 0.03), (0.9, 1.1)])
    def test_uniform_numbers_are_uniform_within_their_bounds(self, low, high):
        found = distributions.uniform(self.stream("uniform"), self.count, low, high)
        assert found.dtype == np.float32
        assert np.float32(low) <= found.min()
        assert found.max() <= np.float32(high)
        scaled = (found.astype(np.float64) - low) / (high - low)
        assert stats.kstest(scaled, "uniform").pvalue > REFUSE_BELOW

    def test_the_kolmogorov_smirnov_test_sees_a_wrong_deviation(self):
        """Negative control."""
        found = distributions.normal(self.stream("normal"), self.count, 0.0, 1.05)
        assert stats.kstest(found, "norm").pvalue < REFUSE_BELOW
