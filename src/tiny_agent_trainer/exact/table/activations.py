# SPDX-License-Identifier: Apache-2.0
"""Activations and their derivatives, one written formula each (`kernels.formulas`).

Rectifiers with a slope and parametric rectifiers run natively: in torch each is a comparison and
one multiplication per element, for every layout. The derivative of one with a single slope has a
kernel, because torch's is ten times slower where layouts differ.
"""

from collections.abc import Callable
from typing import Any, Final

import torch

from tiny_agent_trainer.exact.kernels import choices, formulas
from tiny_agent_trainer.exact.table import launch, shapes
from tiny_agent_trainer.exact.table.bounds import clamp, clamp_
from tiny_agent_trainer.exact.table.elementwise import enter_function
from tiny_agent_trainer.exact.table.registry import implements, runs_natively

aten = torch.ops.aten

runs_natively(
    aten._prelu_kernel.default,
    aten.leaky_relu.default,
    aten.leaky_relu_.default,
    aten.leaky_relu_backward.default,
    aten.threshold.default,
    aten.threshold_.default,
)

_SHAPES: Final[dict[str, Callable[..., Any]]] = {
    "hardsigmoid": formulas.hardsigmoid,
    "hardswish": formulas.hardswish,
    "mish": formulas.mish,
    "silu": formulas.silu,
}

for _name, _function in _SHAPES.items():
    enter_function(_name, _function)

_DERIVATIVES: Final[dict[str, Callable[..., Any]]] = {
    "hardsigmoid_backward": formulas.hardsigmoid_backward,
    "hardswish_backward": formulas.hardswish_backward,
    "mish_backward": formulas.mish_backward,
    "sigmoid_backward": formulas.sigmoid_backward,
    "silu_backward": formulas.silu_backward,
    "tanh_backward": formulas.tanh_backward,
}
"""Functions of the gradient and of the argument or the result, whichever torch keeps."""


