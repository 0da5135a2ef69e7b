# SPDX-License-Identifier: Apache-2.0
"""What a network draws while it computes (dropout): words of our own streams, one stream per call.

The stream of a call is named by `base_seed`, step, shard and the ordinal of the call within the
shard, so a shard draws the same on any worker; the element's index picks the word.
"""

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import threads
from tiny_agent_trainer.exact.kernels import chacha

_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"
_place: tuple[int, int, int] | None = None
_calls = 0


def begin(base_seed: int, step: int, shard: int) -> None:
    """From now on calls draw for this shard of this step."""
    global _place, _calls  # like the state of torch's own generator
    _place, _calls = (base_seed, step, shard), 0


def end() -> None:
    """No shard is under way: drawing is refused."""
    global _place  # noqa: PLW0603
    _place = None


def words(count: int) -> npt.NDArray[np.uint32]:
    """The words of the next call.

    Raises:
        UnsupportedOperationError: Nothing is being trained.
    """
    global _calls  # noqa: PLW0603
    require_forward("dropout")
    if _place is None:
        raise errors.UnsupportedOperationError(
            where="exact arithmetic",
            expected="random layers only while a shard is trained",
            found="a random operation outside of it",
            remedy="call network.eval() before evaluating, or draw from `randomness.stream`",
        )
    seed, step, shard = _place
    stream = randomness.stream(seed, "network", step, shard, _calls)
    _calls += 1
    return stream_words(stream.key, count)


def require_forward(what: str) -> None:
    """Refuse what a recomputation in the backward pass would do a second time.

    Raises:
        UnsupportedOperationError: The backward pass is under way.
    """
    if torch._C._current_graph_task_id() != -1:
        raise errors.UnsupportedOperationError(
            where="exact arithmetic",
            expected=f"{what} once for every shard",
            found="activation checkpointing, which does it again in the backward pass",
            remedy="turn checkpointing off for this part of the network (use_checkpoint = false)",
        )


def stream_words(key: bytes, count: int) -> npt.NDArray[np.uint32]:
    """The first words of the stream of a key, as `randomness.Stream.words` has them."""
    initial = np.zeros(16, np.uint32)
    initial[:4] = _CONSTANTS
    initial[4:12] = np.frombuffer(key, dtype="<u4")
    blocks = -(-count // randomness.WORDS_PER_BLOCK)
    filled = np.empty((blocks, randomness.WORDS_PER_BLOCK), np.uint32)
    threads.run(chacha.chacha8, blocks, initial, filled)
    return filled.reshape(-1)[:count]
