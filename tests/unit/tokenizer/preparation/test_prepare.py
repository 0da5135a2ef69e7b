# SPDX-License-Identifier: Apache-2.0
"""Direction, spacing, slices and size: pixels go where the patient's geometry says.

Not tested here: intensities, areas (their own files), channels (tests of the tokenizer).
"""

import itertools
from fractions import Fraction

import nibabel.orientations
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import NiftiOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.images.nifti import read_nifti
from tiny_agent_trainer.tokenizer.preparation import plan, prepare, resampling

LETTERS = ["RL", "AP", "SI"]
ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(LETTERS)
    for letters in itertools.product(*axes)
]


def volume(shape=(3, 4, 5), channels=1, **facts):
    values = np.arange(int(np.prod(shape)) * channels, dtype=np.int16)
    return Image(values=values.reshape(*shape, channels), **facts)


def made(image, **options):
    section = TokenizerSection(**options)
    found = prepare.prepare(image, section, "k")
    assert prepare.prepared_shape(image, section) == found.shape
    assert found.flags.c_contiguous
    return found


class TestOrientation:
    """Turned as nibabel turns, whatever the letters."""

    @settings(max_examples=60)
    @given(st.sampled_from(ORIENTATIONS), st.sampled_from(ORIENTATIONS))
    def test_every_pair_is_as_nibabel_has_it(self, before, after):
        image = volume(orientation=before)
        transform = nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt(tuple(before)),
            nibabel.orientations.axcodes2ornt(tuple(after)),
        )
        expected = nibabel.orientations.apply_orientation(image.values[..., 0], transform)
        assert (made(image, orientation=after)[0] == expected).all()

    def test_a_projection_is_turned_in_its_plane(self):
        image = Image(values=np.arange(6, dtype=np.uint8).reshape(2, 3, 1), orientation="IL")
        assert (made(image, orientation="RS")[0] == image.values[::-1, ::-1, 0].T).all()

    @pytest.mark.parametrize("found", ["", "PL", "RA"])
    def test_an_image_that_lies_otherwise_is_refused(self, found):
        image = Image(values=np.zeros((2, 2, 1), np.uint8), orientation=found)
        with pytest.raises(errors.DatasetError, match="orientation") as caught:
            made(image, orientation="SA")
        assert caught.value.where == "k"

    @pytest.mark.parametrize("letters", ["RLS", "RR", "X", "R", "RASI"])
    def test_letters_that_are_no_orientation_are_refused(self, letters):
        with pytest.raises(ValueError, match="orientation"):
            TokenizerSection(orientation=letters)


class TestSpacing:
    """Lengths follow the spacing that the image has along the dims as they are then."""

    def test_lengths_are_rounded_half_to_even_and_at_least_one(self):
        image = volume((5, 4, 3), spacing_mm=(1.0, 1.25, 0.1))
        assert made(image, spacing_mm=(2.0, 2.0, 1.0)).shape == (1, 2, 2, 1)

    def test_the_spacing_is_turned_with_the_image(self):
        image = volume((2, 4, 8), spacing_mm=(4.0, 2.0, 1.0), orientation="SPL")
        found = made(image, orientation="LPS", spacing_mm=(2.0, 2.0, 2.0))
        assert found.shape == (1, 4, 4, 4)

    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def test_more_pixels_lie_on_the_lines_between_old_centres(self, old, more, seed):
        new = old + more
        line = np.random.default_rng(seed).integers(0, 1 << 16, old).astype(np.uint16)
        found = resampling.resample_spacing(line[:, None], (new,))[:, 0]
        centres = (np.arange(new) + 0.5) * old / new - 0.5
        near = ndimage.map_coordinates(
            line.astype(np.float64), [centres], order=1, mode="nearest"
        )  # fmt: skip
        assert np.abs(near - found).max() <= 0.5 + 1e-6
        for index, value in enumerate(found.tolist()):
            place = Fraction((2 * index + 1) * old, 2 * new) - Fraction(1, 2)
            whole = place.numerator // place.denominator
            pair = [int(line[min(max(k, 0), old - 1)]) for k in (whole, whole + 1)]
            assert value == round(pair[0] + (place - whole) * (pair[1] - pair[0]))

    def test_fewer_pixels_are_means_of_areas(self):
        image = volume((4, 6, 8), spacing_mm=(1.0, 1.0, 1.0))
        found = made(image, spacing_mm=(2.0, 3.0, 4.0))[0]
        expected = image.values[..., 0].reshape(2, 2, 2, 3, 2, 4).mean(axis=(1, 3, 5))
        assert np.abs(found - expected).max() <= 1.5  # one rounding in each of three dims

    @pytest.mark.parametrize(
        ("facts", "asked", "word"),
        [
            ({}, (1.0, 1.0, 1.0), "does not say"),
            ({"spacing_mm": (1.0, 1.0, 1.0)}, (1.0, 1.0), "2 values"),
            ({"spacing_mm": (1e9, 1.0, 1.0)}, (0.5, 1.0, 1.0), "pixels along every dim"),
            ({"spacing_mm": (1e5, 1e5, 1.0)}, (1.0, 1.0, 1.0), "values"),
        ],
    )
    def test_what_cannot_be_done_is_refused_before_it_is_tried(self, facts, asked, word):
        with pytest.raises(errors.DatasetError, match=word):
            made(volume(**facts), spacing_mm=asked)


