# SPDX-License-Identifier: Apache-2.0
"""Warps, blur, gamma and noise against scipy, fractions and formulas in float64.

Not tested here: that a sample's change depends on nothing else (test_augmentation.py).
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.config.augmentation import AugmentationOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.exact.kernels import warp
from tiny_agent_trainer.tokenizer.augmentation import (
    augmentation,
    blurring,
    draws,
    gamma,
    tinting,
    warping,
)

SHAPES = [(1, 9, 12), (3, 7, 7), (1, 4, 6, 8), (1, 1, 5, 5), (1, 5, 1)]


def words_of(count, epoch=1, seed=0):
    return augmentation.Augmentation(AugmentationOptions(), seed).draw(epoch, np.arange(count))


def images_of(shape, count, dtype=np.uint16, seed=0):
    limits = np.iinfo(dtype)
    dice = np.random.default_rng(seed)
    return dice.integers(limits.min, limits.max + 1, (count, *shape)).astype(dtype)


def warp_slowly(image_CS, warps, index):
    """The definition in float64: scipy's linear interpolation at the places of the formula."""
    spatial = image_CS.shape[1:]
    grids = np.indices(spatial).astype(np.float64)
    centre = [(length - 1) / 2 for length in spatial]
    places = [grid - middle for grid, middle in zip(grids, centre, strict=True)]
    a, b, c, d, e = warps.matrices[index] / 2.0**warp.MATRIX_BITS
    y, x = places[-2], places[-1]
    moved = [e * places[0]] * (len(spatial) - 2) + [a * y + b * x, c * y + d * x]
    points = warps.grids.shape[2:]
    on_grid = [
        grid * (count - 1) / max(length - 1, 1)
        for grid, count, length in zip(grids, points, spatial, strict=True)
    ]
    shifts = [
        ndimage.map_coordinates(part / 2.0**warp.PLACE_BITS, on_grid, order=1, mode="nearest")
        for part in warps.grids[index].astype(np.float64)
    ]
    where = [
        np.clip(m + middle + s, 0, length - 1)
        for m, middle, s, length in zip(moved, centre, shifts, spatial, strict=True)
    ]
    return np.stack(
        [ndimage.map_coordinates(k.astype(np.float64), where, order=1) for k in image_CS]
    )


