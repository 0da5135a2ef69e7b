# SPDX-License-Identifier: Apache-2.0
"""ChaCha8 for draws of the size of activations; the same words as `randomness.Stream.words`."""

from typing import Any

import numpy as np

from tiny_agent_trainer.exact.kernels.compiler import inlined, kernel


@inlined
def _rotate(x: Any, bits: int) -> Any:
    return np.uint32((x << np.uint32(bits)) | (x >> np.uint32(32 - bits)))


@inlined
def _quarter(s: Any, a: int, b: int, c: int, d: int) -> None:
    s[a] += s[b]
    s[d] = _rotate(s[d] ^ s[a], 16)
    s[c] += s[d]
    s[b] = _rotate(s[b] ^ s[c], 12)
    s[a] += s[b]
    s[d] = _rotate(s[d] ^ s[a], 8)
    s[c] += s[d]
    s[b] = _rotate(s[b] ^ s[c], 7)


@kernel
def chacha8(start: int, stop: int, initial_16: Any, words_B16: Any) -> None:
    """Blocks; `initial` holds constants, key and zeros, and the block number is written into it."""
    state = np.empty(16, np.uint32)
    for block in range(start, stop):
        initial_12, initial_13 = np.uint32(block & 0xFFFFFFFF), np.uint32(block >> 32)
        for i in range(16):
            state[i] = initial_16[i]
        state[12], state[13] = initial_12, initial_13
        for _ in range(4):
            _quarter(state, 0, 4, 8, 12)
            _quarter(state, 1, 5, 9, 13)
            _quarter(state, 2, 6, 10, 14)
            _quarter(state, 3, 7, 11, 15)
            _quarter(state, 0, 5, 10, 15)
            _quarter(state, 1, 6, 11, 12)
            _quarter(state, 2, 7, 8, 13)
            _quarter(state, 3, 4, 9, 14)
        for i in range(16):
            words_B16[block, i] = state[i] + initial_16[i]
        words_B16[block, 12] = state[12] + initial_12
        words_B16[block, 13] = state[13] + initial_13
