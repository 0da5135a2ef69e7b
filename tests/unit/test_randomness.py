# SPDX-License-Identifier: Apache-2.0
"""Streams against a second ChaCha, written here from RFC 8439 and proven by its test vector.

Not tested here: distributions made of the words (tests/reference/test_elementary.py).
"""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tiny_agent_trainer import randomness

KEY = bytes(range(32))
MASK = 0xFFFFFFFF
REFUSE_BELOW = 1e-4
"""A chi-square test of a good stream at a fixed seed fails with this probability, once for all."""


def rotate(value, bits):
    return ((value << bits) | (value >> (32 - bits))) & MASK


def quarter_round(s, a, b, c, d):
    s[a] = (s[a] + s[b]) & MASK
    s[d] = rotate(s[d] ^ s[a], 16)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 12)
    s[a] = (s[a] + s[b]) & MASK
    s[d] = rotate(s[d] ^ s[a], 8)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 7)


def chacha_block(key, last_words, rounds):
    """One block of ChaCha with `rounds` rounds, by RFC 8439, section 2.3; words 12 to 15 given."""
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), *last_words]
    state = list(start)
    for _ in range(rounds // 2):
        for column in range(4):
            quarter_round(state, column, column + 4, column + 8, column + 12)
        for diagonal in range(4):
            quarter_round(
                state,
                diagonal,
                4 + (diagonal + 1) % 4,
                8 + (diagonal + 2) % 4,
                12 + (diagonal + 3) % 4,
            )
    return [(word + first) & MASK for word, first in zip(state, start, strict=True)]


def block(key, index):
    return chacha_block(key, [index & MASK, index >> 32, 0, 0], rounds=8)


def test_the_reference_reproduces_section_2_3_2_of_rfc_8439():
    nonce = struct.unpack("<3I", bytes.fromhex("000000090000004a00000000"))
    found = struct.pack("<16I", *chacha_block(KEY, [1, *nonce], rounds=20))
    assert found.hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )


