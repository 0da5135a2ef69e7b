# SPDX-License-Identifier: Apache-2.0
"""Samples are numbered by their pixels, and no patient and no image stands in two splits unseen.

Not tested here: what the readers bring (one file each), what is written about it (data manifest).
"""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import PhantomOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import batches, cohort, samples
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.tokenizer.phantom import PhantomReader
from tiny_agent_trainer.tokenizer.pixels import digest_pixels

SPLITS = ("train", "train", "train", "val", "test")


def image(value, shape=(2, 2, 1), dtype=np.uint8):
    return np.full(shape, value, dtype)


def dataset_of(rows, images=None, **changes):
    """A dataset of (patient, label, split) rows; image i is filled with i unless given."""
    listed = [
        samples.Sample(key=f"k{i}", patient=patient, label=(label,), split=split)
        for i, (patient, label, split) in enumerate(rows)
    ]
    images = images or [image(i) for i in range(len(rows))]
    whole = samples.Dataset(
        name="made", task="multiclass", classes=("no", "yes"), dims=2, samples=listed,
        images=images, files=(),
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


def sound_rows():
    return [(f"p{i}", i % 2, SPLITS[i % 5]) for i in range(10)]


def build(dataset, *, allow_leaks=False, **options):
    return cohort.build_cohort(dataset, TokenizerSection(**options), allow_leaks=allow_leaks)


@pytest.fixture(scope="module")
def phantom():
    return PhantomReader(PhantomOptions(patients=30, image_size=16)).read()


class TestOrdinals:
    """A number depends on the pixels, not on names and not on the order of files."""

    @settings(max_examples=10)
    @given(st.randoms(use_true_random=False))
    def test_the_order_in_which_samples_are_read_has_no_influence(self, phantom, dice):
        order = list(range(len(phantom.samples)))
        dice.shuffle(order)
        shuffled = dataclasses.replace(
            phantom,
            samples=[phantom.samples[i] for i in order],
            images=[phantom.images[i] for i in order],
        )
        one, other = build(phantom), build(shuffled)
        assert one.samples == other.samples
        assert one.pixel_digests == other.pixel_digests
        assert one.prepared_NCS.tobytes() == other.prepared_NCS.tobytes()
        assert (one.labels == other.labels).all()
        assert (one.patients == other.patients).all()
        for split in samples.SPLITS:
            assert (one.splits[split] == other.splits[split]).all()

    def test_names_of_files_and_patients_have_no_influence(self, phantom):
        renamed = [
            dataclasses.replace(s, key=f"z{i:05d}", patient=f"q{-int(s.patient)}")
            for i, s in enumerate(reversed(phantom.samples))
        ]
        other = build(dataclasses.replace(phantom, samples=renamed[::-1]))
        one = build(phantom)
        assert one.pixel_digests == other.pixel_digests
        assert (one.labels == other.labels).all()
        assert (one.patients == other.patients).all()

    def test_samples_are_in_the_order_of_their_pixel_digests(self, phantom):
        found = build(phantom)
        assert list(found.pixel_digests) == sorted(found.pixel_digests)
        for ordinal, digest in enumerate(found.pixel_digests):
            stored = np.moveaxis(found.prepared_NCS[ordinal], 0, -1)
            assert digest_pixels(stored) == digest

    def test_patients_are_numbered_by_their_first_sample(self, phantom):
        found = build(phantom)
        first = [found.patients.tolist().index(number) for number in range(30)]
        assert first == sorted(first)
        names = [sample.patient for sample in found.samples]
        assert len({*zip(names, found.patients.tolist(), strict=True)}) == 30

    def test_splits_hold_every_ordinal_once(self, phantom):
        found = build(phantom)
        together = np.concatenate([found.splits[split] for split in samples.SPLITS])
        assert sorted(together.tolist()) == list(range(len(found.samples)))
        for split in samples.SPLITS:
            assert {found.samples[i].split for i in found.splits[split]} == {split}

    def test_a_pixel_digest_is_over_type_shape_and_values(self):
        pixels = np.arange(6, dtype=np.uint16).reshape(1, 6, 1)
        written = b"pixels-v1 <u2 (1, 6, 1)\n" + pixels.astype("<u2").tobytes()
        assert digest_pixels(pixels) == hashlib.sha256(written).hexdigest()
        assert digest_pixels(pixels.astype(">u2")) == digest_pixels(pixels)
        others = [pixels.reshape(6, 1, 1), pixels.astype(np.int16), pixels[:, ::-1]]
        assert len({digest_pixels(a) for a in [pixels, *others]}) == 4


class TestLeaks:
    """Found, named, and refused unless the configuration says otherwise."""

    def test_a_sound_dataset_has_none(self):
        assert build(dataset_of(sound_rows())).leaks == ()

    def test_a_patient_in_two_splits_is_refused_by_name(self):
        rows = sound_rows()
        rows[4] = ("p0", 0, "test")
        with pytest.raises(errors.LeakError, match="1 leaks") as caught:
            build(dataset_of(rows))
        assert "one patient in two splits" in str(caught.value)
        assert "k0" in str(caught.value)
        assert "k4" in str(caught.value)

    def test_equal_pixels_in_two_splits_are_refused(self):
        images = [image(i) for i in range(10)]
        images[3] = image(0)
        with pytest.raises(errors.LeakError, match="equal pixels in two splits"):
            build(dataset_of(sound_rows(), images))

    def test_equal_pixels_in_one_split_are_no_leak(self):
        images = [image(i) for i in range(10)]
        images[2] = image(0)
        assert build(dataset_of(sound_rows(), images)).leaks == ()

    def test_allowed_leaks_are_listed_with_ordinal_split_and_label(self):
        rows, images = sound_rows(), [image(i) for i in range(10)]
        rows[4] = ("p1", 0, "test")
        images[8] = image(0)
        found = build(dataset_of(rows, images), allow_leaks=True)
        assert [leak.what for leak in found.leaks] == ["equal pixels", "one patient"]
        for leak in found.leaks:
            for ordinal, split, label in leak.members:
                assert (found.samples[ordinal].split, found.samples[ordinal].label) == (
                    split,
                    label,
                )
        splits = [[split for _, split, _ in leak.members] for leak in found.leaks]
        assert [set(members) for members in splits] == [{"train", "val"}, {"train", "test"}]

    def test_what_results_show_of_a_leak_names_no_patient_and_no_file(self):
        rows = sound_rows()
        rows[4] = ("p0", 0, "test")
        (leak,) = build(dataset_of(rows), allow_leaks=True).leaks
        assert "p0" not in str(leak)
        assert "k0" not in str(leak)

    def test_many_leaks_are_counted_and_the_first_twenty_shown(self):
        rows = [(f"p{i // 2}", i % 2, "train" if i % 2 else "test") for i in range(60)]
        rows[0] = ("q", 1, "val")
        with pytest.raises(errors.LeakError, match=r"(?s)29 leaks.*and 9 more") as caught:
            build(dataset_of([(p, int(i < 30), s) for i, (p, _, s) in enumerate(rows)]))
        assert str(caught.value).count("one patient in two splits") == 20


class TestRefusals:
    """Data that cannot be trained on are refused with what was expected and what was found."""

    @pytest.mark.parametrize("split", samples.SPLITS)
    def test_an_empty_split(self, split):
        other = "train" if split != "train" else "val"
        rows = [(p, label, other if s == split else s) for p, label, s in sound_rows()]
        with pytest.raises(errors.DatasetError, match=f"^split {split}: expected at least one"):
            build(dataset_of(rows))

    def test_one_class_only(self):
        rows = [(p, 1 if s == "train" else label, s) for p, label, s in sound_rows()]
        with pytest.raises(errors.DatasetError, match="all of class 'yes'"):
            build(dataset_of(rows))

    @pytest.mark.parametrize(
        ("other", "found"),
        [
            (image(7, (2, 3, 1)), "shape (1, 2, 3) and type uint8"),
            (image(7, (2, 2, 3)), "shape (3, 2, 2) and type uint8"),
            (image(7, dtype=np.uint16), "shape (1, 2, 2) and type uint16"),
        ],
    )
    def test_images_of_two_kinds(self, other, found):
        images = [image(i) for i in range(10)]
        images[6] = other
        with pytest.raises(errors.DatasetError) as caught:
            build(dataset_of(sound_rows(), images))
        assert "`resize`" in caught.value.remedy
        # Ordinals decide which of two kinds comes first, so either may be called the other one.
        assert found in f"{caught.value.expected} {caught.value.found}"
        assert "shape (1, 2, 2) and type uint8" in f"{caught.value.expected} {caught.value.found}"
        assert "k6" in f"{caught.value.where} {caught.value.expected}"

    def test_images_of_two_sizes_fit_after_resizing(self):
        images = [image(i) for i in range(10)]
        images[6] = image(6, (4, 5, 1))
        assert build(dataset_of(sound_rows(), images), resize=3).prepared_NCS.shape == (
            10,
            1,
            3,
            3,
        )


class TestMultilabel:
    """Labels of several classes stay side by side."""

    def test_labels_have_one_column_per_class(self):
        rows = sound_rows()
        listed = [
            samples.Sample(key=f"k{i}", patient=p, label=(label, 1), split=s)
            for i, (p, label, s) in enumerate(rows)
        ]
        found = build(dataset_of(rows, samples=listed, task="multilabel"))
        assert found.labels.shape == (10, 2)
        assert found.labels.tolist() == [list(sample.label) for sample in found.samples]


class TestTokenizerOfACohort:
    """Normalised by the training split alone."""

    def test_val_and_test_have_no_influence_on_the_normalization(self):
        rows = sound_rows()
        images = [image(i if s == "train" else 200 + i) for i, (_, _, s) in enumerate(rows)]
        found = build(dataset_of(rows, images)).build_tokenizer(TokenizerSection())
        values = [i for i, (_, _, s) in enumerate(rows) if s == "train"]
        assert found.normalization.mean == (float(np.mean(values)),)


class TestFeed:
    """A batch is a way to compute, not a part of the meaning."""

    def feed(self, phantom, base_seed=0, **options):
        members = build(phantom)
        section = TokenizerSection(augmentation=options)
        return batches.Feed(
            cohort=members,
            tokenizer=members.build_tokenizer(section),
            augmentation=augmentation.Augmentation(section.augmentation, base_seed),
            base_seed=base_seed,
        )

    def test_an_epoch_holds_every_training_sample_once(self, phantom):
        feed = self.feed(phantom)
        for epoch in (1, 2, 3):
            order = feed.training_order(epoch)
            assert sorted(order.tolist()) == feed.cohort.splits["train"].tolist()

    def test_orders_differ_between_epochs_and_seeds_and_are_equal_between_runs(self, phantom):
        feed, other = self.feed(phantom), self.feed(phantom, base_seed=1)
        orders = {
            tuple(f.training_order(epoch).tolist()) for f in (feed, other) for epoch in (1, 2, 3)
        }
        assert len(orders) == 6
        again = self.feed(phantom)
        assert (again.training_order(2) == feed.training_order(2)).all()

    def test_a_sample_in_a_batch_has_the_bits_that_it_has_alone(self, phantom):
        feed = self.feed(phantom, flip_horizontal=True, shift_pixels=2, intensity_scale=0.1)
        order = feed.training_order(1)
        together = feed.training_batch(1, order)
        for place in (0, 7, len(order) - 1):
            alone = feed.training_batch(1, order[place : place + 1])
            assert alone.inputs[0].tobytes() == together.inputs[place].tobytes()
            assert alone.labels[0] == together.labels[place]

    def test_augmentation_touches_training_only(self, phantom):
        feed = self.feed(phantom, intensity_offset=0.5)
        chosen = feed.cohort.splits["train"][:4]
        plain = self.feed(phantom).plain_batch(chosen).inputs
        assert (feed.plain_batch(chosen).inputs == plain).all()
        assert (feed.training_batch(1, chosen).inputs != plain).any()

    @pytest.mark.parametrize("size", [1, 3, 1000])
    def test_batches_of_a_split_bring_every_sample_once_in_order(self, phantom, size):
        feed = self.feed(phantom)
        brought = [batch.samples for batch in feed.plain_batches("val", size)]
        assert (np.concatenate(brought) == feed.cohort.splits["val"]).all()
        assert max(map(len, brought)) <= size
