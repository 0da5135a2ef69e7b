# SPDX-License-Identifier: Apache-2.0
"""What happens to a sample depends on the sample, the epoch and the seed, and on nothing else.

Not tested here: whether an augmentation helps.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer.config.augmentation import AugmentationOptions
from tiny_agent_trainer.tokenizer.augmentation.augmentation import Augmentation

ALL = AugmentationOptions(
    flip_horizontal=True, flip_vertical=True, quarter_turns=True, shift_pixels=2,
    intensity_scale=0.2, intensity_offset=0.3, rotate_degrees=20.0, scale=0.2, elastic_pixels=1.0,
    blur_passes=2, gamma=0.5, noise=0.3,
)  # fmt: skip
ONE_EACH = [
    {"flip_horizontal": True}, {"flip_vertical": True}, {"quarter_turns": True},
    {"shift_pixels": 1}, {"intensity_scale": 0.5}, {"intensity_offset": 0.5},
    {"rotate_degrees": 30.0}, {"scale": 0.3}, {"elastic_pixels": 1.0}, {"blur_passes": 1},
    {"gamma": 1.0}, {"noise": 0.2},
]  # fmt: skip


def images_of(samples, shape=(1, 4, 4)):
    """Images whose pixels are all different, none of them 0."""
    size = int(np.prod(shape))
    pixels = np.arange(1, size + 1)[None] + 100 * np.asarray(samples)[:, None]
    return pixels.astype(np.uint16).reshape(-1, *shape)


def apply(options, samples, epoch=1, seed=0, shape=(1, 4, 4)):
    augmentation = Augmentation(options, seed)
    words = augmentation.draw(epoch, np.array(samples, np.int64))
    moved = augmentation.move(images_of(samples, shape), words)
    return augmentation.tint(moved.astype(np.float32) / np.float32(8), words)


class TestIndependence:
    """A batch is a way to compute, not a part of the meaning."""

    @settings(max_examples=60)
    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.integers(1, 500))
    def test_a_sample_alone_is_the_one_in_any_batch(self, samples, epoch):
        together = apply(ALL, [s % 300 for s in samples], epoch)
        for row, sample in zip(together, samples, strict=True):
            assert row.tobytes() == apply(ALL, [sample % 300], epoch)[0].tobytes()

    def test_the_same_call_gives_the_same_bits(self):
        assert apply(ALL, range(50)).tobytes() == apply(ALL, range(50)).tobytes()

    def test_epochs_and_seeds_and_samples_change_it(self):
        first = apply(ALL, range(50))
        assert first.tobytes() != apply(ALL, range(50), epoch=2).tobytes()
        assert first.tobytes() != apply(ALL, range(50), seed=1).tobytes()
        words = Augmentation(ALL, 0).draw(1, np.arange(50))
        assert len(np.unique(words, axis=0)) == 50

    def test_the_images_that_were_given_are_not_changed(self):
        augmentation = Augmentation(ALL, 0)
        images = images_of(range(20))
        augmentation.move(images, augmentation.draw(1, np.arange(20)))
        assert (images == images_of(range(20))).all()


class TestOptions:
    """Every option acts, and does only what it says."""

    @pytest.mark.parametrize("option", ONE_EACH, ids=lambda option: next(iter(option)))
    def test_an_option_changes_some_samples(self, option):
        options = AugmentationOptions(**option)
        assert Augmentation(options, 0).is_active
        before = apply(AugmentationOptions(), range(60))
        changed = (apply(options, range(60)) != before).reshape(60, -1).any(axis=1)
        assert 15 < changed.sum() <= 60

    def test_without_options_nothing_happens(self):
        assert not Augmentation(AugmentationOptions(), 0).is_active
        plain = images_of(range(9)).astype(np.float32) / np.float32(8)
        assert apply(AugmentationOptions(), range(9)).tobytes() == plain.tobytes()

    @pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (1, 3, 4, 4)])
    def test_flips_and_turns_move_pixels_and_lose_none(self, shape):
        options = AugmentationOptions(flip_horizontal=True, flip_vertical=True, quarter_turns=True)
        moved = apply(options, range(40), shape=shape).reshape(40, shape[0], -1)
        plain = apply(AugmentationOptions(), range(40), shape=shape).reshape(40, shape[0], -1)
        assert (np.sort(moved, axis=2) == np.sort(plain, axis=2)).all()

    def test_the_eight_symmetries_of_a_square_all_occur_and_no_other(self):
        options = AugmentationOptions(flip_horizontal=True, flip_vertical=True, quarter_turns=True)
        image = images_of([0])[0, 0].astype(np.float32) / np.float32(8)
        symmetries = {np.rot90(m, k).tobytes() for m in (image, image.T) for k in range(4)}
        found = {apply(options, [0], epoch=epoch)[0, 0].tobytes() for epoch in range(200)}
        assert found == symmetries

    @pytest.mark.parametrize(
        ("option", "symmetry"),
        [({"flip_horizontal": True}, np.fliplr), ({"flip_vertical": True}, np.flipud)],
    )
    def test_a_flip_mirrors_the_side_it_names(self, option, symmetry):
        image = images_of([0])[0, 0].astype(np.float32) / np.float32(8)
        found = {
            apply(AugmentationOptions(**option), [0], epoch=epoch)[0, 0].tobytes()
            for epoch in range(60)
        }
        assert found == {image.tobytes(), symmetry(image).tobytes()}

    @pytest.mark.parametrize("shape", [(1, 5, 4), (2, 3, 4, 5)])
    @pytest.mark.parametrize("most", [1, 3, 9])
    def test_a_shift_moves_by_whole_pixels_and_fills_with_zero(self, shape, most):
        plain = images_of(range(60), shape).astype(np.float32) / np.float32(8)
        moved = apply(AugmentationOptions(shift_pixels=most), range(60), shape=shape)
        for image, result in zip(plain, moved, strict=True):
            assert any((np.asarray(shifted) == result).all() for shifted in shifts(image, most))

    def test_every_shift_within_the_bound_occurs(self):
        options = AugmentationOptions(shift_pixels=1)
        found = {apply(options, [0], epoch=epoch).tobytes() for epoch in range(150)}
        assert len(found) == 9

    def test_scale_and_offset_stay_within_their_bounds(self):
        plain = apply(AugmentationOptions(), range(200))
        factor = apply(AugmentationOptions(intensity_scale=0.2), range(200)) / plain
        assert 0.8 <= factor.min() < 0.82
        assert 1.18 < factor.max() <= 1.2 + 1e-6
        offset = apply(AugmentationOptions(intensity_offset=0.5), range(200)) - plain
        assert -0.5 - 1e-5 <= offset.min() < -0.45
        assert 0.45 < offset.max() <= 0.5 + 1e-5
        spread = np.ptp(factor.reshape(200, -1), axis=1)
        assert (spread < 1e-6).all(), "one factor per sample"


def shifts(image, most):
    dims = image.ndim - 1
    lengths = image.shape[1:]
    for steps in np.ndindex(*[2 * most + 1] * dims):
        shifted = np.zeros_like(image)
        wanted = [step - most for step in steps]
        source = tuple(
            slice(max(-w, 0), max(n - max(w, 0), 0)) for w, n in zip(wanted, lengths, strict=True)
        )
        part = image[(slice(None), *source)]
        if part.size:
            target = tuple(
                slice(max(w, 0), max(w, 0) + m) for w, m in zip(wanted, part.shape[1:], strict=True)
            )
            shifted[(slice(None), *target)] = part
        yield shifted
