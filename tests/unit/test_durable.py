# SPDX-License-Identifier: Apache-2.0
"""A reader never sees half a file, and a disk that refuses is named with its path.

Not tested here: a full file system and a killed process (the tests of a run), and the loss of
power, of which a test can only see that the right calls are made in the right order.
"""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import durable, errors

REFUSED = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "quota",
    errno.EROFS: "read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EFBIG: "larger than",
    errno.EIO: "input/output",
}


def refuse(code):
    def primitive(*_):
        raise OSError(code, os.strerror(code))

    return primitive


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


class TestWriteAtomic:
    """At any moment either the old or the new file is there."""

    @pytest.mark.parametrize("data", [b"", b"new", [b"n", b"", b"ew"], iter([b"new"])])
    def test_the_new_contents_are_there_and_nothing_else(self, tmp_path, data):
        expected = b"" if data == b"" else b"new"
        (tmp_path / "file").write_bytes(b"old and longer")
        durable.write_atomic(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == expected
        assert names_in(tmp_path) == ["file"]

    @pytest.mark.parametrize("primitive", ["_write", "_fsync", "_replace"])
    @pytest.mark.parametrize("code", sorted(REFUSED))
    def test_the_old_file_stays_when_the_disk_refuses(self, tmp_path, monkeypatch, primitive, code):
        (tmp_path / "file").write_bytes(b"old")
        monkeypatch.setattr(durable, primitive, refuse(code))
        with pytest.raises(errors.StorageError, match=REFUSED[code]) as caught:
            durable.write_atomic(tmp_path / "file", b"new")
        assert caught.value.where == str(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"old"
        assert names_in(tmp_path) == ["file"]

    def test_the_old_file_stays_when_the_disk_fills_up_in_the_middle(self, tmp_path, monkeypatch):
        room = 5

        def write(descriptor, data):
            nonlocal room
            if not room:
                raise OSError(errno.ENOSPC, "full")
            done = os.write(descriptor, data[:room])
            room -= done
            return done

        (tmp_path / "file").write_bytes(b"old")
        monkeypatch.setattr(durable, "_write", write)
        with pytest.raises(errors.StorageError, match="no space left"):
            durable.write_atomic(tmp_path / "file", b"new and long")
        assert room == 0
        assert (tmp_path / "file").read_bytes() == b"old"
        assert names_in(tmp_path) == ["file"]

    def test_the_old_file_stays_when_the_pieces_fail(self, tmp_path):
        def pieces():
            yield b"new"
            raise RuntimeError("the source broke")

        (tmp_path / "file").write_bytes(b"old")
        with pytest.raises(RuntimeError, match="the source broke"):
            durable.write_atomic(tmp_path / "file", pieces())
        assert (tmp_path / "file").read_bytes() == b"old"
        assert names_in(tmp_path) == ["file"]

    @given(st.binary(max_size=300), st.integers(1, 7))
    def test_short_writes_are_continued(self, tmp_path_factory, data, most):
        path = tmp_path_factory.mktemp("short") / "file"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable, "_write", lambda fd, view: os.write(fd, view[:most]))
            durable.write_atomic(path, data)
        assert path.read_bytes() == data

    def test_the_file_is_synced_before_it_is_renamed_and_its_directory_after(
        self, tmp_path, monkeypatch
    ):
        calls = []
        kept = {name: getattr(durable, name) for name in ("_write", "_fsync", "_replace")}

        def watch(name):
            def primitive(*arguments):
                what = os.fstat(arguments[0]).st_ino if isinstance(arguments[0], int) else 0
                calls.append((name, what))
                return kept[name](*arguments)

            return primitive

        for name in kept:
            monkeypatch.setattr(durable, name, watch(name))
        durable.write_atomic(tmp_path / "file", b"new")
        file, folder = (tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino
        assert calls == [("_write", file), ("_fsync", file), ("_replace", 0), ("_fsync", folder)]

    @pytest.mark.parametrize("name", [".", "..", "/", "folder"])
    def test_a_directory_is_never_replaced(self, tmp_path, monkeypatch, name):
        (tmp_path / "folder").mkdir()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(errors.StorageError, match="a directory where a file should be"):
            durable.write_atomic(Path(name), b"new")
        assert names_in(tmp_path) == ["folder"]

    def test_a_fifo_or_device_is_never_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "null").symlink_to(os.devnull)
        for name in ("fifo", "null"):
            with pytest.raises(errors.StorageError, match="never replaced by a file"):
                durable.write_atomic(tmp_path / name, b"new")
        assert (tmp_path / "fifo").is_fifo()
        assert (tmp_path / "null").is_symlink()
        assert names_in(tmp_path) == ["fifo", "null"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_without_permission_is_named(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(errors.StorageError, match="no permission"):
            durable.write_atomic(tmp_path / "file", b"new")
        tmp_path.chmod(0o700)

    def test_a_fault_that_is_no_refusal_stays_what_it_is(self, tmp_path, monkeypatch):
        def fail(descriptor, data):
            raise BlockingIOError(errno.EAGAIN, "try again")

        monkeypatch.setattr(durable, "_write", fail)
        with pytest.raises(BlockingIOError):
            durable.write_atomic(tmp_path / "file", b"new")

    def test_a_missing_directory_and_a_file_in_its_place_are_named(self, tmp_path):
        with pytest.raises(errors.StorageError) as caught:
            durable.write_atomic(tmp_path / "absent" / "deep" / "file", b"new")
        assert caught.value.found == f"no such directory: {tmp_path / 'absent'}"
        assert names_in(tmp_path) == []
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(errors.StorageError) as caught:
            durable.write_atomic(tmp_path / "file" / "below", b"new")
        assert caught.value.found == f"a file where a directory should be: {tmp_path / 'file'}"
        with pytest.raises(errors.StorageError, match="a file where a directory should be"):
            durable.make_directory(tmp_path / "file")
        with pytest.raises(errors.StorageError, match="a name that is too long"):
            durable.write_atomic(tmp_path / ("x" * 300), b"new")


class TestAppender:
    """A file that only grows, from a given length on."""

    def test_it_goes_on_behind_what_is_there(self, tmp_path):
        (tmp_path / "log").write_bytes(b"one ")
        with durable.Appender(tmp_path / "log") as appender:
            assert appender.length_bytes == 4
            appender.append(b"two")
            appender.sync()
            assert appender.length_bytes == 7
        assert (tmp_path / "log").read_bytes() == b"one two"

    @pytest.mark.parametrize("length", range(5))
    def test_it_cuts_what_is_behind_its_start_and_goes_on_there(self, tmp_path, length):
        (tmp_path / "log").write_bytes(b"abcd")
        with durable.Appender(tmp_path / "log", length) as appender:
            assert appender.length_bytes == length
            appender.append(b"X")
        assert (tmp_path / "log").read_bytes() == b"abcd"[:length] + b"X"

    def test_it_creates_a_file_that_is_absent(self, tmp_path):
        durable.Appender(tmp_path / "log", 0).close()
        assert (tmp_path / "log").read_bytes() == b""

    @given(st.lists(st.binary(max_size=20), max_size=8))
    def test_its_length_is_the_length_of_the_file(self, tmp_path_factory, pieces):
        path = tmp_path_factory.mktemp("append") / "log"
        with durable.Appender(path) as appender:
            for piece in pieces:
                appender.append(piece)
                assert appender.length_bytes == path.stat().st_size
        assert path.read_bytes() == b"".join(pieces)

    @pytest.mark.parametrize("code", sorted(REFUSED))
    def test_a_disk_that_refuses_is_named_and_nothing_counts_as_written(
        self, tmp_path, monkeypatch, code
    ):
        with durable.Appender(tmp_path / "log") as appender:
            monkeypatch.setattr(durable, "_write", refuse(code))
            with pytest.raises(errors.StorageError, match=REFUSED[code]) as caught:
                appender.append(b"more")
            assert caught.value.where == str(tmp_path / "log")
            assert appender.length_bytes == 0

    def test_closing_twice_is_no_fault_and_appending_afterwards_is_one(self, tmp_path):
        appender = durable.Appender(tmp_path / "log")
        appender.close()
        appender.close()
        with pytest.raises(OSError, match="descriptor"):
            appender.append(b"more")


class TestLocks:
    """Whoever asks for what another one holds has to wait."""

    @staticmethod
    def enter(lock, path):
        """A thread that gets the lock and ends; locks are between open files, not processes."""

        def get():
            with lock(path):
                pass

        thread = threading.Thread(target=get, daemon=True)
        thread.start()
        thread.join(0.2)
        return thread

    @pytest.mark.parametrize("is_directory", [False, True])
    @pytest.mark.parametrize("other", [durable.exclusive, durable.shared])
    def test_an_exclusive_lock_keeps_everybody_waiting(self, tmp_path, other, is_directory):
        path = tmp_path if is_directory else tmp_path / "file"
        (tmp_path / "file").write_bytes(b"")
        with durable.exclusive(path):
            waiting = self.enter(other, path)
            assert waiting.is_alive()
        waiting.join(5)
        assert not waiting.is_alive()

    def test_a_shared_lock_keeps_writers_waiting_and_readers_not(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"")
        with durable.shared(path):
            assert not self.enter(durable.shared, path).is_alive()
            waiting = self.enter(durable.exclusive, path)
            assert waiting.is_alive()
        waiting.join(5)
        assert not waiting.is_alive()

    def test_a_reader_without_a_file_goes_on_and_a_writer_does_not(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        for name in ("absent", "fifo"):
            with durable.shared(tmp_path / name):
                pass
        with (
            pytest.raises(errors.StorageError, match="no such directory: "),
            durable.exclusive(tmp_path / "absent" / "file"),
        ):
            pass

    @pytest.mark.parametrize("lock", [durable.exclusive, durable.shared])
    def test_a_file_system_without_locks_is_no_hindrance(self, tmp_path, monkeypatch, lock):
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
        with lock(tmp_path / "file"):
            pass


class TestDirectories:
    """What is done to names."""

    def test_making_a_directory_makes_its_parents_and_leaves_one_that_exists(self, tmp_path):
        durable.make_directory(tmp_path / "a" / "b")
        (tmp_path / "a" / "b" / "file").write_bytes(b"kept")
        durable.make_directory(tmp_path / "a" / "b")
        assert names_in(tmp_path / "a" / "b") == ["file"]

    def test_renaming_moves_whole_directories(self, tmp_path):
        durable.make_directory(tmp_path / "a" / "b")
        durable.rename(tmp_path / "a", tmp_path / "c")
        assert (tmp_path / "c" / "b").is_dir()
        assert names_in(tmp_path) == ["c"]

    @pytest.mark.parametrize("code", sorted(REFUSED))
    def test_a_refused_rename_names_the_target(self, tmp_path, monkeypatch, code):
        (tmp_path / "a").write_bytes(b"kept")
        monkeypatch.setattr(durable, "_replace", refuse(code))
        with pytest.raises(errors.StorageError) as caught:
            durable.rename(tmp_path / "a", tmp_path / "b")
        assert caught.value.where == str(tmp_path / "b")
        assert names_in(tmp_path) == ["a"]

    def test_leftovers_are_deleted_at_every_depth_and_nothing_else_is(self, tmp_path):
        durable.make_directory(tmp_path / "deep" / "er")
        for name in ("kept", "gone.part", "deep/er/gone.part", "deep/part"):
            (tmp_path / name).write_bytes(b"")
        durable.remove_leftovers(tmp_path)
        assert names_in(tmp_path) == ["deep", "kept"]
        assert names_in(tmp_path / "deep") == ["er", "part"]
        assert names_in(tmp_path / "deep" / "er") == []
