# SPDX-License-Identifier: Apache-2.0
"""The phantom is one study per set of options, and it is neither trivial nor hopeless.

Not tested here: what a convolutional network reaches on it (the story of the first experiment).
"""

import hashlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tiny_agent_trainer.config.data import PhantomOptions
from tiny_agent_trainer.tokenizer.phantom import PhantomReader

GOLDEN_PIXELS = "9deeff83c2b3d070d409c93eaa111b526d2a734b9a7dd344b2096c1a15ad23c9"
"""SHA-256 of all pixels of 40 patients; another value makes every published result another one."""


def read(**options):
    return PhantomReader(PhantomOptions(**options)).read()


@pytest.fixture(scope="module")
def forty():
    return read(patients=40)


@pytest.fixture(scope="module")
def many():
    return read(patients=700, image_size=16)


def pixels_of(dataset):
    digest = hashlib.sha256()
    for image in dataset.images:
        digest.update(image.tobytes())
    return digest.hexdigest()


def true_lesions(**options):
    """Whether each image shows a lesion, from labels without noise."""
    return [sample.label[0] for sample in read(label_noise=0.0, **options).samples]


class TestOneStudy:
    """A pure function of the options."""

    def test_the_pixels_of_forty_patients_never_change(self, forty):
        assert pixels_of(forty) == GOLDEN_PIXELS
        assert len(forty.images) == len(forty.samples) == 73

    def test_reading_twice_gives_the_same(self, forty):
        again = read(patients=40)
        assert again.samples == forty.samples
        assert pixels_of(again) == pixels_of(forty)

    def test_another_seed_is_another_study(self, forty):
        assert pixels_of(read(patients=40, phantom_seed=1)) != pixels_of(forty)

    @pytest.mark.parametrize("more", [{"images_per_patient": 3}, {"images_per_patient": 1}])
    def test_with_more_patients_the_first_ones_stay_as_they_are(self, more):
        few, most = read(patients=40, **more), read(patients=300, **more)
        count = len(few.samples)
        for one, other in zip(few.samples, most.samples[:count], strict=True):
            assert (one.key, one.patient, one.label, one.attributes) == (
                other.key,
                other.patient,
                other.label,
                other.attributes,
            )
        for one, other in zip(few.images, most.images[:count], strict=True):
            assert one.tobytes() == other.tobytes()

    def test_the_part_of_patients_rendered_at_once_has_no_influence(self, many):
        """More than 256 images are rendered in several parts."""
        few = read(patients=100, image_size=16)
        assert len(many.images) > 512
        assert (
            pixels_of(few)
            == hashlib.sha256(
                b"".join(image.tobytes() for image in many.images[: len(few.images)])
            ).hexdigest()
        )


class TestSamples:
    """What is known of every image."""

    def test_shape_type_and_names(self, forty):
        assert (forty.name, forty.task, forty.dims) == ("phantom", "multiclass", 2)
        assert forty.classes == ("no lesion", "lesion")
        assert all(image.shape == (32, 32, 1) for image in forty.images)
        assert all(image.dtype == np.uint8 for image in forty.images)
        assert len({sample.key for sample in forty.samples}) == len(forty.samples)

    def test_every_patient_has_between_one_and_the_most_images(self, many):
        counts = np.bincount([int(sample.patient) for sample in many.samples])
        assert len(counts) == 700
        assert set(counts.tolist()) == {1, 2, 3}

    def test_no_patient_is_in_two_splits(self, many):
        splits = {}
        for sample in many.samples:
            assert splits.setdefault(sample.patient, sample.split) == sample.split
        shares = [list(splits.values()).count(split) / 700 for split in ("train", "val", "test")]
        assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.01)

    def test_attributes_are_known_and_constant_for_a_patient(self, many):
        known = {}
        for sample in many.samples:
            assert known.setdefault(sample.patient, sample.attributes) == sample.attributes
        for key, values in {
            "sex": {"F", "M"},
            "age_band": {"18-39", "40-59", "60-79", "80+"},
            "scanner": {"A", "B", "C"},
        }.items():
            assert {attributes[key] for attributes in known.values()} == values

    @pytest.mark.parametrize("fraction", [0.2, 0.5])
    def test_the_share_of_patients_with_a_lesion_is_the_one_asked_for(self, fraction):
        dataset = read(patients=2000, image_size=16, images_per_patient=1,
                       lesion_fraction=fraction, label_noise=0.0)  # fmt: skip
        share = np.mean([sample.label[0] for sample in dataset.samples])
        assert abs(share - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 2000)

    @pytest.mark.parametrize("noise", [0.02, 0.3])
    def test_the_share_of_wrong_labels_is_the_one_asked_for(self, noise):
        options = {"patients": 2000, "image_size": 16, "images_per_patient": 1}
        noisy = [sample.label[0] for sample in read(label_noise=noise, **options).samples]
        wrong = np.mean(np.array(noisy) != np.array(true_lesions(**options)))
        assert abs(wrong - noise) < 4 * np.sqrt(noise * (1 - noise) / 2000)

    def test_label_noise_changes_no_pixel(self, forty):
        assert pixels_of(read(patients=40, label_noise=0.4)) == pixels_of(forty)

    def test_a_lesion_makes_an_image_brighter_somewhere_and_darker_nowhere(self):
        options = {"patients": 40, "label_noise": 0.0}
        faint = read(lesion_contrast=0.001, **options)
        strong = read(lesion_contrast=2.0, **options)
        for weak, image, sample in zip(faint.images, strong.images, strong.samples, strict=True):
            gain = image.astype(int) - weak.astype(int)
            assert gain.min() >= 0
            assert (gain.max() > 20) == (sample.label == (1,))


class TestDifficulty:
    """Neither trivial nor hopeless."""

    def auc_of_pixels(self, dataset):
        pixels = np.stack(dataset.images).reshape(len(dataset.images), -1) / 255
        labels = np.array([sample.label[0] for sample in dataset.samples])
        split = np.array([sample.split for sample in dataset.samples])
        fitted = LogisticRegression(C=0.1, max_iter=300).fit(
            pixels[split == "train"], labels[split == "train"]
        )
        return roc_auc_score(
            labels[split == "test"], fitted.decision_function(pixels[split == "test"])
        )

    def test_a_linear_classifier_on_pixels_is_not_enough(self, many):
        assert 0.45 < self.auc_of_pixels(many) < 0.80

    def test_a_linear_classifier_sees_a_lesion_that_outshines_everything(self):
        """Negative control: the classifier above can see, if there is something to see."""
        bright = read(patients=700, image_size=16, lesion_contrast=4.0, label_noise=0.0)
        assert self.auc_of_pixels(bright) > 0.80

    def test_overall_brightness_is_not_enough(self, many):
        labels = [sample.label[0] for sample in many.samples]
        means = [image.mean() for image in many.images]
        assert 0.5 < roc_auc_score(labels, means) < 0.80