class TestWarps:
    """Rotation, scale and deformation, within the stated precision of places."""

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    def test_every_pixel_is_interpolated_where_the_formula_says(self, shape, dtype):
        options = AugmentationOptions(rotate_degrees=70.0, scale=0.4, elastic_pixels=1.5)
        images = images_of(shape, 6, dtype)
        warps = warping.draw_warps(words_of(6), options, len(shape) - 1)
        found = warping.apply(images, warps)
        steepest = np.iinfo(dtype).max - np.iinfo(dtype).min
        # Every dim's place is off by at most four roundings of 2^-15 pixels; one of the value.
        bound = 0.5 + 4 * 2.0**-15 * steepest * (len(shape) - 1)
        for index in range(6):
            expected = warp_slowly(images[index], warps, index)
            assert np.abs(expected - found[index]).max() <= bound

    def test_a_quarter_turn_moves_pixels_and_changes_none(self):
        images = images_of((2, 5, 5), 1)
        matrix = np.array([[0, -1, 1, 0, 1]], np.int64) << warp.MATRIX_BITS
        warps = warping.Warps(matrices=matrix, grids=np.zeros((1, 2, 2, 2), np.int64))
        assert (warping.apply(images, warps) == np.rot90(images, -1, axes=(-2, -1))).all()

    @pytest.mark.parametrize("shape", SHAPES)
    def test_nothing_drawn_is_nothing_changed(self, shape):
        images = images_of(shape, 2, np.int16)
        warps = warping.draw_warps(words_of(2), AugmentationOptions(), len(shape) - 1)
        assert (warping.apply(images, warps) == images).all()

    @pytest.mark.parametrize("shape", SHAPES)
    def test_values_stay_within_those_of_the_image(self, shape):
        options = AugmentationOptions(rotate_degrees=180.0, scale=0.9, elastic_pixels=1000.0)
        images = images_of(shape, 8, np.int16)
        images[:4] = -32768
        images[4:6] = 32767
        found = warping.warp_all(images, words_of(8), options)
        for before, after in zip(images, found, strict=True):
            assert before.min() <= after.min()
            assert after.max() <= before.max()

    def test_angles_and_scales_fill_their_ranges(self):
        options = AugmentationOptions(rotate_degrees=30.0, scale=0.2)
        matrices = warping.draw_warps(words_of(2000), options, 2).matrices / 2.0**warp.MATRIX_BITS
        angles = np.degrees(np.arctan2(matrices[:, 2], matrices[:, 0]))
        zooms = 1 / matrices[:, 4]
        assert -30 <= angles.min() < -29
        assert 29 < angles.max() <= 30
        assert abs(angles.mean()) < 2
        assert 0.8 <= zooms.min() < 0.81
        assert 1.19 < zooms.max() <= 1.2

    def test_a_circle_of_the_patient_stays_one_where_pixels_are_long(self):
        """Columns are twice as far apart as rows, so that a disc is twice as high as wide."""
        down, across = np.mgrid[-30:31, -30:31]
        disc = (((down / 20) ** 2 + (across / 10) ** 2) < 1) * 255
        images = np.repeat(disc.astype(np.uint8)[None, None], 8, axis=0)
        options = AugmentationOptions(rotate_degrees=90.0)
        turned = warping.apply(images, warping.draw_warps(words_of(8), options, 2, np.full(8, 2.0)))
        squared = warping.apply(images, warping.draw_warps(words_of(8), options, 2))
        changed = [(np.abs(one.astype(int) - images) > 128).sum() for one in (turned, squared)]
        assert changed[0] < changed[1] / 10

    def test_the_ratio_of_square_pixels_changes_no_bit(self):
        options = AugmentationOptions(rotate_degrees=30.0, scale=0.2)
        told = warping.draw_warps(words_of(50), options, 2, np.ones(50))
        untold = warping.draw_warps(words_of(50), options, 2)
        assert (told.matrices == untold.matrices).all()

    def test_a_turn_in_millimetres_is_the_formula(self):
        options = AugmentationOptions(rotate_degrees=30.0)
        ratios = np.linspace(0.25, 4, 50)
        found = warping.draw_warps(words_of(50), options, 2, ratios).matrices / 2.0**30
        square = warping.draw_warps(words_of(50), options, 2).matrices / 2.0**30
        assert np.allclose(found[:, 1], square[:, 1] * ratios, rtol=0, atol=1e-8)
        assert np.allclose(found[:, 2], square[:, 2] / ratios, rtol=0, atol=1e-8)
        assert (found[:, [0, 3, 4]] == square[:, [0, 3, 4]]).all()

    def test_pixels_that_are_too_long_are_refused(self):
        options = AugmentationOptions(rotate_degrees=30.0, scale=0.5)
        with pytest.raises(errors.DatasetError, match="16 times"):
            warping.draw_warps(words_of(2), options, 2, np.array([1.0, 1 / 16]))
        warping.draw_warps(words_of(2), AugmentationOptions(scale=0.5), 2, np.array([1.0, 1 / 16]))

    def test_a_larger_scale_enlarges(self):
        image = np.zeros((1, 1, 21, 21), np.uint8)
        image[..., 8:13, 8:13] = 255
        matrix = np.array([[1, 0, 0, 1, 1]], np.int64) << (warp.MATRIX_BITS - 1)
        warps = warping.Warps(matrices=matrix, grids=np.zeros((1, 2, 2, 2), np.int64))
        assert np.count_nonzero(warping.apply(image, warps)) > 3 * 25


class TestBlur:
    """The binomial filter, exactly."""

    @settings(max_examples=25)
    @given(st.sampled_from(SHAPES), st.sampled_from([np.uint8, np.uint16, np.int16]))
    def test_a_pass_is_the_exact_mean_rounded_once(self, shape, dtype):
        images = images_of(shape, 2, dtype)
        found = blurring.blur_once(images)
        total = images.astype(np.int64)
        for dim in range(2, images.ndim):
            total = ndimage.correlate1d(total, [1, 2, 1], axis=dim, mode="nearest")
        divisor = 4 ** (len(shape) - 1)
        expected = [round(Fraction(int(value), divisor)) for value in total.ravel()]
        assert found.ravel().tolist() == expected

    def test_every_number_of_passes_occurs(self):
        images = np.zeros((200, 1, 9, 9), np.uint8)
        images[..., 4, 4] = 255
        blurring.blur_all(images, words_of(200), 2)
        assert {int(image.max()) for image in images} == {255, 64, 36}


