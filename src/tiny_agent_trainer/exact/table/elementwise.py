# SPDX-License-Identifier: Apache-2.0
"""Arithmetic and elementary functions of every element.

torch's own + - * / are single IEEE-754 operations per element for every layout: its vectorised
loops and their scalar ends use the same instruction, a division by a number is a division, and
with alpha = 1 its fused multiply-add is an addition. What else rounds is computed by our kernels.

Guarantees:
    Fused forms are their single operations, in the order that torch documents: alpha * other, then
    the sum; value * tensor1, then * or / tensor2, then the sum. Python numbers are rounded to the
    precision of the tensor first. Functions are within 0.51 units in the last place
    (`kernels.functions`).

Source:
    aten/src/ATen/native/cpu/BinaryOpsKernel.cpp, UnaryOpsKernel.cpp, Activation.cpp of torch.
    Square roots there go through MKL's VML, which does not promise the nearest float32.
"""

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch

from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.exact.kernels import arithmetic, choices, formulas, functions
from tiny_agent_trainer.exact.table import launch, shapes
from tiny_agent_trainer.exact.table.registry import implements, runs_natively

aten = torch.ops.aten

Operand: TypeAlias = torch.Tensor | float

runs_natively(
    aten.all.dims,
    aten.any.dims,
    aten.ceil_.default,
    aten.div.Scalar,
    aten.div.out,
    aten.div_.Scalar,
    aten.floor_.default,
    aten.isinf.default,
    aten.isnan.default,
    aten.logical_and_.default,
    aten.logical_not_.default,
    aten.logical_or_.default,
    aten.logical_xor.default,
    aten.mul.out,
    aten.mul_.Scalar,
    aten.nan_to_num.default,
    aten.neg.default,
    aten.neg_.default,
    aten.reciprocal.default,
    aten.reciprocal_.default,
    aten.round_.default,
    aten.sgn.default,
    aten.trunc.default,
)

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "erf": functions.erf,
    "erfc": functions.erfc,
    "exp": functions.exp,
    "exp2": functions.exp2,
    "expm1": functions.expm1,
    "log": functions.log,
    "log10": functions.log10,
    "log1p": functions.log1p,
    "log2": functions.log2,
    "rsqrt": formulas.rsqrt,
    "sigmoid": functions.sigmoid,
    "tanh": functions.tanh,
}
"""ATen's names of functions of one number."""


