# SPDX-License-Identifier: Apache-2.0
"""Decoding gives back what was encoded, a token holds its pixels, and statistics are exact.

Not tested here: float input (there is none), integers of more than 16 bits (no reader brings any).
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import statistics, tokenization
from tiny_agent_trainer.tokenizer.preparation import prepare

DTYPES = [np.uint8, np.uint16, np.int16]


EDGES = st.sampled_from([2, 4])


@st.composite
def prepared_images(draw):
    dims = draw(st.sampled_from([2, 3]))
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 3])))
    shape += tuple(draw(st.lists(EDGES, min_size=dims, max_size=dims)))
    dtype = draw(st.sampled_from(DTYPES))
    limits = np.iinfo(dtype)
    some = st.sampled_from([limits.min, limits.max, 0, 1]) | st.integers(limits.min, limits.max)
    return draw(arrays.arrays(dtype, shape, elements=some))


def tokenizer_of(images, kind="image", normalization=None, patch_size=2):
    options = TokenizerSection(kind=kind, patch_size=patch_size)
    normalization = normalization or statistics.measure(images)
    return tokenization.build_tokenizer(options, images.shape[1:], images.dtype, normalization)


class TestRoundTrip:
    """`decode(encode(x)) == x`, exactly."""

    @settings(max_examples=150)
    @given(prepared_images(), st.sampled_from(["image", "patches"]))
    def test_with_the_statistics_of_the_images(self, images, kind):
        tokenizer = tokenizer_of(images, kind)
        tokens = tokenizer.encode(images)
        assert tokens.dtype == np.float32
        assert tokens.shape == (len(images), *tokenizer.input_shape)
        decoded = tokenizer.decode(tokens)
        assert decoded.dtype == images.dtype
        assert (decoded == images).all()

    @settings(max_examples=75)
    @given(prepared_images(), st.sampled_from(["image", "patches"]))
    def test_with_the_half_of_the_range(self, images, kind):
        half = statistics.half_range(images.dtype, images.shape[1])
        tokenizer = tokenizer_of(images, kind, half)
        tokens = tokenizer.encode(images)
        assert (np.abs(tokens) <= 1).all()
        assert (tokenizer.decode(tokens) == images).all()

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_of_every_integer_of_a_type_with_unkind_statistics(self, dtype):
        limits = np.iinfo(dtype)
        images = np.arange(limits.min, limits.max + 1, dtype=np.int64).astype(dtype)
        images = images.reshape(1, 1, 16, -1)
        for mean in (0.1, limits.max / 3, float(limits.min)):
            for deviation in (1e-3, 1 / 3, 1e5):
                unkind = tokenization.Normalization(mean=(mean,), deviation=(deviation,))
                tokenizer = tokenizer_of(images, normalization=unkind)
                assert (tokenizer.decode(tokenizer.encode(images)) == images).all()

    @given(prepared_images())
    def test_encoding_is_one_subtraction_and_one_division_in_float32(self, images):
        normalization = tokenization.Normalization(
            mean=(0.3,) * images.shape[1], deviation=(1.7,) * images.shape[1]
        )
        tokens = tokenizer_of(images, normalization=normalization).encode(images)
        expected = (images.astype(np.float32) - np.float32(0.3)) / np.float32(1.7)
        assert tokens.tobytes() == expected.tobytes()


class TestPatches:
    """Token i holds the pixels of patch i, in row-major order."""

    @given(prepared_images())
    def test_a_token_holds_the_pixels_of_its_place(self, images):
        n, channels, *spatial = images.shape
        plain = tokenization.Normalization(mean=(0.0,) * channels, deviation=(1.0,) * channels)
        tokens = tokenizer_of(images, "patches", plain).encode(images)
        counts = [length // 2 for length in spatial]
        assert tokens.shape == (n, math.prod(counts), channels * 2 ** len(spatial))
        for i, place in enumerate(np.ndindex(*counts)):
            window = tuple(slice(2 * p, 2 * p + 2) for p in place)
            pixels = images[(slice(None), slice(None), *window)].reshape(n, -1)
            assert (tokens[:, i] == pixels).all()

    def test_a_patch_of_the_whole_image_is_the_flattened_image(self):
        images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
        plain = tokenization.Normalization(mean=(0.0,) * 3, deviation=(1.0,) * 3)
        tokens = tokenizer_of(images, "patches", plain, patch_size=4).encode(images)
        assert (tokens[:, 0] == images.reshape(2, -1)).all()

    def test_a_patch_size_that_does_not_divide_the_image_is_refused(self):
        with pytest.raises(errors.DatasetError, match=r"divisor of every edge.* 4 x 6; found 4"):
            tokenizer_of(np.zeros((1, 1, 4, 6), np.uint8), "patches", patch_size=4)

    def test_patches_keep_what_is_next_to_each_other_apart_from_their_borders(self):
        """Negative control: the arrangement is not just a reshape."""
        images = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        tokens = tokenizer_of(images, "patches", plain).encode(images)
        assert tokens[0, 0].tolist() == [0, 1, 4, 5]
        assert tokens[0, 3].tolist() == [10, 11, 14, 15]


class TestQuarterTurns:
    """Rotations need square images."""

    @pytest.mark.parametrize("shape", [(1, 4, 6), (1, 4, 4, 6)])
    def test_images_that_are_not_square_are_refused_before_training(self, shape):
        options = TokenizerSection(augmentation={"quarter_turns": True})
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        with pytest.raises(errors.DatasetError, match="quarter_turns"):
            tokenization.build_tokenizer(options, shape, np.uint8, plain)

    def test_a_volume_needs_to_be_square_in_its_image_plane_only(self):
        options = TokenizerSection(augmentation={"quarter_turns": True})
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        assert tokenization.build_tokenizer(options, (1, 9, 4, 4), np.uint8, plain)


class TestPrepare:
    """Stored arrays with channels last become prepared integers with channels first."""

    @given(st.sampled_from(DTYPES), st.sampled_from([(3, 4), (2, 3, 4)]), st.sampled_from([1, 3]))
    def test_layout_and_type(self, dtype, spatial, channels):
        shape = (*spatial, channels)
        stored = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
        found = prepare.prepare(stored, TokenizerSection())
        assert found.dtype == dtype
        assert found.shape == (channels, *spatial)
        for channel in range(channels):
            assert (found[channel] == stored[..., channel]).all()

    def test_gray_becomes_three_equal_channels(self):
        stored = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
        found = prepare.prepare(stored, TokenizerSection(channels=3))
        assert (found == stored[..., 0]).all()
        assert found.shape == (3, 3, 4)

    @given(arrays.arrays(np.uint8, (2, 2, 3)))
    def test_colour_becomes_the_rounded_luma_of_bt_601(self, stored):
        found = prepare.prepare(stored, TokenizerSection(channels=1))
        for place in np.ndindex(2, 2):
            red, green, blue = map(int, stored[place])
            exact = (Fraction(299) * red + Fraction(587) * green + Fraction(114) * blue) / 1000
            assert abs(int(found[(0, *place)]) - exact) <= Fraction(1, 2) + Fraction(1, 100)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_white_and_black_keep_their_values(self, dtype):
        for value in (0, 1, np.iinfo(dtype).max):
            stored = np.full((1, 1, 3), value, dtype)
            assert prepare.prepare(stored, TokenizerSection(channels=1)).item() == value

    @pytest.mark.parametrize("channels", [0, 1, 3])
    def test_channels_as_stored_stay(self, channels):
        stored = np.zeros((2, 2, channels or 3), np.uint8)
        assert len(prepare.prepare(stored, TokenizerSection(channels=channels))) == (channels or 3)


class TestStatistics:
    """Mean and deviation of the training split, from exact sums."""

    @given(prepared_images())
    def test_they_are_the_rounded_exact_values(self, images):
        found = statistics.measure(images)
        for channel in range(images.shape[1]):
            values = [Fraction(int(x)) for x in images[:, channel].reshape(-1)]
            mean = sum(values) / len(values)
            variance = sum(value * value for value in values) / len(values) - mean * mean
            assert found.mean[channel] == float(mean)
            assert found.deviation[channel] == (math.sqrt(float(variance)) or 1.0)

    @given(prepared_images(), st.randoms(use_true_random=False))
    def test_the_order_of_images_has_no_influence(self, images, dice):
        order = list(range(len(images)))
        dice.shuffle(order)
        assert statistics.measure(images[order]) == statistics.measure(images)

    def test_chunks_of_images_have_no_influence(self):
        images = (np.arange(2500 * 4) * 7919 % 65536).astype(np.uint16).reshape(2500, 1, 2, 2)
        found = statistics.measure(images)
        values = [int(x) for x in images.reshape(-1)]
        assert found.mean == (float(Fraction(sum(values), len(values))),)

    def test_a_constant_channel_gets_deviation_one(self):
        found = statistics.measure(np.full((2, 1, 2, 2), 7, np.uint8))
        assert (found.mean, found.deviation) == ((7.0,), (1.0,))

    @pytest.mark.parametrize(
        ("dtype", "mean", "deviation"),
        [(np.uint8, 127.5, 127.5), (np.uint16, 32767.5, 32767.5), (np.int16, -0.5, 32767.5)],
    )
    def test_half_of_the_range(self, dtype, mean, deviation):
        found = statistics.half_range(dtype, 3)
        assert (found.mean, found.deviation) == ((mean,) * 3, (deviation,) * 3)
