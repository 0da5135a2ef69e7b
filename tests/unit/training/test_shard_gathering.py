# SPDX-License-Identifier: Apache-2.0
"""Gradients of shards: their exact sum, in little memory beside the gradients themselves.

Not tested here: workers (tests/story/test_workers.py); what a whole step takes
(`benchmarks/shard_memory.py`).
"""

import tracemalloc

import numpy as np
import torch
from torch import nn

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import sums
from tiny_agent_trainer.training import group
from tiny_agent_trainer.training.flat import FlatParameters
from tiny_agent_trainer.training.shard_gathering import ShardGathering

WIDTH = 1700


def gathered(shards):
    """What is left of so many gradients, the gradients, and the memory of putting them together."""
    network = nn.Linear(WIDTH, WIDTH)
    flat = FlatParameters(network)
    gathering = ShardGathering(network, flat, shards, group.Alone())
    given = []
    for number in gathering.own_shards:
        with gathering.shard(number) as took:
            drawn = randomness.stream(3, "gradients", number).uniform(flat.length) - 0.5
            flat.gradients.copy_(torch.from_numpy(drawn * 10.0**number))
            given.append(flat.gradients.numpy().copy())
            took(float(number))
    tracemalloc.start()
    try:
        loss = gathering.finish()
        return flat, given, loss, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestManyValues:
    """More values than are added at once, in a parameter that begins and ends between pieces."""

    def test_every_value_is_on_the_grid_of_its_parameter(self):
        flat, given, loss, _ = gathered(3)
        spans = list(flat.spans())
        shifts = sums.shard_shifts(sums.largest_of_spans(given, spans, "g"), 3, "g")
        for span, shift in zip(spans, shifts, strict=True):
            terms = [np.rint(np.ldexp(v[span].astype(np.float64), shift)) for v in given]
            total = sum(term.astype(np.int64) for term in terms)
            expected = sums.rounded(total, shift)
            assert flat.gradients.numpy()[span].tobytes() == expected.tobytes()
        assert loss == 3.0

    def test_integers_of_all_values_are_never_in_memory_at_once(self):
        flat, _, _, peak_bytes = gathered(2)
        assert flat.length > 5 * (1 << 19)
        assert peak_bytes < 0.6 * 8 * flat.length
