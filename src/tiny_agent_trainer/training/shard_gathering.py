# SPDX-License-Identifier: Apache-2.0
"""Gradients, losses and running statistics of shards, put together so that no order is left.

Gradients of all shards are put on one grid per parameter (the largest exponent of all shards, an
exact maximum) and added as integers (an exact sum). Losses and batch statistics are brought to
every worker and used in the order of the shards.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import grids, running_statistics, sums
from tiny_agent_trainer.training import arithmetic
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.group import AbstractGroup

_AT_ONCE: Final = 1 << 18
"""Values whose integers are in memory at once: few, as the gradients of all shards are, too."""


@final
class ShardGathering(arithmetic.AbstractGathering):
    """One step's shards, divided among the workers of a group.

    A step of one shard keeps its gradient as it is. Running statistics and the integers that
    modules count in are kept up by the leader alone: training does not read them.

    Args:
        network: For its counters.
        flat: Parameters and gradients.
        shards: Of the whole step.
        group: The workers.
    """

    def __init__(
        self, network: nn.Module, flat: FlatParameters, shards: int, group: AbstractGroup
    ) -> None:
        self._flat, self._group, self._count = flat, group, shards
        self.own_shards = group.own_shards(shards)
        self._losses: dict[int, float] = {}
        self._gradients: list[torch.Tensor] = []
        self._rows: dict[int, npt.NDArray[np.float32]] = {}
        self._updates: list[running_statistics.Update] = []
        if shards > 1:
            _require_common_momentum(network)
        self._watched = _float_buffers(network) if shards > 1 else []
        self._counters = [
            (buffer, buffer.clone()) for buffer in network.buffers() if buffer.dtype == torch.int64
        ]

    @contextlib.contextmanager
    def shard(self, number: int) -> Iterator[arithmetic.Took]:
        """Put the gradient of the shard before aside."""
        if self._losses:
            self._gradients.append(self._flat.gradients.clone())
            self._flat.gradients.zero_()
        with running_statistics.gathered() as updates:
            yield lambda loss: self._losses.__setitem__(number, loss)
        self._rows[number] = _row(self._losses[number], updates)
        # What a shard allocated is free again: kept among its values, it would let memory grow.
        self._updates = [update.with_observed(update.running) for update in updates]
        for name, buffer, version in self._watched:
            if buffer._version != version:
                raise _undivided(f"the buffer {name}, which the forward pass writes")

    def finish(self) -> float:
        """Add, and apply the running statistics."""
        with _disable_current_modes():
            self._add_gradients()
            rows = self._exchange_rows()
            if self._group.rank == 0:
                self._apply_statistics(rows)
                self._count_shards()
        return math.fsum(rows[:, 0].tolist())

    def _add_gradients(self) -> None:
        own = [grids.as_array(g) for g in (*self._gradients, self._flat.gradients)]
        own = own if self._losses else []
        if self._count == 1 and self._group.size == 1:
            return
        if self._count == 1:
            self._share_only_gradient()
            return
        spans = list(self._flat.spans())
        largest = sums.largest_of_spans(own, spans, "the gradients")
        shifts = sums.shard_shifts(self._group.maximum(largest), self._count, "the gradients")
        target = grids.as_array(self._flat.gradients)
        for piece in _pieces(spans, shifts):
            added = [sums.add_on_grid(own, span, shift) for span, shift in piece]
            totals, start = self._group.add(np.concatenate(added)), 0
            for span, shift in piece:
                stop = start + span.stop - span.start
                target[span] = sums.rounded(totals[start:stop], shift)
                start = stop

    def _share_only_gradient(self) -> None:
        """Bring the bits of the leader's gradient to all."""
        bits = grids.as_array(self._flat.gradients).view(np.int32)
        bits[:] = self._group.add(bits.astype(np.int64)).astype(np.int32)

    def _exchange_rows(self) -> npt.NDArray[np.float32]:
        """One row per shard: its loss, then its batch statistics in the order of the modules."""
        if self._group.size == 1:
            return np.stack([self._rows[number] for number in range(self._count)])
        widest = max((len(row) for row in self._rows.values()), default=0)
        width = int(self._group.maximum(np.array([widest], np.int32))[0])
        bits = np.zeros((self._count, width), np.int64)
        for number, row in self._rows.items():
            bits[number] = row.view(np.int32)
        added: Any = self._group.add(bits.reshape(-1)).astype(np.int32).view(np.float32)
        return added.reshape(self._count, width)  # type: ignore[no-any-return]

    def _apply_statistics(self, rows: npt.NDArray[np.float32]) -> None:
        for row in rows:
            start = 1
            for update in self._updates:
                size = update.observed.numel()
                observed = torch.from_numpy(row[start : start + size]).view(update.observed.shape)
                update.with_observed(observed).apply()
                start += size

    def _count_shards(self) -> None:
        """Every shard counts as much as those of this worker."""
        own = len(self.own_shards)
        for counter, before in self._counters:
            counter.copy_(before + (counter - before) // own * self._count)


def _row(loss: float, updates: list[running_statistics.Update]) -> npt.NDArray[np.float32]:
    observed = [grids.as_array(update.observed).reshape(-1) for update in updates]
    return np.concatenate([np.array([loss], np.float32), *observed])


def _pieces(
    spans: list[slice], shifts: npt.NDArray[np.int32]
) -> Iterator[list[tuple[slice, np.int32]]]:
    """Parts of spans with their grids, as many at a time as are added at once."""
    piece: list[tuple[slice, np.int32]] = []
    room = _AT_ONCE
    for span, shift in zip(spans, shifts, strict=True):
        start = span.start
        while start < span.stop:
            stop = min(span.stop, start + room)
            piece.append((slice(start, stop), shift))
            room, start = room - (stop - start), stop
            if not room:
                yield piece
                piece, room = [], _AT_ONCE
    if piece:
        yield piece


def _float_buffers(network: nn.Module) -> list[tuple[str, torch.Tensor, int]]:
    """Every buffer of floats with the count of its changes; running statistics wait meanwhile."""
    return [
        (name, buffer, buffer._version)
        for name, buffer in network.named_buffers()
        if buffer.is_floating_point()
    ]


def _require_common_momentum(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is None:
            raise _undivided(f"the batch norm {name} with momentum = None, which counts shards")


def _undivided(found: str) -> errors.UnsupportedOperationError:
    return errors.UnsupportedOperationError(
        where="[engine] shard_size",
        expected="shards that can be computed in any order",
        found=found,
        remedy="leave shard_size away, so that a step is one shard",
    )
