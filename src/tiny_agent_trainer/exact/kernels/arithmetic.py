# SPDX-License-Identifier: Apache-2.0
"""Sums, differences, products and quotients of elements: one IEEE-754 operation each.

torch computes the same bits. On the threads of the team it does not leave threads of its own
behind, which wait for more work and meanwhile take the processor from the team.
"""

from typing import Any

from tiny_agent_trainer.exact.kernels.functions import merged


@merged
def plus(x: Any, y: Any) -> Any:
    """The sum."""
    return x + y


@merged
def minus(x: Any, y: Any) -> Any:
    """The difference."""
    return x - y


@merged
def times(x: Any, y: Any) -> Any:
    """The product."""
    return x * y


@merged
def over(x: Any, y: Any) -> Any:
    """The quotient."""
    return x / y
