# SPDX-License-Identifier: Apache-2.0
"""Values replaced by those of a table."""

from typing import Any

from tiny_agent_trainer.exact.kernels.compiler import kernel


@kernel
def look_up(table_T: Any, places_I: Any, found_I: Any) -> None:
    """Of each place the entry of the table; places are unsigned and fewer than entries."""
    for i in range(len(places_I)):
        found_I[i] = table_T[places_I[i]]
