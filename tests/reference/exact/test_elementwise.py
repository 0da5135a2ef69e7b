# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of every element against rational arithmetic, through torch's own interface.

Not tested here: elementary functions (test_functions_of_tensors.py), independence of layout and
threads (tests/property/test_elementwise_bits.py).
"""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from rational import round_to_float32, same_bits

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import mode

moderate = st.floats(-(2.0**40), 2.0**40, width=32)
COUNT = 19
"""A vector register or two of float32, and a rest."""

SMALLEST_DIVISOR = 2.0**-40
"""So that no quotient leaves float32."""

vectors = numpy_strategies.arrays(np.float32, COUNT, elements=moderate)
scalars = st.floats(-(2.0**20), 2.0**20)


def exact(operation, *arguments, **keywords):
    with mode.arithmetic():
        return operation(*arguments, **keywords)


def rounded(x):
    """A Fraction as the Fraction of the float32 nearest to it."""
    return Fraction(float(round_to_float32(Fraction(x))))


def of(x):
    return Fraction(float(x))


def check(result, columns, formula):
    """Every element of a result is the formula of Fractions, rounded at each operation."""
    expected = [formula(*map(of, values)) for values in zip(*columns, strict=True)]
    assert [of(x) for x in result.reshape(-1).tolist()] == expected


class TestSingleOperations:
    """+ - * / and the square root are one rounding per element."""

    @given(vectors, vectors)
    def test_sum_difference_product(self, a, b):
        x, y = torch.from_numpy(a), torch.from_numpy(b)
        check(exact(torch.add, x, y), (a, b), lambda p, q: rounded(p + q))
        check(exact(torch.sub, x, y), (a, b), lambda p, q: rounded(p - q))
        check(exact(torch.mul, x, y), (a, b), lambda p, q: rounded(p * q))

    @given(vectors, vectors)
    def test_quotient(self, a, b):
        b = np.where(abs(b) < SMALLEST_DIVISOR, np.float32(3), b)
        check(exact(torch.div, *map(torch.from_numpy, (a, b))), (a, b), lambda p, q: rounded(p / q))

    @given(vectors, scalars.filter(lambda x: abs(x) > SMALLEST_DIVISOR))
    def test_a_number_is_rounded_first_and_divides_as_a_division(self, a, number):
        x, single = torch.from_numpy(a), of(np.float32(number))
        check(exact(torch.add, x, number), (a,), lambda p: rounded(p + single))
        check(exact(torch.mul, x, number), (a,), lambda p: rounded(p * single))
        check(exact(torch.div, x, number), (a,), lambda p: rounded(p / single))
        check(exact(torch.rsub, x, number), (a,), lambda p: rounded(single - p))

    @given(numpy_strategies.arrays(np.float32, COUNT, elements=st.floats(0, 2.0**100, width=32)))
    def test_square_root(self, a):
        result = exact(torch.sqrt, torch.from_numpy(a)).numpy()
        expected = [np.float32(math.sqrt(x)) for x in a.tolist()]  # innocuous double rounding
        assert same_bits(result, np.array(expected, np.float32))

    def test_square_root_of_float64_is_the_nearest(self):
        x = torch.linspace(0, 3, 999, dtype=torch.float64)
        assert exact(torch.sqrt, x).tolist() == [math.sqrt(value) for value in x.tolist()]


class TestFusedForms:
    """`alpha`, `addcmul`, `addcdiv` and `lerp` are their single operations, each rounded."""

    @given(vectors, vectors, scalars)
    def test_alpha(self, a, b, alpha):
        x, y, single = torch.from_numpy(a), torch.from_numpy(b), of(np.float32(alpha))
        result = exact(torch.add, x, y, alpha=alpha)
        check(result, (a, b), lambda p, q: rounded(p + rounded(single * q)))
        result = exact(torch.sub, x, y, alpha=alpha)
        check(result, (a, b), lambda p, q: rounded(p - rounded(single * q)))
        result = exact(torch.rsub, x, y, alpha=alpha)
        check(result, (a, b), lambda p, q: rounded(q - rounded(single * p)))
        assert same_bits(
            exact(x.clone().add_, y, alpha=alpha).numpy(), exact(torch.add, x, y, alpha=alpha)
        )

    @given(vectors, vectors, vectors, scalars)
    def test_addcmul_and_addcdiv(self, a, b, c, value):
        c = np.where(abs(c) < SMALLEST_DIVISOR, np.float32(3), c)
        x, y, z = map(torch.from_numpy, (a, b, c))
        single = of(np.float32(value))
        result = exact(torch.addcmul, x, y, z, value=value)
        check(result, (a, b, c), lambda p, q, r: rounded(p + rounded(rounded(single * q) * r)))
        result = exact(torch.addcdiv, x, y, z, value=value)
        check(result, (a, b, c), lambda p, q, r: rounded(p + rounded(rounded(single * q) / r)))

    @given(vectors, vectors, st.floats(-2, 2, width=32))
    def test_lerp(self, a, b, weight):
        def formula(p, q):
            way, w = rounded(q - p), of(weight)
            if abs(w) < Fraction(1, 2):
                return rounded(p + rounded(w * way))
            return rounded(q - rounded(way * rounded(1 - w)))

        x, y = torch.from_numpy(a), torch.from_numpy(b)
        check(exact(torch.lerp, x, y, weight), (a, b), formula)
        weights = torch.full_like(x, weight)
        check(exact(torch.lerp, x, y, weights), (a, b), formula)
        check(exact(x.clone().lerp_, y, weight), (a, b), formula)

    def test_negative_control_torch_itself_fuses(self):
        """If torch's `add(alpha=)` were two roundings, spelling it out would prove nothing."""
        a, b = torch.linspace(-3, 3, 1001), torch.linspace(-2, 5, 1001).sin()
        native, ours = torch.add(a, b, alpha=0.3), exact(torch.add, a, b, alpha=0.3)
        if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
            assert not torch.equal(native, ours)
        assert torch.allclose(native, ours, rtol=1e-6, atol=1e-6)


