# SPDX-License-Identifier: Apache-2.0
"""Notes are found again as they were, or not at all.

Not tested here: how files are written (test_store.py), what is noted (test_prepared_images.py).
"""

import pytest

from tiny_agent_trainer.tokenizer.cache.notes import Notes
from tiny_agent_trainer.tokenizer.cache.store import Store

KEY = "a" * 64


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, 10**6)


def noted(store, **values):
    notes = Notes(store, KEY)
    for name, value in values.items():
        notes.note(name, value)
    notes.close()
    return store.path(KEY, "notes")


def test_what_was_noted_is_found(store):
    noted(store, one={"a": [1, "x"]}, two="line")
    again = Notes(store, KEY)
    assert again.find("one") == {"a": [1, "x"]}
    assert again.find("two") == "line"
    assert again.find("three") is None
    assert Notes(store, "b" * 64).find("one") is None


@pytest.mark.parametrize("place", range(0, 120, 3))
def test_a_flipped_bit_leaves_nothing_to_find(store, place):
    path = noted(store, one="x" * 50)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(data)
    assert Notes(store, KEY).find("one") is None


@pytest.mark.parametrize("content", [b"", b"TATNOTE1", b"something else"])
def test_a_cut_file_leaves_nothing_to_find_and_is_mended(store, content):
    path = noted(store, one="x")
    path.write_bytes(content)
    assert Notes(store, KEY).find("one") is None
    noted(store, one="x")
    assert Notes(store, KEY).find("one") == "x"


def test_it_is_written_only_when_something_is_new(store):
    path = noted(store, one="x")
    before = path.stat().st_ino
    again = Notes(store, KEY)
    again.find("one")
    again.note("one", "x")
    again.close()
    assert path.stat().st_ino == before
    noted(store, one="y")
    assert path.stat().st_ino != before


def test_what_nobody_asked_for_is_forgotten_when_it_is_written(store):
    noted(store, one="x", two="y")
    again = Notes(store, KEY)
    again.find("two")
    again.note("three", "z")
    again.close()
    found = Notes(store, KEY)
    assert [found.find(name) for name in ("one", "two", "three")] == [None, "y", "z"]


def test_without_a_store_nothing_is_kept():
    notes = Notes(None, KEY)
    notes.note("one", "x")
    notes.close()
    assert Notes(None, KEY).find("one") is None
