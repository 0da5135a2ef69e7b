# SPDX-License-Identifier: Apache-2.0
"""Steps of optimisers in one pass over memory; every operation rounded once, in torch's order.

The formulas are those of `training.optimizers`, which tests hold these against bit for bit. All
arrays are flat float32, all numbers float32.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel


@inlined
def _decayed(gradient: Any, parameter: Any, decay: Any) -> Any:
    """Without decay nothing is added, not even 0 to -0."""
    return gradient if decay == 0 else gradient + parameter * decay


@kernel
def adam(
    start: int,
    stop: int,
    numbers: Any,
    parameters_N: Any,
    gradients_N: Any,
    mean_N: Any,
    mean_square_N: Any,
) -> None:
    """Adam and AdamW; `numbers` are named in the first line."""
    kept, decay, beta1, rest1, beta2, rest2, root_correction, epsilon, step_size = numbers
    for n in range(np.uint64(start), np.uint64(stop)):
        parameter = parameters_N[n] * kept
        gradient = _decayed(gradients_N[n], parameter, decay)
        mean = mean_N[n] * beta1 + gradient * rest1
        mean_square = mean_square_N[n] * beta2 + (gradient * gradient) * rest2
        root = np.sqrt(mean_square) / root_correction + epsilon
        mean_N[n], mean_square_N[n] = mean, mean_square
        parameters_N[n] = parameter - (mean / root) * step_size


@kernel
def sgd(start: int, stop: int, numbers: Any, parameters_N: Any, gradients_N: Any) -> None:
    """Without momentum; `numbers` are named in the first line."""
    decay, rate = numbers
    for n in range(np.uint64(start), np.uint64(stop)):
        gradient = _decayed(gradients_N[n], parameters_N[n], decay)
        parameters_N[n] -= gradient * rate


@kernel
def sgd_with_momentum(
    start: int, stop: int, numbers: Any, parameters_N: Any, gradients_N: Any, velocity_N: Any
) -> None:
    """With momentum, and with Nesterov's where `ahead` is not 0."""
    decay, rate, momentum, ahead = numbers
    for n in range(np.uint64(start), np.uint64(stop)):
        gradient = _decayed(gradients_N[n], parameters_N[n], decay)
        velocity = velocity_N[n] * momentum + gradient
        direction = velocity if ahead == 0 else gradient + velocity * momentum
        velocity_N[n] = velocity
        parameters_N[n] -= direction * rate


BY_NAME: Final[dict[str, Callable[..., None]]] = {
    "adam": adam,
    "sgd": sgd,
    "sgd_with_momentum": sgd_with_momentum,
}
"""As `compiled` of an optimiser calls them."""
