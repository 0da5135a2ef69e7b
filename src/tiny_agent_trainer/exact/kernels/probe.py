# SPDX-License-Identifier: Apache-2.0
"""Single operations, to see how the thread that runs them rounds. For `exact/checks.py`."""

from typing import Any

from tiny_agent_trainer.exact.kernels.compiler import kernel


@kernel
def add_and_multiply(
    start: int, stop: int, left_N: Any, right_N: Any, sums_N: Any, products_N: Any
) -> None:
    """One sum and one product per element."""
    for place in range(start, stop):
        sums_N[place] = left_N[place] + right_N[place]
        products_N[place] = left_N[place] * right_N[place]