def enter_function(name: str, function: Callable[..., Any]) -> None:
    """Enter a function of one number, its in-place form and the one that writes elsewhere."""

    @implements(getattr(aten, name).default)
    def apply(x: torch.Tensor) -> torch.Tensor:
        return launch.wide(function, x)

    @implements(getattr(aten, f"{name}_").default)
    def apply_in_place(x: torch.Tensor) -> torch.Tensor:
        return launch.wide_in_place(function, x)

    @implements(getattr(aten, name).out)
    def apply_elsewhere(x: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        return out.copy_(launch.wide(function, x))


for _name, _function in FUNCTIONS.items():
    enter_function(_name, _function)


@implements(aten.sqrt.default)
def sqrt(x: torch.Tensor) -> torch.Tensor:
    """The square root, correctly rounded; float64 too."""
    return launch.narrow(choices.root, launch.as_float(x))


@implements(aten.sqrt_.default)
def sqrt_(x: torch.Tensor) -> torch.Tensor:
    """In place."""
    return launch.narrow_in_place(choices.root, x)


@implements(aten.sqrt.out)
def sqrt_out(x: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """Into another tensor."""
    return out.copy_(sqrt(x))


@implements(aten.sin.default)
def sin(x: torch.Tensor) -> torch.Tensor:
    """Angles to 2^60 radians."""
    return _turned(functions.sin, elementary.sin, x)


@implements(aten.cos.default)
def cos(x: torch.Tensor) -> torch.Tensor:
    """Angles to 2^60 radians."""
    return _turned(functions.cos, elementary.cos, x)


@implements(aten.mul.Tensor)
def mul(x: Operand, other: Operand) -> torch.Tensor:
    """The product."""
    return _on_team(arithmetic.times, aten.mul.Tensor, x, other)


@implements(aten.mul.Scalar)
def mul_scalar(x: torch.Tensor, other: float) -> torch.Tensor:
    """The product with a number."""
    if launch.are_alike(x, x):
        return launch.narrow(arithmetic.times, x, parameters=(other,))
    return aten.mul.Scalar(x, other)


@implements(aten.mul_.Tensor)
def mul_(x: torch.Tensor, other: Operand) -> torch.Tensor:
    """In place."""
    return _into_on_team(arithmetic.times, aten.mul_.Tensor, x, other)


@implements(aten.div.Tensor)
def div(x: Operand, other: Operand) -> torch.Tensor:
    """The quotient."""
    return _on_team(arithmetic.over, aten.div.Tensor, x, other)


@implements(aten.div_.Tensor)
def div_(x: torch.Tensor, other: Operand) -> torch.Tensor:
    """In place."""
    return _into_on_team(arithmetic.over, aten.div_.Tensor, x, other)


@implements(aten.add.Tensor, aten.add.Scalar)
def add(x: Operand, other: Operand, alpha: float = 1) -> torch.Tensor:
    """Sum: x + alpha other."""
    return _on_team(arithmetic.plus, aten.add.Tensor, x, _times(other, alpha, x))


@implements(aten.add_.Tensor, aten.add_.Scalar)
def add_(x: torch.Tensor, other: Operand, alpha: float = 1) -> torch.Tensor:
    """In place."""
    return _into_on_team(arithmetic.plus, aten.add_.Tensor, x, _times(other, alpha, x))


@implements(aten.add.out)
def add_out(
    x: torch.Tensor, other: Operand, alpha: float = 1, *, out: torch.Tensor
) -> torch.Tensor:
    """Into another tensor."""
    return aten.add.out(x, _times(other, alpha, x), out=out)


@implements(aten.sub.Tensor, aten.sub.Scalar)
def sub(x: Operand, other: Operand, alpha: float = 1) -> torch.Tensor:
    """Difference: x - alpha other."""
    return _on_team(arithmetic.minus, aten.sub.Tensor, x, _times(other, alpha, x))


@implements(aten.sub_.Tensor, aten.sub_.Scalar)
def sub_(x: torch.Tensor, other: Operand, alpha: float = 1) -> torch.Tensor:
    """In place."""
    return _into_on_team(arithmetic.minus, aten.sub_.Tensor, x, _times(other, alpha, x))


@implements(aten.sub.out)
def sub_out(
    x: torch.Tensor, other: Operand, alpha: float = 1, *, out: torch.Tensor
) -> torch.Tensor:
    """Into another tensor."""
    return aten.sub.out(x, _times(other, alpha, x), out=out)


@implements(aten.rsub.Tensor, aten.rsub.Scalar)
def rsub(x: torch.Tensor, other: Operand, alpha: float = 1) -> torch.Tensor:
    """Difference: other - alpha x."""
    return aten.sub.Tensor(other, _times(x, alpha, other))


@implements(aten.addcmul.default)
def addcmul(
    x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, value: float = 1
) -> torch.Tensor:
    """Sum with a product: x + (value first) second."""
    return x + _times(first, value, second) * second


@implements(aten.addcmul_.default)
def addcmul_(
    x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, value: float = 1
) -> torch.Tensor:
    """In place."""
    return x.add_(_times(first, value, second) * second)


@implements(aten.addcdiv.default)
def addcdiv(
    x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, value: float = 1
) -> torch.Tensor:
    """Sum with a quotient: x + (value first) / second."""
    return x + _times(first, value, second) / second


@implements(aten.addcdiv_.default)
def addcdiv_(
    x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, value: float = 1
) -> torch.Tensor:
    """In place."""
    return x.add_(_times(first, value, second) / second)


@implements(aten.lerp.Scalar, aten.lerp.Tensor)
def lerp(x: torch.Tensor, end: torch.Tensor, weight: Operand) -> torch.Tensor:
    """Between x and end: x + weight way, or end - way (1 - weight) from |weight| = 1/2 on."""
    if end.dtype != x.dtype:
        shapes.refuse(aten.lerp.Scalar, x, end, 0.5)
    weight = torch.as_tensor(weight, dtype=x.dtype)
    way = end - x
    return torch.where(weight.abs() < 0.5, x + weight * way, end - way * (1 - weight))


@implements(aten.lerp_.Scalar, aten.lerp_.Tensor)
def lerp_(x: torch.Tensor, end: torch.Tensor, weight: Operand) -> torch.Tensor:
    """In place."""
    return x.copy_(lerp(x, end, weight))


@implements(aten.pow.Tensor_Scalar)
def pow_number(x: torch.Tensor, exponent: float) -> torch.Tensor:
    """A power of x; small integers and halves in the operations that they stand for."""
    if not x.is_floating_point() and isinstance(exponent, int):
        return aten.pow.Tensor_Scalar(x, exponent)
    special = _POWERS.get(float(exponent))
    if special is not None:
        return special(launch.as_float(x))
    return launch.wide(functions.power, x, parameters=(exponent,))


@implements(aten.pow_.Scalar)
def pow_number_(x: torch.Tensor, exponent: float) -> torch.Tensor:
    """In place."""
    return x.copy_(pow_number(x, exponent))


@implements(aten.pow.Tensor_Tensor)
def pow_tensor(x: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Powers of x, one per element."""
    if not torch.result_type(x, exponent).is_floating_point:
        return aten.pow.Tensor_Tensor(x, exponent)
    return launch.wide(functions.power, x, exponent)


@implements(aten.pow_.Tensor)
def pow_tensor_(x: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """In place."""
    return x.copy_(pow_tensor(x, exponent))


@implements(aten.pow.Scalar)
def pow_of_number(base: float, exponent: torch.Tensor) -> torch.Tensor:
    """A number to the powers of a tensor."""
    if not torch.result_type(base, exponent).is_floating_point:
        return aten.pow.Scalar(base, exponent)
    return launch.wide(formulas.power_of_base, exponent, parameters=(base,))


@implements(aten.xlogy.Tensor)
def xlogy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Weighted logarithm: x log(y), 0 where x is 0."""
    return launch.wide(formulas.x_log_y, x, y)


@implements(aten.div.Tensor_mode, aten.div.Scalar_mode)
def div_mode(x: torch.Tensor, other: Operand, *, rounding_mode: str | None) -> torch.Tensor:
    """The quotient, or its integer part; the floor of a quotient only of integers.

    Raises:
        UnsupportedOperationError: The floor of a quotient of floats, which torch takes from `fmod`.
    """
    if rounding_mode == "floor":
        _require_integers(x, other)
    return aten.div.Tensor_mode(x, other, rounding_mode=rounding_mode)


def _enter_for_integers(*operations: Any) -> None:
    for operation in operations:

        def of_integers(x: Any, other: Any, operation: Any = operation) -> torch.Tensor:
            _require_integers(x, other)
            return operation(x, other)

        implements(operation)(of_integers)


_enter_for_integers(
    aten.floor_divide.default,
    aten.fmod.Scalar,
    aten.fmod.Tensor,
    aten.remainder.Scalar,
    aten.remainder.Tensor,
)


def _require_integers(*operands: Operand) -> None:
    for operand in operands:
        if (torch.is_tensor(operand) and operand.is_floating_point()) or isinstance(operand, float):
            raise launch.refused("the remainder of a division of floats")


def _on_team(function: Any, native: Any, x: Operand, other: Operand) -> torch.Tensor:
    """One operation per element, by the team where that is worth it; both give the same bits."""
    if launch.are_alike(x, other):
        return launch.narrow(function, x, other)  # type: ignore[arg-type]
    return native(x, other)


def _into_on_team(function: Any, native: Any, x: torch.Tensor, other: Operand) -> torch.Tensor:
    if launch.are_alike(x, other) and launch.are_apart(x, other):  # type: ignore[arg-type]
        return launch.narrow_into(function, x, other)  # type: ignore[arg-type]
    return native(x, other)


def _times(other: Operand, alpha: float, partner: Operand) -> Operand:
    """Alpha other, rounded once, at the precision that it has together with its partner."""
    if alpha == 1:
        return other
    dtype = torch.result_type(other, partner)
    if not (isinstance(alpha, int) or dtype.is_floating_point):
        raise launch.refused(f"integers times {alpha}")
    return torch.as_tensor(other, dtype=dtype) * alpha


def _turned(
    function: Callable[..., Any], exact: Callable[[float], float], x: torch.Tensor
) -> torch.Tensor:
    """A function of angles by its kernel, and in integers beyond the kernel's range."""
    out = launch.wide(function, x)
    large = x.abs() > functions.ANGLE_LIMIT
    if large.any():
        values = x[large].tolist()
        if any(abs(value) > _LARGEST_ANGLE and math.isfinite(value) for value in values):
            raise launch.refused("the sine or cosine of an angle beyond 2^60")
        results = [exact(value) if math.isfinite(value) else math.nan for value in values]
        out[large] = torch.tensor(results, dtype=torch.float32)
    return out


def _square(x: torch.Tensor) -> torch.Tensor:
    return x * x


def _cube(x: torch.Tensor) -> torch.Tensor:
    return launch.wide(formulas.cube, x)


def _rsqrt(x: torch.Tensor) -> torch.Tensor:
    return launch.wide(formulas.rsqrt, x)


_LARGEST_ANGLE: Final = 2.0**60

_POWERS: Final[dict[float, Callable[[torch.Tensor], torch.Tensor]]] = {
    0.0: torch.ones_like,
    1.0: torch.clone,
    2.0: _square,
    3.0: _cube,
    0.5: sqrt,
    -0.5: _rsqrt,
    -1.0: torch.reciprocal,
}
