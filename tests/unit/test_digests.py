# SPDX-License-Identifier: Apache-2.0
"""Digests against FIPS 180 and against an independent writing of the set encoding.

Not tested here: which values the digests of a run are taken over (tests/tamper).
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import digests

names = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1)


def test_the_vectors_of_fips_180_hold():
    assert digests.sha256_hex(b"abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert digests.sha256_hex(b"") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (1 << 20) + 1])
def test_a_file_has_the_digest_of_its_bytes(tmp_path, size):
    data = bytes(index % 251 for index in range(size))
    (tmp_path / "file").write_bytes(data)
    assert digests.sha256_file(tmp_path / "file") == digests.sha256_hex(data)


def test_a_view_has_the_digest_of_its_bytes():
    assert digests.sha256_hex(memoryview(b"abcd")[1:3]) == digests.sha256_hex(b"bc")


def test_a_name_says_what_was_digested():
    assert digests.named("thing-v1", b"abc") == f"sha256:thing-v1:{digests.sha256_hex(b'abc')}"


def test_short_shows_twelve_digits_of_a_named_or_a_bare_digest():
    assert digests.short(digests.named("thing-v1", b"abc")) == "ba7816bf8f01"
    assert digests.short(digests.sha256_hex(b"abc")) == "ba7816bf8f01"


@given(st.lists(st.tuples(names, names), max_size=5))
def test_a_set_is_written_as_name_nul_digest_lf_in_byte_order(entries):
    written = b"".join(sorted(f"{name}\0{digest}\n".encode() for name, digest in entries))
    expected = "sha256:set-v1:" + hashlib.sha256(written).hexdigest()
    assert digests.of_entries("set-v1", reversed(entries)) == expected


def test_a_name_cannot_imitate_another_entry():
    assert digests.of_entries("x", [("ab", "c")]) != digests.of_entries("x", [("a", "bc")])
    assert digests.of_entries("x", [("a", "1"), ("b", "2")]) != digests.of_entries(
        "x", [("a", "2"), ("b", "1")]
    )


def test_an_entry_that_stands_twice_changes_the_digest():
    assert digests.of_entries("x", [("a", "1")]) != digests.of_entries("x", [("a", "1")] * 2)
