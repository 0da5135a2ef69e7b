# SPDX-License-Identifier: Apache-2.0
"""Elementary functions and formulas of tensors against mpmath, within the bounds they state.

Not tested here: independence of layout, threads and code generation (tests/property), derivatives
and losses as torch composes them (tests/reference/test_activations_against_torch.py).
"""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact.kernels import formulas, functions
from tiny_agent_trainer.exact.table import elementwise, launch

PRECISION = 300
LARGEST = float(np.finfo(np.float32).max)
BOUND = 0.51
"""Units in the last place of float32."""


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def log(x):
    return mpmath.log(x) if x else mpmath.mpf("-inf")


def normal(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def softplus(x):
    return mpmath.log1p(mpmath.exp(x))


def gelu_tanh(x):
    inner = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(0.044715) * x**3)
    return x * sigmoid(2 * inner)


def mish(x):
    return x * mpmath.tanh(softplus(x))


FUNCTIONS = {
    "cos": (functions.cos, mpmath.cos),
    "cube": (formulas.cube, lambda x: x**3),
    "erf": (functions.erf, mpmath.erf),
    "erfc": (functions.erfc, mpmath.erfc),
    "exp": (functions.exp, mpmath.exp),
    "exp2": (functions.exp2, lambda x: mpmath.power(2, x)),
    "expm1": (functions.expm1, mpmath.expm1),
    "gelu": (formulas.gelu, lambda x: x * normal(x)),
    "gelu_tanh": (formulas.gelu_tanh, gelu_tanh),
    "hardsigmoid": (formulas.hardsigmoid, lambda x: min(max(x + 3, 0), 6) / 6),
    "hardswish": (formulas.hardswish, lambda x: x * min(max(x + 3, 0), 6) / 6),
    "log": (functions.log, log),
    "log10": (functions.log10, lambda x: log(x) / mpmath.log(10)),
    "log1p": (functions.log1p, lambda x: log(1 + x) if x == -1 else mpmath.log1p(x)),
    "log2": (functions.log2, lambda x: log(x) / mpmath.log(2)),
    "log_sigmoid": (formulas.log_sigmoid, lambda x: -softplus(-x)),
    "mish": (formulas.mish, mish),
    "rsqrt": (formulas.rsqrt, lambda x: 1 / mpmath.sqrt(x)),
    "sigmoid": (functions.sigmoid, sigmoid),
    "silu": (formulas.silu, lambda x: x * sigmoid(x)),
    "sin": (functions.sin, mpmath.sin),
    "tanh": (functions.tanh, mpmath.tanh),
}
"""Our function and mpmath's."""

POSITIVE = {"log": 0.0, "log10": 0.0, "log2": 0.0, "rsqrt": 1e-45, "log1p": -1.0}
"""The smallest argument where that is not -infinity."""

ANGLES = {"sin", "cos"}


def every_binade(samples=6):
    """Numbers of every exponent and both signs, subnormals included, and their ends."""
    low, high = np.arange(0, 255, dtype=np.int64) << 23, (np.arange(1, 256) << 23) - 1
    drawn = randomness.stream(3, "mantissas", "x").uniform64(255 * samples)
    inside = (np.repeat(low, samples) + (drawn * 2**23).astype(np.int64)).astype(np.int64)
    bits = np.unique(np.concatenate([low, low + 1, low + 2, high, inside])).astype(np.uint32)
    magnitudes = bits.view(np.float32)
    return np.concatenate([magnitudes, -magnitudes])


def near(centre, count=200):
    """The floats next to a number, then ever further away."""
    centre = np.float32(centre)
    steps = np.unique(np.geomspace(1, 2**23, count).astype(np.int64))
    base = int(centre.view(np.int32))
    return np.concatenate([base - steps, [base], base + steps]).astype(np.int32).view(np.float32)


HARD = {
    "cos": np.pi * np.arange(0.5, 200, 7.0),
    "erf": np.linspace(-4.1, 4.1, 401),
    "erfc": np.linspace(-4.1, 10.2, 801),
    "exp": np.linspace(-105, 90, 801),
    "exp2": np.linspace(-151, 129, 801),
    "expm1": np.linspace(-20, 90, 801),
    "gelu": np.linspace(-14.6, 6, 801),
    "gelu_tanh": np.linspace(-12, 6, 801),
    "log": near(1.0),
    "log10": near(1.0),
    "log1p": np.concatenate([near(1.0), near(-0.5), near(0.41421354), near(-0.29289323)]),
    "log2": near(1.0),
    "log_sigmoid": np.linspace(-30, 110, 801),
    "mish": np.linspace(-100, 45, 801),
    "sigmoid": np.linspace(-105, 30, 801),
    "silu": np.linspace(-110, 30, 801),
    "sin": np.pi * np.arange(0, 200, 7.0),
    "tanh": np.linspace(-10, 10, 801),
}


def arguments(name):
    found = np.concatenate([every_binade(), HARD.get(name, np.empty(0))]).astype(np.float32)
    found = found[np.isfinite(found)]
    if name in ANGLES:
        found = found[np.abs(found) <= functions.ANGLE_LIMIT]
    return found[found >= np.float32(POSITIVE.get(name, -math.inf))]


def unit(true):
    """The unit in the last place of float32 at a number."""
    if not true:
        return mpmath.mpf(2) ** -149
    return mpmath.mpf(2) ** max(mpmath.floor(mpmath.log(abs(true), 2)) - 23, -149)


