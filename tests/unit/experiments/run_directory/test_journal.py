# SPDX-License-Identifier: Apache-2.0
"""The journal: chained lines, torn ends, and a disk that refuses.

Not tested here: the format's clauses (tests/conformance/test_run.py), every byte (tests/tamper).
"""

import errno
import hashlib
import subprocess
import sys

import pytest

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.experiments.run_directory import journal, layout


@pytest.fixture
def path(tmp_path, fixed_clock):
    place = tmp_path / "journal.jsonl"
    book = journal.Journal(place, fixed_clock)
    book.append("started", config="a", steps=[1, 2])
    book.append("completed")
    return place


def test_lines_come_back(path):
    first, second = journal.read(path)
    assert (first.number, first.event, first.facts) == (
        1,
        "started",
        {"config": "a", "steps": [1, 2]},
    )
    assert (second.number, second.at, second.facts) == (2, "2026-01-02T03:06:05Z", {})
    assert b"".join(map(journal.encode, (first, second))) == path.read_bytes()


def test_a_journal_is_continued(path, fixed_clock):
    entry = journal.Journal(path, fixed_clock).append("verified", verdict="identical")
    assert entry == journal.read(path)[2]


def test_a_line_of_another_writer_is_kept_and_continued(path, fixed_clock):
    one, other = (journal.Journal(path, fixed_clock) for _ in range(2))
    one.append("verified", by="one")
    other.append("verified", by="other")
    one.append("verified", by="one again")
    found = journal.read(path)
    assert [entry.facts.get("by") for entry in found[2:]] == ["one", "other", "one again"]
    assert [entry.number for entry in found] == [1, 2, 3, 4, 5]


def test_no_line_is_lost_when_processes_write_at_once(path):
    program = (
        "import pathlib, sys\n"
        "from tiny_agent_trainer import clock\n"
        "from tiny_agent_trainer.experiments.run_directory import journal\n"
        "sys.stdin.readline()\n"
        "for count in range(20):\n"
        "    book = journal.Journal(pathlib.Path(sys.argv[1]), clock.SystemClock())\n"
        "    book.append('verified', by=sys.argv[2], count=count)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, path, name], stdin=subprocess.PIPE)
        for name in "abc"
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = journal.read(path)[2:]
    assert sorted((e.facts["by"], e.facts["count"]) for e in found) == [
        (name, count) for name in "abc" for count in range(20)
    ]


def test_the_seal_point_is_length_and_digest(path):
    data = path.read_bytes()
    assert journal.seal_point(path) == (len(data), hashlib.sha256(data).hexdigest())


def test_every_torn_end_is_cut_and_continued(path, fixed_clock, tmp_path):
    data = path.read_bytes()
    start = data.index(b"\n") + 1
    torn = tmp_path / "torn.jsonl"
    for length in range(start, len(data)):
        torn.write_bytes(data[:length])
        if length > start:
            with pytest.raises(errors.IntegrityError, match=r"line 2: .*without its end"):
                journal.read(torn)
        journal.Journal(torn, fixed_clock).append("resumed")
        assert [entry.event for entry in journal.read(torn)] == ["started", "resumed"]


def test_damage_in_the_middle_is_never_cut(path, fixed_clock):
    data = path.read_bytes()
    path.write_bytes(data.replace(b"started", b"stopped"))
    with pytest.raises(errors.IntegrityError, match=r"line 1: .*chain value"):
        journal.Journal(path, fixed_clock)
    assert path.stat().st_size == len(data)


@pytest.mark.parametrize("primitive", ["_write", "_fsync"])
def test_a_refusing_disk_leaves_the_lines_before(path, fixed_clock, monkeypatch, primitive):
    data = path.read_bytes()
    book = journal.Journal(path, fixed_clock)
    before = getattr(durable, primitive)

    def refuse(descriptor, *rest):
        if rest:
            before(descriptor, rest[0][:7])  # half a line gets through
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(durable, primitive, refuse)
        with pytest.raises(errors.StorageError, match="no space left"):
            book.append("verified")
    assert path.read_bytes() == data
    book.append("verified")
    assert [entry.number for entry in journal.read(path)] == [1, 2, 3]


def test_what_is_not_json_is_refused_before_writing(path, fixed_clock):
    data = path.read_bytes()
    book = journal.Journal(path, fixed_clock)
    for fact in (float("nan"), 2**60, object()):
        with pytest.raises((ValueError, TypeError)):
            book.append("noted", fact=fact)
    assert path.read_bytes() == data


def test_a_journal_at_its_limit_takes_no_line_more(path, fixed_clock, monkeypatch):
    data = path.read_bytes()
    book = journal.Journal(path, fixed_clock)
    monkeypatch.setattr(layout, "GROWING_BYTES", len(data) + 10)
    with pytest.raises(errors.StorageError, match="a journal of at most"):
        book.append("noted")
    assert path.read_bytes() == data
    monkeypatch.setattr(layout, "GROWING_BYTES", len(data) - 1)
    with pytest.raises(errors.IntegrityError, match="more than"):
        journal.read(path)


def test_what_is_no_file_is_refused(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    for place in (tmp_path / "nothing", tmp_path, link):
        with pytest.raises(errors.IntegrityError, match="no such file"):
            journal.read(place)