class TestSlices:
    """2.5-D: neighbouring slices as channels; one slice as an image."""

    @pytest.mark.parametrize(
        ("depth", "options", "chosen"),
        [
            (5, {"slices": 1}, [2]), (4, {"slices": 1}, [1]), (5, {"slices": 3}, [1, 2, 3]),
            (4, {"slices": 2}, [1, 2]), (2, {"slices": 5}, [0, 0, 0, 1, 1]),
            (5, {"slices": 3, "slice": 0}, [0, 0, 1]), (5, {"slices": 1, "slice": 4}, [4]),
        ],
    )  # fmt: skip
    def test_which_slices_become_channels(self, depth, options, chosen):
        image = volume((depth, 2, 3))
        assert (made(image, **options) == image.values[chosen][..., 0]).all()

    def test_colour_stays_in_a_single_slice_and_becomes_gray_for_several(self):
        image = volume((3, 2, 2), channels=3)
        assert made(image, slices=1).shape == (3, 2, 2)
        assert made(image, slices=3, channels=1).shape == (3, 2, 2)
        with pytest.raises(errors.DatasetError, match="gray volume"):
            made(image, slices=3)

    def test_an_image_has_no_slices_and_a_volume_not_more_than_it_has(self):
        with pytest.raises(errors.DatasetError, match="a volume"):
            made(Image(values=np.zeros((2, 2, 1), np.uint8)), slices=1)
        with pytest.raises(errors.DatasetError, match="more than 3 slices"):
            made(volume((3, 2, 2)), slices=1, slice=3)


class TestSize:
    """Cut off and added around the centre."""

    @pytest.mark.parametrize(
        ("length", "expected"),
        [(5, [1, 2, 3, 4, 5]), (4, [1, 2, 3, 4]), (3, [2, 3, 4]), (2, [2, 3]),
         (6, [1, 2, 3, 4, 5, 9]), (7, [9, 1, 2, 3, 4, 5, 9])],
    )  # fmt: skip
    def test_an_odd_pixel_is_the_last_one(self, length, expected):
        values = np.array([[1, 2, 3, 4, 5]], np.uint8)[..., None]
        assert made(values, size=(1, length), pad_value=9)[0, 0].tolist() == expected

    def test_a_value_that_the_type_does_not_hold_is_refused(self):
        with pytest.raises(errors.DatasetError, match="pad_value"):
            made(np.zeros((2, 2, 1), np.uint8), size=(3, 3), pad_value=-1)

    def test_each_dim_may_have_its_own_length(self):
        assert made(volume((3, 4, 5)), resize=(6, 2, 5), size=(4, 4, 4)).shape == (1, 4, 4, 4)
        with pytest.raises(errors.DatasetError, match="`resize`"):
            made(volume((3, 4, 5)), resize=(6, 2))