def _enter_derivative(name: str, function: Callable[..., Any]) -> None:
    @implements(getattr(aten, name).default)
    def apply(gradient: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return launch.wide(function, gradient, kept)


for _name, _function in _DERIVATIVES.items():
    _enter_derivative(_name, _function)


@implements(aten.relu.default)
def relu(x: torch.Tensor) -> torch.Tensor:
    """The positive part; +0 for -0."""
    return launch.narrow(choices.relu, x) if x.is_floating_point() else aten.relu.default(x)


@implements(aten.threshold_backward.default)
def threshold_backward(gradient: torch.Tensor, x: torch.Tensor, threshold: float) -> torch.Tensor:
    """The gradient where x is above the threshold, or NaN; elsewhere 0."""
    return launch.narrow(choices.threshold_backward, gradient, x, parameters=(threshold,))


@implements(aten._prelu_kernel_backward.default)
def prelu_backward(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For the argument and, element by element, for the slope; several slopes run natively."""
    if weight.numel() != 1 or x.dtype != torch.float32:
        return aten._prelu_kernel_backward.default(gradient, x, weight)
    for_x = launch.narrow(choices.prelu_backward, x, gradient, parameters=(weight.item(),))
    return for_x, launch.narrow(choices.prelu_slope_backward, x, gradient)


@implements(aten.relu_.default)
def relu_(x: torch.Tensor) -> torch.Tensor:
    """In place."""
    if x.is_floating_point():
        return launch.narrow_in_place(choices.relu, x)
    return aten.relu_.default(x)


@implements(aten.hardtanh.default)
def hardtanh(x: torch.Tensor, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    """Between two numbers."""
    return clamp(x, low, high)


@implements(aten.hardtanh_.default)
def hardtanh_(x: torch.Tensor, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    """In place."""
    return clamp_(x, low, high)


@implements(aten.hardtanh_backward.default)
def hardtanh_backward(
    gradient: torch.Tensor, x: torch.Tensor, low: float, high: float
) -> torch.Tensor:
    """The gradient between the two numbers, and 0 at them."""
    return launch.narrow(choices.hardtanh_backward, gradient, x, parameters=(low, high))


@implements(aten.gelu.default)
def gelu(x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    """Gaussian error linear unit: x Phi(x), or the approximation by a hyperbolic tangent."""
    return launch.wide(formulas.gelu_tanh if approximate == "tanh" else formulas.gelu, x)


@implements(aten.gelu_.default)
def gelu_(x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    """In place."""
    return launch.wide_in_place(formulas.gelu_tanh if approximate == "tanh" else formulas.gelu, x)


@implements(aten.gelu_backward.default)
def gelu_backward(
    gradient: torch.Tensor, x: torch.Tensor, *, approximate: str = "none"
) -> torch.Tensor:
    """The derivative of `gelu`."""
    is_tanh = approximate == "tanh"
    function = formulas.gelu_tanh_backward if is_tanh else formulas.gelu_backward
    return launch.wide(function, gradient, x)


@implements(aten.glu.default)
def glu(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """The first half of a dim times the sigmoid of its second half."""
    if not x.dim() or x.shape[shapes.dim_of(dim, x.dim())] % 2:
        shapes.refuse(aten.glu.default, x, dim)
    return launch.wide(formulas.glu, *x.chunk(2, dim))


@implements(aten.glu_backward.default)
def glu_backward(gradient: torch.Tensor, x: torch.Tensor, dim: int) -> torch.Tensor:
    """Both halves."""
    value, gate = x.chunk(2, dim)
    of_value = launch.wide(formulas.glu, gradient, gate)
    return torch.cat(
        (of_value, launch.wide(formulas.glu_gate_backward, gradient, value, gate)), dim
    )


@implements(aten.elu.default)
def elu(
    x: torch.Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> torch.Tensor:
    """ELU, and SELU with its own numbers."""
    return launch.wide(formulas.elu, x, parameters=(alpha, scale, input_scale))


@implements(aten.elu_.default)
def elu_(
    x: torch.Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> torch.Tensor:
    """In place."""
    return launch.wide_in_place(formulas.elu, x, (alpha, scale, input_scale))


@implements(aten.celu.default)
def celu(x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    """ELU whose argument is divided by alpha."""
    return elu(x, alpha, 1.0, 1.0 / alpha)


@implements(aten.celu_.default)
def celu_(x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    """In place."""
    return elu_(x, alpha, 1.0, 1.0 / alpha)


@implements(aten.elu_backward.default)
def elu_backward(  # ATen's own arguments
    gradient: torch.Tensor,
    alpha: float,
    scale: float,
    input_scale: float,
    is_result: bool,
    kept: torch.Tensor,
) -> torch.Tensor:
    """From the argument, or from the result where it was computed in place."""
    function = formulas.elu_backward_of_result if is_result else formulas.elu_backward
    return launch.wide(function, gradient, kept, parameters=(alpha, scale, input_scale))


@implements(aten.softplus.default)
def softplus(x: torch.Tensor, beta: float = 1.0, threshold: float = 20.0) -> torch.Tensor:
    """The smooth rectifier; the argument itself above the threshold."""
    return launch.wide(formulas.softplus, x, parameters=(beta, threshold))


@implements(aten.softplus_backward.default)
def softplus_backward(
    gradient: torch.Tensor, x: torch.Tensor, beta: float, threshold: float
) -> torch.Tensor:
    """The derivative of `softplus`."""
    return launch.wide(formulas.softplus_backward, gradient, x, parameters=(beta, threshold))


@implements(aten.log_sigmoid_forward.default)
def log_sigmoid_forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The logarithm of the sigmoid; the buffer that torch keeps for its derivative stays empty."""
    return launch.wide(formulas.log_sigmoid, x), x.new_empty(0)


@implements(aten.log_sigmoid_backward.default)
def log_sigmoid_backward(
    gradient: torch.Tensor, x: torch.Tensor, buffer: torch.Tensor
) -> torch.Tensor:
    """From the argument."""
    del buffer
    return launch.wide(formulas.log_sigmoid_backward, gradient, x)


@implements(aten.hardshrink.default)
def hardshrink(x: torch.Tensor, limit: float = 0.5) -> torch.Tensor:
    """0 between -limit and limit."""
    return launch.narrow(choices.hardshrink, x, parameters=(limit,))


@implements(aten.softshrink.default)
def softshrink(x: torch.Tensor, limit: float = 0.5) -> torch.Tensor:
    """Closer to 0 by the limit."""
    return launch.narrow(choices.softshrink, x, parameters=(limit,))


@implements(aten.hardshrink_backward.default, aten.softshrink_backward.default)
def shrink_backward(gradient: torch.Tensor, x: torch.Tensor, limit: float) -> torch.Tensor:
    """0 between -limit and limit."""
    return launch.narrow(choices.shrink_backward, gradient, x, parameters=(limit,))