class TestPowers:
    """Small integers and halves are the operations that they stand for."""

    @pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, -0.5, 2.5, -2.0, 7])
    def test_agrees_with_float64(self, exponent):
        x = torch.linspace(0.01, 9, 999)
        expected = x.double().pow(exponent).float()
        result = exact(torch.pow, x, exponent)
        assert (result - expected).abs().max() <= 2.0**-23 * expected.abs().max()
        assert ((result - expected).abs() <= 2.0**-23 * expected.abs()).all()
        assert same_bits(exact(x.clone().pow_, exponent).numpy(), result.numpy())

    def test_a_square_is_one_product(self):
        x = torch.linspace(-5, 5, 1001)
        assert same_bits(exact(torch.pow, x, 2).numpy(), (x * x).numpy())
        assert same_bits(exact(torch.square, x).numpy(), (x * x).numpy())

    def test_of_a_number_and_of_tensors(self):
        x = torch.linspace(-5, 5, 101)
        assert torch.allclose(exact(torch.pow, 3.0, x), (3.0 ** x.double()).float(), rtol=2e-7)
        base = x.abs() + 0.1
        expected = (base.double() ** x.double()).float()
        assert torch.allclose(exact(torch.pow, base, x), expected, rtol=2e-7)
        assert exact(torch.pow, torch.arange(4), 3).tolist() == [0, 1, 8, 27]
        assert exact(torch.pow, 2, torch.arange(4)).tolist() == [1, 2, 4, 8]