@st.composite
def options_of_volumes(draw):
    some = st.integers(1, 9)
    triple = st.tuples(some, some, some)
    found = {
        "orientation": draw(st.sampled_from(["", *ORIENTATIONS])),
        "spacing_mm": draw(st.just(()) | st.tuples(*[st.floats(0.4, 4.0)] * 3)),
        "slices": draw(st.sampled_from([0, 0, 1, 3])),
        "intensity": draw(st.sampled_from(["stored", "percentile"])),
        "channels": draw(st.sampled_from([0, 1])),
        "pad_value": draw(st.integers(0, 9)),
    }
    lengths = (lambda three: three[1:]) if found["slices"] else (lambda three: three)
    found["resize"] = draw(st.just(0) | some | triple.map(lengths))
    found["size"] = draw(st.just(()) | triple.map(lengths))
    return found


@settings(max_examples=150)
@given(options_of_volumes(), st.sampled_from([1, 3]), st.sampled_from([np.int16, np.float32]))
def test_any_options_give_the_shape_that_was_said_or_a_named_refusal(options, channels, dtype):
    values = np.arange(60 * channels).astype(dtype).reshape(3, 4, 5, channels)
    if dtype is np.float32:
        values += np.float32(0.5)
    image = Image(values=values, spacing_mm=(2.0, 1.0, 0.5), orientation="SPL")
    is_wide = dtype is np.float32 and options["intensity"] == "stored"
    is_coloured = options["slices"] == 3 and channels == 3 and not options["channels"]
    if is_wide or is_coloured:
        with pytest.raises(errors.DatasetError):
            made(image, **options)
    else:
        found = made(image, **options)
        assert found.dtype == (np.uint16 if options["intensity"] != "stored" else np.int16)


def test_a_length_beyond_the_limit_is_refused():
    image = Image(values=np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(errors.DatasetError, match="pixels along every dim"):
        made(image, resize=plan.LENGTH_LIMIT + 1)


def test_a_real_volume_is_prepared_by_every_step(shared_data):
    files = sorted((shared_data / "nifti").rglob("hippocampus_*.nii.gz"))
    if not files:
        pytest.skip("no hippocampus volumes here")
    file = next(path for path in files if "images" in path.parent.name.lower())
    image = read_nifti(file.parent, file.name, NiftiOptions())
    found = made(
        image, intensity="percentile", orientation="SPL", spacing_mm=(2.0, 2.0, 2.0),
        size=(24, 24, 24),
    )  # fmt: skip
    assert found.shape == (1, 24, 24, 24)
    assert found.dtype == np.uint16
    assert found.max() > 30000


class TestPlaneRatio:
    """How much further apart columns are than rows, after every step."""

    @pytest.mark.parametrize(
        ("shape", "facts", "options", "expected"),
        [
            ((6, 8), {}, {}, 1),
            ((6, 8), {"spacing_mm": (0.5, 0.5)}, {}, 1),
            ((6, 8), {"spacing_mm": (0.5, 0.25)}, {}, 0.5),
            ((6, 8), {"spacing_mm": (0.5, 0.25)}, {"size": (4, 4)}, 0.5),
            ((6, 8), {"spacing_mm": (0.5, 0.5)}, {"resize": 4}, 8 / 6),
            ((600, 601), {"spacing_mm": (1.0, 1.0)}, {"resize": 64}, 1),
            ((6, 8), {"spacing_mm": (0.5, 0.25)}, {"spacing_mm": (0.25, 0.25)}, 1),
            ((3, 6, 8), {"spacing_mm": (9.0, 1.0, 2.0)}, {}, 2),
            ((3, 6, 8), {"spacing_mm": (9.0, 1.0, 2.0)}, {"slices": 1}, 2),
            ((3, 6, 8), {"spacing_mm": (4.0, 1.0, 2.0), "orientation": "SPL"},
             {"orientation": "LPS"}, 4),
        ],
    )  # fmt: skip
    def test_of(self, shape, facts, options, expected):
        image = volume(shape, **facts)
        assert (
            plan.build_plan(image, TokenizerSection(**options), "k").plane_ratio(image) == expected
        )
