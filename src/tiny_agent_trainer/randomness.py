# SPDX-License-Identifier: Apache-2.0
"""Random numbers that are a function of a name: ChaCha8 in counter mode.

A stream's key is the SHA-256 of its seed and the parts of its name; block i of a stream is a pure
function of (key, i). There is no state, so nothing has to be saved, restored or passed to workers,
and any part of a stream can be computed alone.

Example:
    order = stream(base_seed, "shuffle", epoch).permutation(len(samples))
"""

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import canonical

Words = npt.NDArray[np.uint32]

WORDS_PER_BLOCK = 16
_DOUBLE_ROUNDS = 4
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"
_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
_BLOCKS_AT_ONCE = 1 << 14
"""Blocks computed together: 16 arrays of 64 KiB stay in the cache; no effect on the values."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """One named stream of random words.

    Guarantees:
        Every method is a pure function of the key and its arguments: the same values on any
        machine, with any version of numpy, in any order of calls.

    Source:
        Bernstein, "ChaCha, a variant of Salsa20" (2008), with 8 rounds and the 64-bit counter and
        64-bit nonce (here zero) of the original.
    """

    key: bytes

    def blocks(self, indices: npt.NDArray[np.uint64]) -> Words:
        """Compute chosen blocks.

        Args:
            indices: Block numbers, shape (n,), any 64-bit values in any order.

        Returns:
            Words of shape (n, 16).
        """
        pieces = [
            _chacha8(self.key, indices[start : start + _BLOCKS_AT_ONCE])
            for start in range(0, len(indices), _BLOCKS_AT_ONCE)
        ]
        return np.concatenate(pieces) if pieces else np.empty((0, WORDS_PER_BLOCK), np.uint32)

    def words(self, count: int) -> Words:
        """The first `count` 32-bit words, shape (count,)."""
        num_blocks = -(-count // WORDS_PER_BLOCK)
        return self.blocks(np.arange(num_blocks, dtype=np.uint64)).reshape(-1)[:count]

    def uniform(self, count: int) -> npt.NDArray[np.float32]:
        """Multiples of 2^-24 in [0, 1), each exact in float32, shape (count,)."""
        return (self.words(count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)

    def uniform64(self, count: int) -> npt.NDArray[np.float64]:
        """Odd multiples of 2^-53 in (0, 1), each exact in float64, never 0, shape (count,)."""
        pairs = self.words(2 * count).astype(np.uint64).reshape(-1, 2)
        bits = (pairs[:, 0] << np.uint64(20)) | (pairs[:, 1] >> np.uint64(12))
        return (bits.astype(np.float64) + 0.5) * 2.0**-52

    def integers(self, count: int, bound: int) -> npt.NDArray[np.int64]:
        """Integers in [0, bound), shape (count,).

        The value is floor(w * bound / 2^64) of a 64-bit word w; for bound <= 2^32 the chance of a
        value differs from 1/bound by less than 2^-32 of itself.

        Raises:
            ValueError: `bound` is outside [1, 2^32].
        """
        if not 1 <= bound <= 1 << 32:
            message = f"bound must be in [1, 2^32], found {bound}"
            raise ValueError(message)
        pairs = self.words(2 * count).astype(np.uint64).reshape(-1, 2)
        low = (pairs[:, 0] * np.uint64(bound)) >> np.uint64(32)
        high = pairs[:, 1] * np.uint64(bound)
        return ((high + low) >> np.uint64(32)).astype(np.int64)

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        """A permutation of range(count): the order of random 64-bit keys, ties by index."""
        pairs = self.words(2 * count).astype(np.uint64).reshape(-1, 2)
        keys = (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]
        return np.argsort(keys, kind="stable").astype(np.int64)


def stream(seed: int, *name: str | int) -> Stream:
    """The stream of a seed and a name.

    Args:
        seed: `base_seed`, or another seed of the configuration, within +-(2^53 - 1).
        name: What the numbers are for, from general to particular, such as ("shuffle", epoch).

    Guarantees:
        Different (seed, name) have different keys: parts are encoded with their types and borders.
    """
    label = canonical.encode(["tiny-agent-trainer/stream-v1", seed, *name])
    return Stream(hashlib.sha256(label).digest())


def _chacha8(key: bytes, indices: npt.NDArray[np.uint64]) -> Words:
    initial = _initial_state(key, indices)
    state = [word.copy() for word in initial]
    for _ in range(_DOUBLE_ROUNDS):
        for a, b, c, d in _QUARTERS:
            _quarter_round(state, a, b, c, d)
    return np.stack([word + start for word, start in zip(state, initial, strict=True)], axis=1)


def _initial_state(key: bytes, indices: npt.NDArray[np.uint64]) -> list[Words]:
    fixed = [*_CONSTANTS, *(int(word) for word in np.frombuffer(key, dtype="<u4"))]
    counters = [indices & np.uint64(0xFFFFFFFF), indices >> np.uint64(32)]
    zeros = np.zeros(len(indices), np.uint32)
    return [
        *(np.full(len(indices), word, np.uint32) for word in fixed),
        *(counter.astype(np.uint32) for counter in counters),
        zeros,
        zeros,
    ]


def _quarter_round(state: list[Words], a: int, b: int, c: int, d: int) -> None:
    for target, addend, mixed, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[target] += state[addend]
        state[mixed] ^= state[target]
        state[mixed] = (state[mixed] << np.uint32(bits)) | (state[mixed] >> np.uint32(32 - bits))
