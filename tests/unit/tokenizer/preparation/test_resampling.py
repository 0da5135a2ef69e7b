# SPDX-License-Identifier: Apache-2.0
"""Area resampling against exact fractions.

Not tested here: quality of the filter (it is the one of the definition).
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tiny_agent_trainer.tokenizer.preparation.resampling import resample_area

DTYPES = [np.uint8, np.uint16, np.int16]


def resample_line(values, edge):
    """New pixel i is the mean of the old line over [i, i + 1) / edge, rounded half to even."""
    length, resampled = len(values), []
    for i in range(edge):
        low, high = Fraction(i, edge), Fraction(i + 1, edge)
        total = Fraction(0)
        for j, value in enumerate(values):
            shared = min(high, Fraction(j + 1, length)) - max(low, Fraction(j, length))
            total += max(shared, 0) * int(value)
        resampled.append(round(total * edge))  # Python rounds a Fraction half to even
    return resampled


def resample_slowly(image, edge):
    for dim in range(image.ndim - 1):
        image = np.apply_along_axis(resample_line, dim, image.astype(object), edge)
    return image


@st.composite
def stored_images(draw):
    dims = draw(st.sampled_from([2, 3]))
    shape = (*draw(st.lists(st.integers(1, 5), min_size=dims, max_size=dims)),)
    dtype = draw(st.sampled_from(DTYPES))
    limits = np.iinfo(dtype)
    some = st.sampled_from([limits.min, limits.max]) | st.integers(limits.min, limits.max)
    return draw(arrays.arrays(dtype, (*shape, draw(st.sampled_from([1, 3]))), elements=some))


@settings(max_examples=60)
@given(stored_images(), st.integers(1, 6))
def test_every_value_is_the_exact_mean_rounded_once_along_each_dim(image, edge):
    found = resample_area(image, edge)
    assert found.dtype == image.dtype
    assert found.shape == (*[edge] * (image.ndim - 1), image.shape[-1])
    assert found.tolist() == resample_slowly(image, edge).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edge", [1, 3, 7, 28, 100])
def test_a_constant_image_stays_constant(dtype, edge):
    for value in (np.iinfo(dtype).min, np.iinfo(dtype).max, 1):
        assert (resample_area(np.full((28, 13, 1), value, dtype), edge) == value).all()


def test_an_image_of_this_size_stays_as_it_is():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    assert (resample_area(image, 4) == image).all()


def test_enlarging_by_a_whole_factor_repeats_pixels():
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    expected = image.repeat(3, axis=0).repeat(3, axis=1)
    assert (resample_area(image, 6) == expected).all()


def test_halves_go_to_the_even_neighbour():
    image = np.array([[[0], [1], [1], [2], [2], [3]]], np.uint8)
    assert resample_area(np.repeat(image, 3, axis=0), 3)[0, :, 0].tolist() == [0, 2, 2]


def test_rounding_to_even_is_seen_by_these_tests():
    """Negative control: rounding halves up gives another answer for the same line."""
    assert resample_line([0, 1], 1) == [0]
    assert int(Fraction(1, 2) + Fraction(1, 2)) != resample_line([0, 1], 1)[0]