class TestGamma:
    """A power between the darkest and the brightest value."""

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    @pytest.mark.parametrize("exponent", [0.4, 1.0, 1.7, 3.0])
    def test_the_curve_follows_the_power(self, dtype, exponent):
        images = images_of((1, 30, 30), 1, dtype)
        found = gamma.apply(images, np.array([exponent]))
        low, high = int(images.min()), int(images.max())
        share = (images - np.float64(low)) / (high - low)
        knots = np.arange(257) / 256
        expected = low + (high - low) * np.interp(share, knots, knots**exponent)
        # A place and a knot are rounded to 2^-16; the first piece of a curve may be the steepest.
        steepest = max(256 ** (1 - exponent), exponent)
        bound = 0.5 + (high - low) * 2.0**-16 * (steepest + 1.5)
        assert np.abs(found - expected).max() <= bound
        assert found.min() == low
        assert found.max() == high

    def test_an_even_image_stays(self):
        images = np.full((2, 1, 4, 4), -7, np.int16)
        assert (gamma.bend_all(images, words_of(2), 2.0) == -7).all()

    def test_half_become_darker_and_half_brighter(self):
        images = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), (200, 1, 1, 1))
        means = gamma.bend_all(images, words_of(200), 1.0).mean(axis=(1, 2, 3))
        assert 60 < (means > 127.5).sum() < 140
        assert means.min() > 80
        assert means.max() < 175


class TestNoise:
    """Nearly Gaussian, of the deviation that was drawn."""

    def test_moments(self):
        plain = np.zeros((400, 2, 25, 25), np.float32)
        noise = tinting.add_noise(plain, words_of(400), 0.5)
        deviations = noise.reshape(400, -1).std(axis=1)
        assert 0 <= deviations.min() < 0.02
        assert 0.48 < deviations.max() < 0.52
        scaled = (noise / deviations.reshape(-1, 1, 1, 1))[deviations > 0.1]
        assert abs(scaled.mean()) < 0.01
        assert abs((scaled**4).mean() - 2.85) < 0.05

    def test_it_is_the_formula(self):
        plain = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 1, 3, 4)
        words = words_of(2)
        level = draws.more(words, draws.CHOICES, 16)[:, draws.NOISE] / 2.0**32
        grain = draws.more(words, draws.GRAIN, 24).astype("<u4").view(np.uint8)
        sums = grain.reshape(2, 12, 8).sum(axis=2, dtype=np.int64) - 1020
        factor = (level * (0.5 / np.sqrt(8 * 65535 / 12))).astype(np.float32)
        noise = factor[:, None] * sums.astype(np.float32)
        expected = plain + noise.reshape(plain.shape)
        assert tinting.add_noise(plain, words, 0.5).tobytes() == expected.tobytes()


class TestDraws:
    """Further words come from a key of their own."""

    def test_they_are_those_of_the_stream_of_that_key(self):
        words = words_of(3)
        found = draws.more(words, draws.GRAIN, 40)
        for own, row in zip(words, found, strict=True):
            key = own[8:].copy()
            key[7] ^= np.uint32(draws.GRAIN)
            stream = randomness.Stream(key.astype("<u4").tobytes())
            assert (stream.words(40) == row).all()

    def test_purposes_and_samples_have_their_own(self):
        words = words_of(50)
        found = [draws.more(words, p, 8) for p in (draws.CHOICES, draws.ELASTIC, draws.GRAIN)]
        assert len(np.unique(np.concatenate(found), axis=0)) == 150


class TestLaterality:
    """Where sides matter, nothing mirrors them."""

    @pytest.mark.parametrize(
        "options",
        [
            {"flip_horizontal": True}, {"flip_vertical": True, "quarter_turns": True},
            {"flip_vertical": True, "rotate_degrees": 180.0},
        ],
    )  # fmt: skip
    def test_mirroring_is_refused(self, options):
        AugmentationOptions(**options)
        with pytest.raises(ValueError, match="laterality"):
            AugmentationOptions(laterality=True, **options)

    def test_the_orientation_says_which_flip_mirrors_sides(self):
        flips = {"laterality": True, "flip_vertical": True}
        TokenizerSection(orientation="SPL", augmentation=flips)
        with pytest.raises(ValueError, match="laterality"):
            TokenizerSection(orientation="SLP", augmentation=flips)

    def test_alone_it_changes_nothing(self):
        images = images_of((1, 8, 8), 4)
        alone = augmentation.Augmentation(AugmentationOptions(laterality=True), 0)
        assert (alone.move(images, words_of(4)) == images).all()
