# SPDX-License-Identifier: Apache-2.0
"""Activations, forward and gradient, against torch in float64 within derived bounds.

A formula with one rounding is within 0.51 units, 1.02 * 2^-24 of its value. Derivatives that torch
takes from a result that is already rounded, or that cancel, are given 2^-22 of the gradient's
magnitude. Parameters that float32 does not hold (SELU's) are off by 2^-25 each.

Not tested here: bits (tests/property/test_elementwise_bits.py), losses (test_losses.py).
"""

import pytest
import torch
from rational import same_bits
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import mode
from tiny_agent_trainer.exact.table import TABLE

HALF_UNIT = 1.02 * 2.0**-24
CANCELLATION = 2.0**-22
NOISE = 1e-15
"""Of float64."""

ACTIVATIONS = {
    "celu": lambda x: F.celu(x, 2.0),
    "cos": torch.cos,
    "elu": lambda x: F.elu(x, 0.75),
    "erf": torch.erf,
    "erfc": torch.erfc,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "glu": lambda x: F.glu(x, 1),
    "hardshrink": lambda x: F.hardshrink(x, 0.75),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 1.5),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.125),
    "log": lambda x: torch.log(x * x + 0.5),
    "log1p": lambda x: torch.log1p(x * x),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "prelu, one slope": lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.25, 0.5, -0.75, 2.0], dtype=x.dtype)),
    "relu": torch.relu,
    "relu6": F.relu6,
    "rsqrt": lambda x: torch.rsqrt(x * x + 0.5),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "sin": torch.sin,
    "softplus": lambda x: F.softplus(x, 0.5, 3.0),
    "softshrink": lambda x: F.softshrink(x, 0.75),
    "softsign": F.softsign,
    "sqrt": lambda x: torch.sqrt(x * x + 0.5),
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.25, -3.0),
}

COMPOSED = {"log", "log1p", "rsqrt", "sqrt", "softsign", "tanhshrink"}
"""Several roundings forward."""

IN_PLACE = ["celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu"]
IN_PLACE += ["relu6", "silu", "selu", "sigmoid", "tanh", "exp", "gelu"]


def values(name, shape=(6, 4, 5, 7), spread=4.0):
    stream = randomness.stream(8, "activations", name)
    count = int(torch.tensor(shape).prod())
    return (torch.from_numpy(stream.uniform(count)).reshape(shape) - 0.5) * (2 * spread)


def run(function, x, gradient):
    """A function and its derivative at a leaf."""
    leaf = x.clone().requires_grad_()
    result = function(leaf)
    result.backward(gradient.to(result.dtype))
    return result.detach(), leaf.grad


def compare(name, function, bound, spread=4.0):
    x = values(name, spread=spread)
    shape = function(x).shape
    gradient = values(f"{name} gradient", shape, 1.0)
    with mode.arithmetic():
        result, derivative = run(function, x, gradient)
    expected, expected_derivative = run(function, x.double(), gradient)
    error = (result.double() - expected).abs()
    smallest = bound if name in COMPOSED else NOISE
    assert (error <= bound * expected.abs() + smallest).all(), error.max()
    error = (derivative.double() - expected_derivative).abs()
    assert (error <= CANCELLATION * (1 + expected_derivative.abs())).all(), error.max()
    assert result.dtype == derivative.dtype == torch.float32


@pytest.mark.parametrize("slope", [0.3, 0.0, -1.7])
def test_a_single_slope_is_differentiated_as_in_torch(slope):
    x, gradient = values("prelu"), values("prelu gradient")
    weight = torch.full((1, 1, 1, 1), slope)
    wanted = torch.ops.aten._prelu_kernel_backward(gradient, x, weight)
    laid = gradient.movedim(1, -1).contiguous().movedim(-1, 1)
    for given in (gradient, laid):
        with mode.arithmetic():
            found = torch.ops.aten._prelu_kernel_backward(given, x, weight)
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_agrees_with_float64(name):
    bound = CANCELLATION if name in COMPOSED else HALF_UNIT
    compare(name, ACTIVATIONS[name], bound)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - COMPOSED - {"exp2", "exp", "expm1"}))
def test_agrees_far_from_zero(name):
    compare(name, ACTIVATIONS[name], HALF_UNIT, spread=60.0)


def test_selu_with_its_rounded_numbers():
    compare("selu", F.selu, 4 * HALF_UNIT)


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("is_contiguous", [True, False])
def test_in_place_gives_the_same_bits(name, is_contiguous):
    function = getattr(torch.ops.aten, "hardtanh" if name == "relu6" else name)
    changing = getattr(torch.ops.aten, "hardtanh_" if name == "relu6" else f"{name}_")
    bounds = (0.0, 6.0) if name == "relu6" else ()
    x = values(name) if is_contiguous else values(name, (6, 4, 5, 14))[..., ::2]
    before = x._version
    with mode.arithmetic():
        expected = function(x, *bounds)
        assert changing(x, *bounds) is x
    assert same_bits(x.numpy(), expected.numpy())
    assert x._version > before


def test_in_place_derivatives_agree():
    """Torch takes them from results; ELU's and the leaky rectifier's have formulas of their own."""
    x, gradient = values("in place"), values("in place gradient", spread=1.0)
    for name in ("elu", "celu", "leaky_relu", "relu", "silu", "hardswish", "mish", "selu"):
        function = getattr(F, name)
        with mode.arithmetic():
            _, derivative = run(lambda x, f=function: f(x * 1, inplace=True), x, gradient)
        _, expected = run(function, x.double(), gradient)
        error = (derivative.double() - expected).abs()
        assert (error <= 2 * CANCELLATION * (1 + expected.abs())).all(), name


def test_gates_and_powers_have_derivatives():
    x = values("powers").abs() + 0.25
    gradient = values("powers gradient", spread=1.0)
    for exponent in (2, 3, 0.5, -1.0, 2.5):
        with mode.arithmetic():
            result, derivative = run(lambda x, e=exponent: x**e, x, gradient)
        expected, expected_derivative = run(lambda x, e=exponent: x**e, x.double(), gradient)
        assert torch.allclose(result.double(), expected, rtol=2.0**-22)
        assert torch.allclose(derivative.double(), expected_derivative, rtol=2.0**-21)


def test_every_derivative_of_an_activation_is_in_the_table():
    """By the names of torch 2.13; one that is added has to be looked at."""
    ours = {f"tiny_agent_trainer.exact.table.{room}" for room in ("activations", "elementwise")}
    forward = {
        str(operation).split(".")[1]
        for operation, function in TABLE.items()
        if getattr(function, "__module__", None) in ours
    }
    derivatives = {name for name in dir(torch.ops.aten) if name.endswith("_backward")}
    wanted = {name for name in derivatives if name.removesuffix("_backward") in forward}
    assert len(wanted) > 10
    assert {name for name in wanted if getattr(torch.ops.aten, name).default not in TABLE} == set()


def test_double_precision_is_refused_by_name():
    with pytest.raises(errors.UnsupportedOperationError, match="float64"), mode.arithmetic():
        F.silu(torch.ones(2, dtype=torch.float64))
