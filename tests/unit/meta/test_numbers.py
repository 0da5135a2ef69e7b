# SPDX-License-Identifier: Apache-2.0
"""Images of numbers and their texts at the corners.

Not tested here: random bits (tests/property), the bytes of counted integers (tests/conformance).
"""

import math
import struct

import pytest

from tiny_agent_trainer.meta import numbers


def f64(bits):
    return struct.unpack("<d", bits.to_bytes(8, "little"))[0]


@pytest.mark.parametrize(
    ("value", "image"),
    [(0.0, 0), (-0.0, -1), (5e-324, 1), (-5e-324, -2), (1.0, 0x3FF0000000000000)],
)
def test_images_of_f64(value, image):
    assert numbers.image_of_f64(value) == image
    assert struct.pack("<d", numbers.f64_of_image(image)) == struct.pack("<d", value)


def test_neighbours_have_neighbouring_images():
    for value in (1.0, 0.1, 1e300, -3.7, 2.0**-1022):
        above = math.nextafter(value, math.inf)
        assert numbers.image_of_f64(above) == numbers.image_of_f64(value) + 1


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("value", [1, True, "1.0", None])
def test_what_is_no_float_is_refused(dtype, value):
    with pytest.raises(TypeError, match="not a float"):
        numbers.IMAGES[dtype](value)


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(TypeError, match="not an integer"):
        numbers.image_of_i64(value)


@pytest.mark.parametrize("value", [0.1, 1e39, -1e39, 1e-50, f64(0x7FF8000000000001)])
def test_what_binary32_does_not_hold_is_refused(value):
    with pytest.raises(ValueError, match="binary32"):
        numbers.image_of_f32(value)


@pytest.mark.parametrize(
    ("value", "decimal", "hexadecimal"),
    [
        (0.1, "0.1", "0x1.999999999999ap-4"),
        (-0.0, "-0.0", "-0x0.0p+0"),
        (math.inf, "inf", "inf"),
        (math.nan, "nan", "nan"),
        (f64(0xFFF8000000000001), "nan:fff8000000000001", "nan:fff8000000000001"),
    ],
)
def test_texts(value, decimal, hexadecimal):
    assert numbers.text_of_float(value) == decimal
    assert numbers.text_of_float(value, as_hex=True) == hexadecimal
