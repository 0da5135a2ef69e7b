# SPDX-License-Identifier: Apache-2.0
"""Copies with small changes are found, other images and plain ones are not, and no pair is missed.

Not tested here: equal pixels and patients (test_cohort.py), published sets (test_medmnist.py).
"""

import csv
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import PhantomOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import cohort, samples
from tiny_agent_trainer.tokenizer.leaks import find, fingerprints, near
from tiny_agent_trainer.tokenizer.phantom import PhantomReader


def scene(seed, shape=(64, 48)):
    """Smooth spots of different brightness on a black ground, as in X-rays."""
    generator = np.random.default_rng(seed)
    down, across = np.mgrid[: shape[0], : shape[1]]
    plane = np.zeros(shape)
    for y, x, size, bright in generator.random((12, 4)):
        distance = (down - y * shape[0]) ** 2 + (across - x * shape[1]) ** 2
        plane += (0.3 + bright) * np.exp(-distance / (30 + 200 * size))
    return (plane * 200 / plane.max()).astype(np.uint8)[..., None]


def looks(image):
    return fingerprints.hash_looks(image[None])[0]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_the_type_of_values_has_no_influence_on_looks(dtype):
    image = scene(1)
    image[0, 0], image[0, 1] = 0, 255
    assert fingerprints.looks_of(image.astype(dtype)) == looks(image) != b""
    shifted = image.astype(dtype) * dtype(-3) + dtype(100)
    assert fingerprints.looks_of(shifted * dtype(-1)) == looks(image)


def are_near(one, other):
    return near.find_groups([looks(one), looks(other)], [0, 2]) == [[0, 1]]


def by_rationals(values, count):
    """Cell sums from the definition: every value counts by the length that it shares."""
    length = len(values)
    return [
        sum(
            int(v) * max(0, min((i + 1) * length, (j + 1) * count) - max(i * length, j * count))
            for j, v in enumerate(values)
        )
        for i in range(count)
    ]


class TestHashes:
    @given(st.lists(st.integers(-(2**15), 2**16 - 1), min_size=17, max_size=60))
    def test_cells_are_exact_sums_over_equal_areas(self, values):
        column = np.array(values, np.int32)[None, :, None]
        both = np.concatenate([column, -column], axis=2)
        found = fingerprints.sum_rows(both, (8, 9, 16, 17))
        for count in (8, 9, 16, 17):
            expected = by_rationals(values, count)
            assert found[count][0, :, 0].tolist() == expected
            assert found[count][0, :, 1].tolist() == [-value for value in expected]
            across = fingerprints.sum_columns(column.transpose(0, 2, 1).astype(np.int64), count)
            assert across[0, 0].tolist() == expected

    def test_a_hash_has_its_documented_size(self):
        assert len(looks(scene(0))) == fingerprints.SMALL_BYTES + fingerprints.LARGE_BYTES == 80

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((40, 40, 1), np.uint8),
            np.full((40, 40, 3), 65535, np.uint16),
            np.full((9, 40, 40, 1), -5, np.int16),
            np.pad(np.full((2, 2, 1), 255, np.uint8), ((0, 30), (0, 30), (0, 0))),
            scene(0)[:16],
        ],
        ids=["black", "white", "volume", "one dot", "small"],
    )
    def test_plain_and_small_images_have_none_and_match_nothing(self, image):
        assert looks(image) == b""
        assert near.find_groups([looks(image)] * 3, [0, 1, 2]) == []

    def test_many_at_once_are_what_each_is_alone(self, monkeypatch):
        images = [scene(s) for s in range(5)] + [scene(0, (30, 40)), scene(6)]
        images += [scene(7).astype(np.uint16), np.zeros((64, 48, 1), np.uint8)]
        alone = [fingerprints.take(image) for image in images]
        assert [mark.looks for mark in alone] == [looks(image) for image in images]
        for at_once in (1, 2 * images[0].size, 1 << 30):
            monkeypatch.setattr(fingerprints, "_VALUES_AT_ONCE", at_once)
            assert list(fingerprints.take_all(images)) == alone

    def test_another_type_and_added_channels_look_the_same(self):
        image = scene(1)
        assert looks(image.astype(np.int16)) == looks(image)
        assert looks(np.repeat(image, 3, axis=-1)) == looks(image)
        assert looks(np.stack([image, image])) == looks(image)
        assert looks(np.asfortranarray(image)) == looks(image)


