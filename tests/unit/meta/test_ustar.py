# SPDX-License-Identifier: Apache-2.0
"""The canonical tar: equal to that of GNU tar, readable by others, and strict when read.

Not tested here: the clauses one by one (tests/conformance/test_archive.py), hostile archives
(tests/tamper/test_archive_tamper.py).
"""

import io
import os
import random
import subprocess
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.meta import ustar

FILES = {
    "a.py": b"a = 1\n",
    "b/ä ü.txt": b"x" * 512,
    "b/c": bytes(range(256)) * 9,
    "b/" + "d" * 99: b"",
    "e" * 120 + "/" + "f" * 90: b"1",
}

NAMES = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="/\\"))
PATHS = st.lists(NAMES.filter(lambda it: it not in ("", ".", "..")), min_size=1, max_size=3)


def written(directory):
    for name, data in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


def test_gnu_tar_writes_the_same_bytes(tmp_path):
    written(tmp_path)
    names = sorted(FILES, key=str.encode)
    command = ["tar", "--format=ustar", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
    command += ["--mode=0644", "--blocking-factor=1", "-C", tmp_path, "-cf", "-", *names]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    ours = ustar.encode_tar(FILES)
    assert len(made) == len(ours)
    for offset in range(0, len(ours), 512):
        assert made[offset : offset + 512] == ours[offset : offset + 512], offset


def test_other_readers_read_it(tmp_path):
    ours = ustar.encode_tar(FILES)
    with tarfile.open(fileobj=io.BytesIO(ours)) as opened:
        found = {member.name: opened.extractfile(member).read() for member in opened}
    assert found == FILES
    subprocess.run(["tar", "-C", tmp_path, "-xf", "-"], input=ours, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


def test_what_was_written_is_read():
    found = ustar.decode_tar(ustar.encode_tar(FILES))
    assert found == FILES
    assert list(found) == sorted(FILES, key=str.encode)


@given(st.dictionaries(PATHS.map("/".join), st.binary(max_size=1100), max_size=5))
def test_whatever_is_written_is_read(files):
    try:
        data = ustar.encode_tar(files)
    except errors.ArchiveError as error:
        assert "too long" in str(error) or "at once" in str(error)  # noqa: PT017
        return
    assert ustar.decode_tar(data) == files


def test_names_out_of_order_are_refused_in_a_whole_tar_only():
    made = b"".join(ustar.encode_members((name, 0, ()) for name in "ba"))
    with pytest.raises(errors.ArchiveError, match="names in order"):
        ustar.decode_tar(made)
    assert [it.name for it in ustar.read_members(io.BytesIO(made), "it")] == ["b", "a"]


def test_contents_that_do_not_fit_their_size_are_refused():
    for pieces in ((b"12",), (b"1", b"2", b"34"), ()):
        with pytest.raises(errors.ArchiveError, match="expected 3 bytes"):
            b"".join(ustar.encode_members([("a", 3, pieces)]))
    with pytest.raises(errors.ArchiveError, match="-1 bytes"):
        ustar.encode_header("a", -1)


def test_members_may_be_passed_over_or_read_in_part():
    made = ustar.encode_tar({"a": b"1" * 700, "b": b"2" * 700, "c": b"3"})
    found = []
    for member in ustar.read_members(io.BytesIO(made), "it"):
        if member.name == "c":
            found.append(b"".join(member.pieces))
        elif member.name == "b":
            found.append(next(member.pieces)[:2])
    assert found == [b"22", b"3"]


def test_a_source_may_give_a_byte_at_a_time():
    class Trickle(io.BytesIO):
        def read(self, size, /):
            return super().read(min(size, 1))

    made = ustar.encode_tar({"a": b"123"})
    (member,) = ((it.name, b"".join(it.pieces)) for it in ustar.read_members(Trickle(made), "it"))
    assert member == ("a", b"123")


def test_large_members_are_read_in_little_memory():
    class Zeros:
        def read(self, size, /):
            return bytes(size)

    class Start:
        left = ustar.encode_header("a", 1 << 30)

        def read(self, size, /):
            piece, self.left = self.left[:size], self.left[size:]
            return piece or Zeros().read(size)

    tracemalloc.start()
    member = next(ustar.read_members(Start(), "it"))
    assert sum(map(len, member.pieces)) == 1 << 30
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_any_damage_raises_only_archive_errors():
    die = random.Random(3)
    made = ustar.encode_tar(FILES)
    for _ in range(2_000):
        damaged = bytearray(made)
        for _ in range(die.randrange(1, 4)):
            damaged[die.randrange(0, len(made), 1)] = die.randrange(256)
        try:
            ustar.decode_tar(bytes(damaged[: die.randrange(len(made))]))
        except errors.ArchiveError:
            continue
        pytest.fail("a cut tar was read")
    for size in (1, 511, 512, 513, 5_000):
        with pytest.raises(errors.ArchiveError):
            ustar.decode_tar(os.urandom(size))