class TestChoices:
    """Of 0 and -0 the first operand wins; NaN stays NaN."""

    ZEROS = torch.tensor([0.0, -0.0, 0.0, -0.0] * 5)
    OTHERS = torch.tensor([-0.0, 0.0, 0.0, -0.0] * 5)

    @pytest.mark.parametrize("operation", [torch.maximum, torch.minimum])
    def test_ties(self, operation):
        result = exact(operation, self.ZEROS, self.OTHERS)
        assert same_bits(result.numpy(), self.ZEROS.numpy())

    @pytest.mark.parametrize("bound", [0.0, -0.0])
    def test_a_bound_that_is_met_leaves_the_argument(self, bound):
        for keywords in ({"min": bound}, {"max": bound}, {"min": bound, "max": bound}):
            assert same_bits(exact(torch.clamp, self.ZEROS, **keywords).numpy(), self.ZEROS.numpy())

    def test_relu_of_minus_zero_is_zero(self):
        assert same_bits(exact(torch.relu, self.ZEROS).numpy(), np.zeros(20, np.float32))
        assert same_bits(exact(torch.relu_, self.ZEROS.clone()).numpy(), np.zeros(20, np.float32))

    def test_nan(self):
        nan, one = torch.full((19,), math.nan), torch.ones(19)
        for result in (
            exact(torch.maximum, nan, one), exact(torch.maximum, one, nan),
            exact(torch.minimum, nan, one), exact(torch.minimum, one, nan),
            exact(torch.clamp, nan, -1.0, 1.0), exact(torch.relu, nan),
            exact(torch.clamp, one, nan, nan),
        ):  # fmt: skip
            assert result.isnan().all()

    @given(vectors, vectors, vectors)
    def test_values(self, a, b, c):
        x, low, high = map(torch.from_numpy, (a, b, c))
        assert torch.equal(exact(torch.maximum, x, low), torch.maximum(x, low))
        assert torch.equal(exact(torch.minimum, x, low), torch.minimum(x, low))
        assert torch.equal(exact(torch.clamp, x, low, high), torch.clamp(x, low, high))
        assert torch.equal(exact(torch.clamp, x, -1, 3), torch.clamp(x, -1, 3))
        assert torch.equal(exact(torch.clamp, x, 3, -1), torch.clamp(x, 3, -1))
        for name in ("clamp_min", "clamp_max"):
            assert torch.equal(exact(getattr(torch, name), x, 0.5), getattr(torch, name)(x, 0.5))
            assert torch.equal(exact(getattr(torch, name), x, low), getattr(torch, name)(x, low))
        assert torch.equal(exact(x.clone().clamp_, -1, 3), torch.clamp(x, -1, 3))
        assert torch.equal(exact(x.clone().clamp_min_, low), torch.maximum(x, low))


class TestIntegers:
    """Integers keep torch's own arithmetic."""

    def test_arithmetic(self):
        a, b = torch.arange(-5, 6), torch.arange(11) + 2**53
        assert exact(torch.add, a, b, alpha=3).tolist() == (a + 3 * b).tolist()
        assert exact(torch.maximum, a, b).tolist() == b.tolist()
        assert exact(torch.clamp, a, -2, 2).tolist() == a.clamp(-2, 2).tolist()
        assert exact(torch.remainder, a, 3).tolist() == (a % 3).tolist()
        assert exact(torch.floor_divide, a, 3).tolist() == (a // 3).tolist()
        assert exact(torch.relu, a).tolist() == torch.relu(a).tolist()

    def test_functions_of_integers_are_of_float32(self):
        result = exact(torch.sqrt, torch.arange(5))
        assert result.dtype == torch.float32
        assert exact(torch.exp, torch.arange(3)).dtype == torch.float32


class TestRefusals:
    """What has no definition is refused, not approximated."""

    @pytest.mark.parametrize(
        "operation",
        [torch.exp, torch.tanh, torch.sigmoid, torch.nn.functional.gelu, torch.sin, torch.exp_],
    )
    def test_functions_of_float64(self, operation):
        with pytest.raises(errors.UnsupportedOperationError, match="float64"):
            exact(operation, torch.ones(3, dtype=torch.float64))

    @pytest.mark.parametrize("operation", [torch.fmod, torch.remainder, torch.floor_divide])
    def test_remainders_of_floats(self, operation):
        with pytest.raises(errors.UnsupportedOperationError, match="remainder"):
            exact(operation, torch.ones(3), 0.3)

    def test_a_function_into_integers(self):
        with pytest.raises(errors.UnsupportedOperationError, match="int64"):
            exact(torch.exp_, torch.arange(3))

    def test_float64_arithmetic_is_native(self):
        x = torch.linspace(0, 1, 9, dtype=torch.float64)
        assert torch.equal(exact(torch.add, x, x / 3), x + x / 3)
        assert torch.equal(exact(torch.clamp, x, 0.1, 0.9), x.clamp(0.1, 0.9))


class TestOutVariants:
    """The optimisers write into tensors that they have."""

    def test_equal_the_others(self):
        a, b, out = torch.linspace(1, 3, 40), torch.linspace(2, 9, 40), torch.empty(40)
        for name in ("add", "sub", "mul", "div"):
            expected = exact(getattr(torch, name), a, b)
            assert exact(getattr(torch, name), a, b, out=out) is out
            assert torch.equal(out, expected)
        for name in ("sqrt", "exp", "sigmoid", "rsqrt"):
            assert exact(getattr(torch, name), a, out=out) is out
            assert torch.equal(out, exact(getattr(torch, name), a))
        for name in ("maximum", "minimum"):
            assert exact(getattr(torch, name), a, b, out=out) is out
            assert torch.equal(out, exact(getattr(torch, name), a, b))
