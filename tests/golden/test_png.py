# SPDX-License-Identifier: Apache-2.0
"""PNG in stored blocks: fixed bytes, and the pixels that went in come out of Pillow.

Not tested here: other PNG decoders (Chromium's, in tests/story/test_report_page.py).
"""

import base64
import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiny_agent_trainer.reports.picture import Picture
from tiny_agent_trainer.reports.png import encode_data_uri, encode_png


def picture(width, height, channels, pixels):
    return Picture(
        sample=0,
        label="a",
        predicted=None,
        probability=None,
        width=width,
        height=height,
        channels=channels,
        pixels=pixels,
    )


def test_bytes_are_fixed():
    """Field by field as in the standards: a 2 x 1 gray image, pixels 0 and 255."""
    assert encode_png(picture(2, 1, 1, b"\x00\xff")).hex() == (
        "89504e470d0a1a0a"
        "0000000d49484452" + "0000000200000001" + "0800000000" + "d1492056"
        "0000000e49444154" + "7801" + "010300fcff" + "0000ff" + "01020100" + "b7012ef7"
        "0000000049454e44" + "ae426082"
    )


def test_a_ramp_has_its_digest():
    ramp = bytes(i % 256 for i in range(300 * 300 * 3))
    digest = hashlib.sha256(encode_png(picture(300, 300, 3, ramp))).hexdigest()
    assert digest == "2fa38e7b590a3328ec5ca1d0d4eb91078584611fa3836658b008300312da500d"


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.randoms())
def test_pillow_reads_the_same_pixels(width, height, channels, random):
    pixels = random.randbytes(width * height * channels)
    with Image.open(io.BytesIO(encode_png(picture(width, height, channels, pixels)))) as image:
        image.load()
        assert image.mode == {1: "L", 3: "RGB"}[channels]
        assert image.size == (width, height)
        assert image.tobytes() == pixels


@pytest.mark.parametrize("rows", [65_535 // 2, 65_535 // 2 + 1, 65_535])
def test_blocks_beyond_64_kib(rows):
    """Around the length at which a second stored block begins."""
    pixels = bytes(i % 251 for i in range(rows))
    with Image.open(io.BytesIO(encode_png(picture(1, rows, 1, pixels)))) as image:
        assert image.tobytes() == pixels


def test_pillow_notices_a_changed_pixel():
    """Negative control: the checksums that we write are looked at."""
    data = bytearray(encode_png(picture(4, 4, 1, bytes(16))))
    data[60] ^= 1
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(bytes(data))) as image:
        image.load()


def test_data_uri_holds_the_same_bytes():
    one = picture(2, 2, 1, b"abcd")
    prefix, payload = encode_data_uri(one).split(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(payload) == encode_png(one)


@pytest.mark.parametrize(("channels", "size"), [(2, 8), (1, 5), (3, 4)])
def test_pictures_that_do_not_fit_are_refused(channels, size):
    with pytest.raises(ValueError, match="picture of sample 0"):
        picture(2, 2, channels, bytes(size))
