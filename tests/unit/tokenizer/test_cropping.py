# SPDX-License-Identifier: Apache-2.0
"""Patches come from the image, hold foreground when they should, and depend on nothing else.

Not tested here: whole runs on patches (tests/story/test_patches.py).
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import PatchesOptions, TokenizerSection
from tiny_agent_trainer.tokenizer import cropping, tokenization

SHAPES = st.sampled_from([((7, 9), (3, 4)), ((5, 6, 8), (2, 6, 3)), ((4, 4), (4, 4))])


def images_of(count, spatial, channels=1):
    """Images whose voxels are all different."""
    values = np.arange(count * channels * int(np.prod(spatial)), dtype=np.int64)
    return (values + 1).astype(np.uint16).reshape(count, channels, *spatial)


def place_of(image, crop):
    """Where the first voxel of a patch lies in its image."""
    (place,) = np.argwhere(image[0] == crop[0].flat[0])
    return tuple(place.tolist())


def training(images, chosen, options, epoch=1, seed=0):
    return cropping.training_crops(images, np.array(chosen), options, epoch, seed)


class TestTraining:
    """One patch per sample and epoch."""

    @settings(max_examples=30)
    @given(SHAPES, st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(1, 99))
    def test_a_sample_alone_has_the_patch_that_it_has_in_any_batch(self, shape, chosen, epoch):
        spatial, size = shape
        images = images_of(6, spatial, 2)
        options = PatchesOptions(size=size, foreground_fraction=0.5, foreground_above=30)
        together = training(images, chosen, options, epoch)
        assert together.shape == (len(chosen), 2, *size)
        for index, crop in zip(chosen, together, strict=True):
            assert (training(images, [index], options, epoch)[0] == crop).all()
            start = place_of(images[index], crop)
            window = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
            assert (images[(index, slice(None), *window)] == crop).all()

    def test_every_place_occurs_and_is_as_likely(self):
        images, options = images_of(1, (4, 5)), PatchesOptions(size=(3, 3))
        places = [
            place_of(images[0], training(images, [0], options, epoch)[0]) for epoch in range(600)
        ]
        counts = {place: places.count(place) for place in places}
        assert set(counts) == {(y, x) for y in range(2) for x in range(3)}
        assert min(counts.values()) > 60

    def test_the_share_that_is_asked_for_holds_foreground(self):
        images = np.zeros((1, 2, 40, 40), np.int16)
        images[0, 1, 39, 0] = 5
        for fraction, low, high in ((0.0, 0, 2), (0.5, 120, 180), (1.0, 300, 300)):
            options = PatchesOptions(
                size=(4, 4), foreground_fraction=fraction, foreground_above=4
            )  # fmt: skip
            holding = sum(
                int(training(images, [0], options, epoch).max() == 5) for epoch in range(300)
            )
            assert low <= holding <= high

    def test_each_voxel_of_the_foreground_and_each_place_in_the_patch_occurs(self):
        images = np.zeros((1, 1, 9, 9), np.uint8)
        images[0, 0, 4, 4], images[0, 0, 0, 8] = 1, 2
        options = PatchesOptions(size=(2, 2), foreground_fraction=1.0)
        crops = {training(images, [0], options, epoch).tobytes() for epoch in range(200)}
        with_one = [crop for crop in crops if 1 in crop]
        assert len(with_one) == 4
        assert len(crops) > 4

    def test_without_foreground_any_patch_will_do(self):
        images = np.zeros((1, 1, 5, 5), np.uint8)
        options = PatchesOptions(size=(2, 2), foreground_fraction=1.0)
        assert training(images, [0], options).shape == (1, 1, 2, 2)

    def test_epochs_and_seeds_change_it(self):
        images, options = images_of(20, (20, 20)), PatchesOptions(size=(3, 3))
        first = training(images, range(20), options)
        assert (first != training(images, range(20), options, epoch=2)).any()
        assert (first != training(images, range(20), options, seed=1)).any()


class TestEvaluation:
    """The middle, or all of it."""

    def test_the_middle_patch(self):
        images = images_of(2, (5, 6, 8))
        found = cropping.centre_crops(images, np.array([1]), PatchesOptions(size=(2, 6, 3)))
        assert (found == images[1:2, :, 1:3, :, 2:5]).all()

    @settings(max_examples=40)
    @given(
        st.lists(st.tuples(st.integers(1, 7), st.integers(0, 9)), min_size=2, max_size=3),
    )
    def test_a_grid_covers_every_voxel_with_the_fewest_patches(self, pairs):
        size = tuple(new for new, _ in pairs)
        spatial = tuple(new + more for new, more in pairs)
        options = PatchesOptions(size=size, evaluation="grid")
        images = images_of(2, spatial)
        views = cropping.count_views(images.shape[1:], options)
        crops = cropping.grid_crops(images, np.array([0, 1]), options)
        assert len(crops) == 2 * views
        assert views == np.prod([-(-old // new) for old, new in zip(spatial, size, strict=True)])
        assert set(crops[:views].ravel().tolist()) == set(images[0].ravel().tolist())
        assert set(crops[views:].ravel().tolist()) == set(images[1].ravel().tolist())


class TestTokens:
    """A tokenizer of patches is one of their shape, in any number of dims."""

    def test_blocks_of_a_volume_become_tokens_and_come_back(self):
        section = TokenizerSection(kind="patches", patch_size=2, patches={"size": (4, 2, 6)})
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        tokenizer = tokenization.build_tokenizer(section, (1, 9, 9, 9), np.uint16, plain)
        images = images_of(3, (9, 9, 9))
        crops = cropping.centre_crops(images, np.arange(3), section.patches)
        tokens = tokenizer.encode(crops)
        assert tokens.shape == (3, 2 * 1 * 3, 8)
        assert (tokens[0, 0] == crops[0, 0, :2, :2, :2].ravel()).all()
        assert (tokens[0, 5] == crops[0, 0, 2:, :, 4:].ravel()).all()
        assert (tokenizer.decode(tokens) == crops).all()

    @pytest.mark.parametrize("size", [(4, 4), (4, 4, 10)])
    def test_patches_that_do_not_fit_are_refused(self, size):
        section = TokenizerSection(patches={"size": size})
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        with pytest.raises(errors.DatasetError, match="9 x 9 x 9"):
            tokenization.build_tokenizer(section, (1, 9, 9, 9), np.uint16, plain)