def error(result, true):
    """The distance of a float32 from the truth in units in the last place."""
    if mpmath.isinf(true) or abs(true) >= mpmath.mpf(2) ** 128 * (1 - mpmath.mpf(2) ** -25):
        return 0.0 if math.isinf(result) and (result > 0) == (true > 0) else math.inf
    if math.isinf(result) or math.isnan(result):
        return math.inf
    return float(abs(mpmath.mpf(float(result)) - true) / unit(true))


def apply(function, *columns, parameters=()):
    tensors = [torch.from_numpy(np.asarray(column, np.float32)) for column in columns]
    return launch.wide(function, *tensors, parameters=parameters).numpy()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_result_is_within_half_a_unit_for_every_exponent(name):
    function, reference = FUNCTIONS[name]
    chosen = arguments(name)
    worst, place = 0.0, None
    with mpmath.workprec(PRECISION):
        for x, result in zip(chosen.tolist(), apply(function, chosen).tolist(), strict=True):
            found = error(result, reference(mpmath.mpf(x)))
            if found > worst:
                worst, place = found, x
    print(f"{name}: {worst:.5f} at {place!r} of {len(chosen)}")
    assert worst <= BOUND, f"{name}({place!r}) is {worst} units away"


@pytest.mark.parametrize("name", FUNCTIONS)
@given(x=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_any_argument_does(name, x):
    function, reference = FUNCTIONS[name]
    if x < POSITIVE.get(name, -math.inf) or (name in ANGLES and abs(x) > functions.ANGLE_LIMIT):
        return
    with mpmath.workprec(PRECISION):
        assert error(apply(function, [x])[0], reference(mpmath.mpf(x))) <= BOUND


@given(
    x=st.floats(2.0**-149, LARGEST, width=32),
    y=st.one_of(st.floats(-200, 200, width=32), st.floats(width=32, allow_nan=False)),
)
def test_powers_of_positive_numbers(x, y):
    if math.isinf(y):
        return
    with mpmath.workprec(PRECISION):
        exponent = y * mpmath.log(mpmath.mpf(x), 2)
        if abs(exponent) > 1000:
            return
        true = mpmath.power(mpmath.mpf(x), mpmath.mpf(y))
        assert error(apply(functions.power, [x], [y])[0], true) <= BOUND


@pytest.mark.parametrize("name", ["exp", "expm1", "log1p", "tanh", "sin", "erf"])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zero_has_the_sign_of_the_standard(name, zero):
    result = apply(FUNCTIONS[name][0], [zero])
    expected = np.float32(1.0) if name == "exp" else np.float32(zero)
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays_nan(name):
    assert np.isnan(apply(FUNCTIONS[name][0], [math.nan])).all()


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", -math.inf, 0.0), ("exp", math.inf, math.inf), ("expm1", -math.inf, -1.0),
        ("log", 0.0, -math.inf), ("log", -0.0, -math.inf), ("log", math.inf, math.inf),
        ("log", -1.0, math.nan), ("log", -math.inf, math.nan), ("log1p", -1.0, -math.inf),
        ("log1p", -1.5, math.nan), ("log2", 2.0**-149, -149.0), ("log2", 2.0**100, 100.0),
        ("log10", 1e10, 10.0), ("exp2", -149.0, 2.0**-149), ("exp2", 127.0, 2.0**127),
        ("tanh", math.inf, 1.0), ("tanh", -math.inf, -1.0), ("sigmoid", math.inf, 1.0),
        ("sigmoid", -math.inf, 0.0), ("erf", math.inf, 1.0), ("erfc", math.inf, 0.0),
        ("erfc", -math.inf, 2.0), ("rsqrt", 0.0, math.inf), ("rsqrt", math.inf, 0.0),
        ("hardsigmoid", 3.0, 1.0), ("hardswish", -3.0, -0.0), ("hardswish", 5.0, 5.0),
    ],
)  # fmt: skip
def test_special_values(name, x, expected):
    result = apply(FUNCTIONS[name][0], [x])[0]
    assert np.isnan(result) if math.isnan(expected) else result == np.float32(expected)


SPECIAL_POWERS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -2.5, 3e38, -3e38]
SPECIAL_POWERS += [math.inf, -math.inf, math.nan, 16777217.0, -16777215.0]


def test_powers_of_special_values_are_those_of_the_c_standard():
    x, y = (grid.ravel() for grid in np.meshgrid(SPECIAL_POWERS, SPECIAL_POWERS))
    result = apply(functions.power, x, y)
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.float32), y.astype(np.float32)).astype(np.float32)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    same_sign = np.signbit(result) == np.signbit(expected)
    assert (same_sign | np.isnan(expected)).all()


def test_large_angles_are_reduced_in_integers():
    angles = np.array([2.0**20 + 0.25, 1e7, 1e9, 123456789.0, 2.0**59, -3e15], np.float32)
    for name, apply_to in (("sin", elementwise.sin), ("cos", elementwise.cos)):
        results = apply_to(torch.from_numpy(angles)).tolist()
        with mpmath.workprec(PRECISION):
            for x, result in zip(angles.tolist(), results, strict=True):
                assert error(result, getattr(mpmath, name)(mpmath.mpf(x))) <= BOUND
    assert elementwise.sin(torch.tensor([math.inf, 1e8])).isnan().tolist() == [True, False]


def test_an_angle_too_large_is_refused():
    with pytest.raises(errors.UnsupportedOperationError, match="2\\^60"):
        elementwise.cos(torch.tensor([1.0, 2.0**61]))


def test_negative_control_a_function_of_the_wrong_degree_fails():
    """The measure of the error sees a relative error of 2^-23."""
    with mpmath.workprec(PRECISION):
        true = mpmath.exp(1)
        assert error(np.float32(float(true)), true) <= BOUND
        assert error(np.nextafter(np.float32(float(true)), np.float32(9)), true) > BOUND