class TestBlocks:
    """Block i is ChaCha8 of (key, i), alone and in any company."""

    @settings(max_examples=60)
    @given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 2**64 - 1), max_size=5))
    def test_any_blocks_of_any_key_are_those_of_the_reference(self, key, indices):
        found = randomness.Stream(key).blocks(np.array(indices, np.uint64))
        assert found.dtype == np.uint32
        assert found.shape == (len(indices), 16)
        assert found.tolist() == [block(key, index) for index in indices]

    @pytest.mark.parametrize("index", [0, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
    def test_the_counter_is_64_bits_wide(self, index):
        found = randomness.Stream(KEY).blocks(np.array([index], np.uint64))
        assert found[0].tolist() == block(KEY, index)

    def test_a_block_alone_is_the_one_in_the_whole_beyond_the_chunk(self):
        """Chunks hold 16384 blocks; their borders must not show."""
        stream = randomness.Stream(KEY)
        whole = stream.words(16 * 16386).reshape(-1, 16)
        for index in (0, 1, 16382, 16383, 16384, 16385):
            assert whole[index].tolist() == block(KEY, index)

    @given(st.integers(0, 100))
    def test_a_longer_draw_begins_with_the_shorter_one(self, count):
        stream = randomness.stream(3, "x")
        assert (stream.words(count) == stream.words(137)[:count]).all()

    def test_drawing_changes_nothing(self):
        stream = randomness.stream(3, "x")
        first = stream.words(40)
        stream.permutation(50)
        assert (stream.words(40) == first).all()


class TestNumbers:
    """Words become numbers by exact integer arithmetic."""

    @given(st.integers(1, 2**32), st.integers(0, 2**32))
    def test_integers_are_the_scaled_64_bit_words_without_their_fraction(self, bound, seed):
        stream = randomness.stream(seed, "integers")
        words = stream.words(12).tolist()
        wide = [words[i] + (words[i + 1] << 32) for i in range(0, 12, 2)]
        found = stream.integers(6, bound)
        assert found.tolist() == [word * bound >> 64 for word in wide]
        assert all(0 <= value < bound for value in found.tolist())

    @pytest.mark.parametrize("bound", [0, -1, 2**32 + 1])
    def test_a_bound_outside_the_range_is_refused(self, bound):
        with pytest.raises(ValueError, match="bound"):
            randomness.stream(0, "x").integers(1, bound)

    @pytest.mark.parametrize("bound", [2, 3, 7, 10, 1000])
    def test_integers_are_uniform(self, bound):
        counts = np.bincount(randomness.stream(1, "chi", bound).integers(100_000, bound))
        assert len(counts) == bound
        assert stats.chisquare(counts).pvalue > REFUSE_BELOW

    def test_the_chi_square_test_sees_a_biased_die(self):
        """Negative control: the remainder of a word by 3 * 2^30 favours small values."""
        words = randomness.stream(1, "control").words(10_000).astype(np.int64)
        counts = np.bincount((words % (3 << 30)) >> 30, minlength=3)
        assert stats.chisquare(counts).pvalue < REFUSE_BELOW

    def test_uniform_numbers_are_multiples_of_two_to_the_minus_24(self):
        stream = randomness.stream(1, "uniform")
        found = stream.uniform(1000)
        assert found.dtype == np.float32
        scaled = found.astype(np.float64) * 2**24
        assert scaled.tolist() == [word >> 8 for word in stream.words(1000).tolist()]
        assert (found >= 0).all()
        assert (found < 1).all()

    def test_uniform64_numbers_are_odd_multiples_of_two_to_the_minus_53(self):
        found = randomness.stream(1, "uniform").uniform64(1000)
        scaled = found * 2.0**53
        assert (scaled == np.rint(scaled)).all()
        assert (scaled % 2 == 1).all()
        assert (found > 0).all()
        assert (found < 1).all()

    @pytest.mark.parametrize("draw", ["uniform", "uniform64"])
    def test_uniform_numbers_are_uniform(self, draw):
        found = getattr(randomness.stream(5, "ks"), draw)(20_000)
        assert stats.kstest(found.astype(np.float64), "uniform").pvalue > REFUSE_BELOW


class TestPermutation:
    """Every order is as likely as every other."""

    @given(st.integers(0, 300), st.integers(0, 2**53 - 1))
    def test_a_permutation_holds_every_index_once(self, count, seed):
        found = randomness.stream(seed, "order").permutation(count)
        assert found.dtype == np.int64
        assert sorted(found.tolist()) == list(range(count))

    def test_all_orders_of_four_are_equally_frequent(self):
        seen = {}
        for draw in range(2400):
            order = tuple(randomness.stream(9, "order", draw).permutation(4).tolist())
            seen[order] = seen.get(order, 0) + 1
        assert len(seen) == 24
        assert stats.chisquare(list(seen.values())).pvalue > REFUSE_BELOW

    def test_every_place_is_reached_from_every_place(self):
        counts = np.zeros((10, 10))
        for draw in range(2000):
            order = randomness.stream(4, "places", draw).permutation(10)
            counts[np.arange(10), order] += 1
        assert stats.chisquare(counts.reshape(-1)).pvalue > REFUSE_BELOW


class TestNames:
    """Different seeds and names have different keys."""

    def test_a_key_is_the_digest_of_the_seed_and_the_name_with_their_borders(self):
        label = b'["tiny-agent-trainer/stream-v1",7,"shuffle",3]'
        assert randomness.stream(7, "shuffle", 3).key == hashlib.sha256(label).digest()

    def test_names_keep_their_borders_and_types(self):
        spellings = [
            (0,), (1,), (0, "ab", "c"), (0, "a", "bc"), (0, "abc"), (0, "abc", ""), (0, 1),
            (0, "1"), (0, 1, 2), (0, 12), (0, "1,2"), (0, '1","2'), (0, "1", "2"), (-1,), (0, "-1"),
        ]  # fmt: skip
        keys = {randomness.stream(seed, *name).key for seed, *name in spellings}
        assert len(keys) == len(spellings)

    name = st.lists(st.text(max_size=4) | st.integers(-9, 9), max_size=3)

    @given(st.integers(0, 9), name, st.integers(0, 9), name)
    def test_keys_are_equal_only_for_equal_names(self, seed, name, other_seed, other_name):
        same = randomness.stream(seed, *name) == randomness.stream(other_seed, *other_name)
        assert same == ((seed, name) == (other_seed, other_name))

    @pytest.mark.parametrize("seed", [2**53, -(2**53)])
    def test_a_seed_beyond_the_range_is_refused(self, seed):
        with pytest.raises(ValueError):
            randomness.stream(seed, "x")
