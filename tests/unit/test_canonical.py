# SPDX-License-Identifier: Apache-2.0
"""The one encoder against the published vectors of RFC 8785, and its inverse.

Not tested here: the digests that are taken over these bytes (test_digests.py, test_run_tamper.py).
"""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import canonical

# RFC 8785, appendix B: IEEE bits and their serialization.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-canonical.INTEGER_LIMIT, canonical.INTEGER_LIMIT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_a_number_is_written_as_appendix_b_of_the_rfc_says(bits, text):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.encode(value) == text.encode()


def test_the_example_of_section_3_2_4_gives_its_published_bytes():
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }
    published = bytes.fromhex(
        "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a"
        "5b3333333333333333332e333333333333332c31652b33302c342e352c302e3030322c31652d3237"
        "5d2c22737472696e67223a22e282ac245c75303030665c6e4127425c225c5c5c5c5c222f227d"
    )
    assert canonical.encode(value) == published


def test_names_are_sorted_by_utf_16_units_as_in_section_3_2_3():
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    encoded = canonical.encode(dict.fromkeys(names, 0)).decode()
    assert list(json.loads(encoded)) == [
        "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), {"a": [2**64]}])
def test_a_number_that_readers_disagree_on_is_refused(value):
    with pytest.raises(ValueError):
        canonical.encode(value)


def test_the_largest_integers_are_accepted():
    assert canonical.encode([2**53 - 1, 1 - 2**53]) == b"[9007199254740991,-9007199254740991]"


@given(values)
def test_decoding_gives_back_what_was_encoded(value):
    assert canonical.decode(canonical.encode(value)) == value


@given(values)
def test_encoding_what_was_decoded_gives_the_same_bytes(value):
    line = canonical.encode_line(value)
    assert line == canonical.encode(value) + b"\n"
    assert canonical.encode_line(canonical.decode_canonical(line)) == line


@given(st.dictionaries(st.text(), st.integers(0, 9), min_size=2), st.randoms(use_true_random=False))
def test_the_order_in_which_names_were_added_has_no_influence(value, dice):
    items = list(value.items())
    dice.shuffle(items)
    assert canonical.encode(dict(items)) == canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [b'{"a": 1}\n', b'{"a":1}', b'{"b":1,"a":1}\n', b'{"a":1.0}\n', b'{"a":1}\n\n', b'"\\u0041"\n'],
)
def test_another_spelling_of_the_same_value_is_refused(data):
    canonical.decode(data)
    with pytest.raises(ValueError, match="canonical"):
        canonical.decode_canonical(data)


@pytest.mark.parametrize("data", [b'{"a":1,"a":1}', b'[{"x":{"b":0,"b":1}}]'])
def test_a_name_that_stands_twice_is_refused(data):
    with pytest.raises(ValueError, match="twice"):
        canonical.decode(data)


@pytest.mark.parametrize("value", [2.0**53, -(2.0**70), 295147905179352830000.0, 1e20])
def test_a_large_whole_float_is_read_back_as_itself(value):
    assert canonical.decode_canonical(canonical.encode_line(value)) == value


def test_an_integer_between_two_floats_is_not_canonical():
    with pytest.raises(ValueError, match="canonical"):
        canonical.decode_canonical(b"9007199254740993\n")


@pytest.mark.parametrize(
    "data", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"", b"{", b"\xff", b"[1,]", b"{'a':1}"]
)
def test_what_is_not_json_is_refused(data):
    with pytest.raises(ValueError):
        canonical.decode(data)