class TestNearness:
    @pytest.mark.parametrize(
        "change",
        [
            lambda x, g: x + g.integers(0, 3, x.shape).astype(np.uint8),
            lambda x, _: x // 2 + 20,
            lambda x, _: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1),
            lambda x, _: x.astype(np.uint16) * 257,
            lambda x, _: np.asarray(Image.fromarray(x[..., 0]).resize((40, 52)))[..., None],
        ],
        ids=["noise", "darker", "twice the size", "16 bits", "smaller"],
    )
    def test_a_changed_copy_is_near(self, change):
        generator = np.random.default_rng(0)
        assert all(are_near(scene(s), change(scene(s), generator)) for s in range(20))

    def test_other_scenes_and_mirrored_ones_are_not(self):
        assert not any(
            are_near(scene(a), scene(b)) for a, b in itertools.combinations(range(20), 2)
        )
        assert not any(are_near(scene(s), scene(s)[:, ::-1]) for s in range(20))

    def test_within_one_split_nothing_is_said(self):
        assert near.find_groups([looks(scene(0))] * 2, [1, 1]) == []

    def test_three_in_a_row_are_one_group_and_groups_are_in_order(self):
        hashes = [looks(scene(s)) for s in (5, 0, 5, 1, 0, 5)]
        assert near.find_groups(hashes, [0, 0, 1, 2, 1, 0]) == [[0, 2, 5], [1, 4]]

    @given(st.integers(0, 2**32))
    def test_banding_finds_what_comparing_all_pairs_finds(self, seed):
        generator = np.random.default_rng(seed)
        start = generator.integers(0, 256, (4, 80)).astype(np.uint8)
        bits = np.unpackbits(start[generator.integers(0, 4, 40)], axis=1)
        bits ^= (generator.random(bits.shape) < generator.choice([0.01, 0.03, 0.06])).astype(
            np.uint8
        )
        rows = np.packbits(bits, axis=1)
        splits = generator.integers(0, 3, 40).tolist()
        expected = set()
        for a, b in itertools.combinations(range(40), 2):
            differ = bits[a] != bits[b]
            small, large = int(differ[:128].sum()), int(differ[128:].sum())
            if splits[a] != splits[b] and small <= 7 and large <= 48:
                expected.add((a, b))
        grouped = near.find_groups([row.tobytes() for row in rows], splits)
        together = {p for g in grouped for p in itertools.combinations(g, 2)}
        assert expected <= together
        assert {i for g in grouped for i in g} == {i for pair in expected for i in pair}

    def test_the_phantom_has_none(self):
        study = PhantomReader(PhantomOptions(patients=200)).read()
        marks = [fingerprints.take(image) for image in study.images]
        assert all(mark.looks for mark in marks)
        assert list(find.find_leaks(list(study.samples), marks, "multiclass")) == []

    def test_chest_x_rays_of_different_patients_are_not(self, shared_data):
        folder = shared_data / "chest_xray_hannover"
        with (folder / "data.csv").open(newline="") as opened:
            patients = {row["image_id"]: row["patient_id"] for row in csv.DictReader(opened)}
        hashes, people = [], []
        for path in sorted((folder / "png").glob("*.png"))[::3]:
            hashes.append(looks(np.asarray(Image.open(path).convert("L"))[..., None]))
            people.append(patients[path.stem])
        numbers = {name: index for index, name in enumerate(dict.fromkeys(people))}
        assert len(numbers) > 30
        assert near.find_groups(hashes, [numbers[name] % 64 for name in people]) == []


class TestLeaksOfACohort:
    def dataset(self, images, labels, splits, task="multiclass"):
        listed = [
            samples.Sample(key=f"k{i}", patient=f"p{i}", label=label, split=split)
            for i, (label, split) in enumerate(zip(labels, splits, strict=True))
        ]
        return samples.Dataset(
            name="made", task=task, classes=("a", "b"), dims=2, samples=listed, images=images,
            files=(),
        )  # fmt: skip

    def build(self, *arguments, **changes):
        dataset = self.dataset(*arguments, **changes)
        return cohort.build_cohort(dataset, TokenizerSection(), allow_leaks=True).leaks

    def test_a_near_duplicate_in_two_splits_is_refused_by_name(self):
        images = [scene(s) for s in range(6)]
        images[5] = images[0] + 1
        dataset = self.dataset(
            images, [(i % 2,) for i in range(6)], ["train"] * 3 + ["val", "test", "test"]
        )
        with pytest.raises(errors.LeakError, match="near duplicates in two splits") as caught:
            cohort.build_cohort(dataset, TokenizerSection(), allow_leaks=False)
        assert "k0" in str(caught.value)
        assert "k5" in str(caught.value)

    def test_the_tokenizer_has_no_influence(self):
        images = [scene(s) for s in range(6)]
        images[5] = images[0] + 1
        dataset = self.dataset(
            images, [(i % 2,) for i in range(6)], ["train"] * 3 + ["val", "test", "test"]
        )
        found = {
            cohort.build_cohort(dataset, TokenizerSection(resize=edge), allow_leaks=True).leaks
            for edge in (0, 2, 30)
        }
        assert len(found) == 1
        assert len(found.pop()) == 1

    def test_contradictory_labels_within_a_split_are_a_leak(self):
        images = [scene(s) for s in (0, 0, 1, 2, 3)]
        splits = ["train", "train", "train", "val", "test"]
        (leak,) = self.build(images, [(0,), (1,), (0,), (0,), (1,)], splits)
        assert leak.what == "equal pixels with different labels"
        assert str(leak).startswith("equal pixels with different labels: sample ")

    @pytest.mark.parametrize(("other", "count"), [((1, -1), 0), ((-1, 0), 0), ((0, 0), 1)])
    def test_an_unknown_label_contradicts_nothing(self, other, count):
        images = [scene(s) for s in (0, 0, 1, 2, 3)]
        splits = ["train", "train", "train", "val", "test"]
        labels = [(1, 0), other, (0, 1), (0, 1), (1, 0)]
        assert len(self.build(images, labels, splits, task="multilabel")) == count
