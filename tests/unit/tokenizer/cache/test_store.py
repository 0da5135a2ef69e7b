# SPDX-License-Identifier: Apache-2.0
"""Files of a store appear whole, are found by key, and leave in the order of their use.

Not tested here: what is in them (test_prepared_images.py), the commands (tests/story).
"""

import fcntl
import os
import stat
import tempfile
import threading

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.cache import place
from tiny_agent_trainer.tokenizer.cache.store import Store

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, 1000)


def names(store):
    return sorted(path.name for path in store.directory.rglob("*") if path.is_file())


def test_what_was_written_is_read_and_nothing_else(store):
    assert store.read(A, "entry") is None
    store.write(A, "entry", [b"one ", b"two"])
    assert store.read(A, "entry") == b"one two"
    assert store.read(A, "rows") is None
    assert names(store) == [f"{A}.entry"]
    assert stat.S_IMODE(store.path(A, "entry").stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_nothing_and_what_was_there(store):
    store.write(A, "entry", [b"old"])

    def pieces():
        yield b"new"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        store.write(A, "entry", pieces())
    assert store.read(A, "entry") == b"old"
    assert names(store) == [f"{A}.entry"]


def test_two_writers_at_once_leave_one_whole_file(store):
    barrier = threading.Barrier(2)

    def write(letter):
        def pieces():
            barrier.wait()
            for _ in range(100):
                yield letter * 100

        store.write(A, "entry", pieces())

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"x", b"y")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.read(A, "entry") in (b"x" * 10000, b"y" * 10000)
    assert names(store) == [f"{A}.entry"]


def test_the_longest_unused_file_is_removed_first(store):
    for age, key in enumerate([A, B, C]):
        path = store.write(key, "entry", [bytes(400)])
        os.utime(path, (1000 + age, 1000 + age))
    store.find(A, "entry")
    store.trim()
    assert names(store) == [f"{A}.entry", f"{C}.entry"]
    store.trim()
    assert len(names(store)) == 2, "800 bytes are within the limit"


def test_a_file_in_use_stays_although_it_is_too_large(store):
    path = store.write(A, "rows", [bytes(5000)])
    store.write(B, "entry", [bytes(10)])
    store.trim({path})
    assert names(store) == [f"{A}.rows"]


def test_what_a_dead_writer_left_is_removed_and_what_a_living_one_writes_is_not(store):
    folder = store.directory / "aa"
    folder.mkdir()
    dead, living = (folder / f"{A}.entry.{name}.part" for name in ("dead", "alive"))
    dead.touch()
    with living.open("wb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        store.trim()
        assert names(store) == [living.name]
    store.trim()
    assert names(store) == []


def test_what_is_removed_before_it_is_marked_as_being_written_is_begun_anew(store, monkeypatch):
    make, made = tempfile.mkstemp, []

    def mkstemp(*arguments):
        made.append(make(*arguments))
        if len(made) == 1:
            store.trim()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    assert store.write(A, "entry", [b"whole"]).read_bytes() == b"whole"
    assert len(made) == 2
    assert names(store) == [f"{A}.entry"]


def test_clearing_removes_files_of_the_store_only(store):
    store.write(A, "entry", [bytes(7)])
    store.write(B, "rows", [bytes(5)])
    for foreign in (store.directory / "notes.txt", store.directory / "aa" / "x.entry"):
        foreign.write_text("mine")
    found = store.clear()
    assert (found.entries, found.rows, found.size_bytes) == (1, 1, 12)
    assert names(store) == ["notes.txt", "x.entry"]


def test_a_full_disk_is_named_and_for_keeping_no_error(store, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(errors.StorageError, match="no space"):
        store.write(A, "entry", [b""])
    store.keep(A, "entry", [b""])
    assert names(store) == []


class TestPlace:
    """The configuration names a directory, and the environment another one."""

    def test_words_and_variables(self, monkeypatch, tmp_path):
        monkeypatch.delenv(place.VARIABLE, raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert place.directory_of("auto") == tmp_path / "tiny-agent-trainer" / "prepared"
        assert place.directory_of("") is None
        assert place.directory_of("x").name == "x"
        monkeypatch.setenv(place.VARIABLE, str(tmp_path / "other"))
        assert place.directory_of("x") == tmp_path / "other"
        monkeypatch.setenv(place.VARIABLE, "")
        assert place.directory_of("x") is None

    def test_where_nothing_can_be_written_there_is_no_store(self, monkeypatch, tmp_path):
        monkeypatch.delenv(place.VARIABLE, raising=False)
        (tmp_path / "file").touch()
        assert place.open_store(str(tmp_path / "file" / "cache"), 1) is None
        assert place.open_store("", 1) is None
        made = place.open_store(str(tmp_path / "new" / "cache"), 2)
        assert made is not None
        assert made.limit_bytes == 2 * 10**9
        assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
