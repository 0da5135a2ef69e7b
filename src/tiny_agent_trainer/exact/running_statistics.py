# SPDX-License-Identifier: Apache-2.0
"""Running means and variances of batch normalisation, applied in the order of logical shards.

A shard's statistics do not change what training computes, so they can wait: a worker gathers those
of its shards, and every worker applies those of all shards in shard order.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import torch

from tiny_agent_trainer.exact import draws, grids


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """running = (1 - momentum) * running + momentum * observed, each operation rounded."""

    running: torch.Tensor
    observed: torch.Tensor
    momentum: float

    def with_observed(self, observed: torch.Tensor) -> "Update":
        """The same update by another shard."""
        return dataclasses.replace(self, observed=observed)

    def apply(self) -> None:
        """Change the running value in place."""
        running, observed = grids.as_array(self.running), grids.as_array(self.observed)
        number = running.dtype.type
        running *= number(1 - self.momentum)
        running += observed * number(self.momentum)


_waiting: list[Update] | None = None


def note(update: Update) -> None:
    """Apply an update now, or keep it for whoever gathers them."""
    draws.require_forward("batch normalisation")
    if _waiting is None:
        update.apply()
    else:
        _waiting.append(update)


@contextlib.contextmanager
def gathered() -> Iterator[list[Update]]:
    """The updates noted inside, in their order, not yet applied."""
    global _waiting  # noqa: PLW0603  # one pass at a time, like torch's own modes
    before, _waiting = _waiting, []
    try:
        yield _waiting
    finally:
        _waiting = before
