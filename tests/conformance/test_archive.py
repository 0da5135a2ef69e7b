# SPDX-License-Identifier: Apache-2.0
"""An archive against docs/formats/archive-v1.md: one test per clause, named after it.

Headers are put together here by hand, and archives are unpacked by the system's `tar` and `gzip`,
so that a fault that writer and reader share would show.

Not tested here: every byte and every hostile archive (tests/tamper/test_archive_tamper.py).
"""

import gzip
import hashlib
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.experiments.archives import archive, archive_reader, gzip_container, restore
from tiny_agent_trainer.experiments.run_directory import integrity, journal, manifest, status
from tiny_agent_trainer.meta import ustar

DOCUMENT = Path(__file__).parents[2] / "docs/formats/archive-v1.md"
RUN = "exp_000_20260102T030405Z"


@pytest.fixture
def packed(small_run, fixed_clock):
    return archive.archive_experiment(small_run, keep=True, clock=fixed_clock)


def block(name, size, prefix=b""):
    """A header by [A-1], field by field with the offsets of POSIX."""
    made = bytearray(512)
    for offset, field in (
        (0, name),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"%011o\0" % size),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\0"),
        (263, b"00"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
        (345, prefix),
    ):
        made[offset : offset + len(field)] = field
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def listed(data):
    """(header, contents) of every member, by the sizes alone."""
    found, place = [], 0
    while data[place]:
        size = int(data[place + 124 : place + 135], 8)
        found.append((data[place : place + 512], data[place + 512 : place + 512 + size]))
        place += 512 + -(-size // 512) * 512
    assert data[place:] == bytes(1024)
    return found


def names_of(data):
    return [head[:100].rstrip(b"\0").decode() for head, _ in listed(data)]


def blocks_of(body):
    """(is_last, kind, length) of the stored blocks at the start of deflate data."""
    found, place = [], 0
    while body[place] in (0, 1):
        length, check = struct.unpack_from("<HH", body, place + 1)
        assert length ^ check == 0xFFFF
        found.append((body[place], length))
        place += 5 + length
        if found[-1][0]:
            break
    return found


def test_every_clause_has_a_test():
    text = DOCUMENT.read_text(encoding="utf-8")
    clauses = re.findall(r"^- \*\*\[A-(\d+)\]", text, re.MULTILINE)
    source = Path(__file__).read_text(encoding="utf-8")
    tests = re.findall(r"^def test_a(\d+)_", source, re.MULTILINE)
    assert [int(number) for number in clauses] == list(range(1, 18))
    assert sorted({int(number) for number in tests}) == list(range(1, 18))


def test_a1_members():
    data = ustar.encode_tar({"a/b.txt": b"hello", "c": b""})
    assert listed(data) == [(block(b"a/b.txt", 5), b"hello"), (block(b"c", 0), b"")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/./b",
        "a/../b",
        "a\\b",
        "a\0b",
        "a\nb",
        "\x85",
        "\udc80",
    ],
)
def test_a2_names(name):
    with pytest.raises(errors.ArchiveError, match="relative path"):
        ustar.encode_tar({name: b""})


def test_a2_names_stand_once():
    for names in (("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")):
        with pytest.raises(errors.ArchiveError, match=r"second time|file and a directory"):
            b"".join(ustar.encode_members((name, 0, ()) for name in names))
        hostile = b"".join(block(name.encode(), 0) for name in names) + bytes(1024)
        with pytest.raises(errors.ArchiveError, match=r"second time|file and a directory"):
            ustar.decode_tar(hostile)
    assert ustar.decode_tar(ustar.encode_tar({"ä b": b"", "...": b"1"})) == {
        "...": b"1",
        "ä b": b"",
    }


def test_a3_long_names():
    for name, prefix, rest in (
        ("x" * 100, "", "x" * 100),
        ("p/" + "x" * 100, "p", "x" * 100),
        ("p/q/" + "x" * 98, "p", "q/" + "x" * 98),
        ("p" * 155 + "/" + "x" * 100, "p" * 155, "x" * 100),
    ):
        assert listed(ustar.encode_tar({name: b""})) == [
            (block(rest.encode(), 0, prefix.encode()), b"")
        ]
        assert ustar.decode_tar(ustar.encode_tar({name: b"1"})) == {name: b"1"}
    for name in ("x" * 101, "p" * 156 + "/" + "x" * 100, "p/" + "x" * 101, "ä" * 51):
        with pytest.raises(errors.ArchiveError, match="too long"):
            ustar.encode_tar({name: b""})
    later = block(b"x", 0, b"p") + bytes(1024)  # fits without a prefix, so this spelling is wrong
    with pytest.raises(errors.ArchiveError, match="canonical header"):
        ustar.decode_tar(later)


def test_a4_filling_and_end():
    for size in (0, 1, 511, 512, 513):
        data = ustar.encode_tar({"a": b"x" * size})
        assert data == block(b"a", size) + b"x" * size + bytes(-size % 512) + bytes(1024)
    assert ustar.encode_tar({}) == bytes(1024)
    good = ustar.encode_tar({"a": b"x"})
    for wrong in (
        good[:-1],
        good[:-512],
        good + b"\0",
        good + bytes(512),
        good[:-512] + b"x" * 512,
    ):
        with pytest.raises(errors.ArchiveError):
            ustar.decode_tar(wrong)
    filled = bytearray(good)
    filled[1023] = 1
    with pytest.raises(errors.ArchiveError, match="zero bytes as filling"):
        ustar.decode_tar(bytes(filled))
    with pytest.raises(errors.ArchiveError, match="8589934591 bytes"):
        ustar.encode_header("a", 8 << 30)
    many = ((f"{i}", 0, ()) for i in range(100_001))
    with pytest.raises(errors.ArchiveError, match="at most 100000 members"):
        for _ in ustar.encode_members(many):
            pass


def test_a5_one_spelling(packed):
    good = block(b"a", 1)
    free = {*range(100), *range(124, 135), *range(148, 156), *range(345, 500)}
    for offset in sorted(set(range(512)) - free):  # all but name, size, sum and prefix
        head = bytearray(good)
        head[offset] ^= 1
        head[148:156] = b"        "
        head[148:156] = b"%06o\0 " % sum(head)
        with pytest.raises(errors.ArchiveError, match=r"header|plain file|octal"):
            ustar.decode_tar(bytes(head) + b"x" + bytes(511) + bytes(1024))
    for offset in range(148, 156):
        head = bytearray(good)
        head[offset] ^= 1
        with pytest.raises(errors.ArchiveError, match="canonical header"):
            ustar.decode_tar(bytes(head) + b"x" + bytes(511) + bytes(1024))
    files = {"b": b"2", "a": b"1"}
    assert ustar.encode_tar(files) == ustar.encode_tar(dict(sorted(files.items())))
    tar = gzip.decompress(packed.path.read_bytes())
    assert packed.tar_digest == digests.named("ustar-v1", tar)
    assert archive_reader.tar_digest_of(packed.path) == packed.tar_digest


def test_a6_header(packed):
    data = packed.path.read_bytes()
    assert data[:16].hex(" ") == "1f 8b 08 04 00 00 00 00 00 ff 24 00 54 41 20 00"
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    for part in ("`1f 8b 08 04`", "`00 ff`", "`24 00`", "`54 41`", "`20 00`"):
        assert part in text
    packed.path.write_bytes(gzip.compress(gzip.decompress(data)))
    with pytest.raises(errors.ArchiveError, match="header"):
        archive_reader.verify_archive(packed.path)


def test_a7_coverage(packed):
    data = packed.path.read_bytes()
    assert data[16:48] == hashlib.sha256(data[48:]).digest()
    for offset in (0, 4, 9, 15, 16, 47, 48, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[offset] ^= 1
        packed.path.write_bytes(changed)
        with pytest.raises(errors.ArchiveError, match=r"SHA-256|header|not gzip"):
            archive_reader.verify_archive(packed.path)


def test_a8_deflate(packed):
    encoder = gzip_container.Encoder()
    body = encoder.encode(b"w" * 150_000, is_compressible=False)
    assert [length for _, length in blocks_of(body + b"\xff")] == [65_535, 65_535, 18_930]
    text = encoder.encode(b"a" * 10_000, is_compressible=True)
    text += encoder.encode(b"", is_compressible=False)
    assert len(text) < 100
    end = encoder.finish()
    assert blocks_of(end) == [(1, 0)]
    whole = zlib.decompressobj(-15)
    assert whole.decompress(body + text + end) == b"w" * 150_000 + b"a" * 10_000
    assert whole.unused_data == end[5:]
    assert bytes(range(64)) in packed.path.read_bytes()  # the small run's best.safetensors


def test_a9_trailer(packed):
    data = packed.path.read_bytes()
    tar = gzip.decompress(data)
    assert data[-8:] == struct.pack("<II", zlib.crc32(tar), len(tar))
    start, body = data[:16], data[48:]
    for wrong in (body + b"\0", body + data, body[:-8] + bytes(8), body[:-8], body[:-1]):
        packed.path.write_bytes(start + hashlib.sha256(wrong).digest() + wrong)
        with pytest.raises(errors.ArchiveError):
            archive_reader.verify_archive(packed.path)


def test_a10_order(packed, small_run, tmp_path):
    names = names_of(gzip.decompress(packed.path.read_bytes()))
    assert names[0] == f"{RUN}/manifest.json"
    assert names[1:] == sorted(names[1:])
    assert len(names) == 18
    longest = small_run.rename(small_run.with_name("x" * 128))
    made = archive.archive_experiment(longest, archive_dir=tmp_path / "longest", keep=True)
    assert restore.restore_archive(made.path, tmp_path / "there").name == "x" * 128
    longest.rename(small_run)
    for name in (".hidden", "x" * 129):
        small_run.rename(small_run.with_name(name))
        with pytest.raises(errors.ArchiveError, match="the name of a run"):
            archive.archive_experiment(small_run.with_name(name), archive_dir=tmp_path / "other")
        small_run.with_name(name).rename(small_run)
    assert not (tmp_path / "other").exists()


def test_a11_completeness(packed, small_run):
    paths = {path.relative_to(small_run).as_posix() for path in small_run.rglob("*.*")}
    names = names_of(gzip.decompress(packed.path.read_bytes()))
    assert {name.removeprefix(f"{RUN}/") for name in names} == paths
    value = manifest.read_manifest_of(small_run)
    listed = {entry.path for entry in value.files}
    assert paths - listed == {"manifest.json", "observed/journal.jsonl", "observed/status.html"}
    with archive_reader.open_archive(packed.path) as opened:
        for file in opened.files():
            data = b"".join(file.pieces)
            assert (small_run / file.path).read_bytes() == data
            assert file.size_bytes == len(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'{"accuracy":0.7}\n', "SHA-256"),
        (b"{}\n", "expected 17 bytes"),
        (b"", "expected 17 bytes"),
    ],
)
def test_a11_sizes_and_digests_are_held_against_the_manifest(packed, data, match):
    tar = gzip.decompress(packed.path.read_bytes())
    place = f"{RUN}/metrics.json"
    with_names = dict(zip(names_of(tar), [contents for _, contents in listed(tar)], strict=True))
    files = {**with_names, place: data}
    changed = b"".join(ustar.encode_members((it, len(of), (of,)) for it, of in files.items()))
    encoder = gzip_container.Encoder()
    body = encoder.encode(changed, is_compressible=True) + encoder.finish()
    packed.path.write_bytes(encoder.header()[:16] + encoder.digest + body)
    with pytest.raises(errors.ArchiveError, match=match) as caught:
        archive_reader.verify_archive(packed.path)
    assert "metrics.json" in caught.value.where


def test_a12_early_knowledge(packed):
    data = packed.path.read_bytes()
    before = archive_reader.verify_archive(packed.path)
    packed.path.write_bytes(data[:1_900])
    assert restore.read_archive_manifest(packed.path) == before
    with pytest.raises(errors.ArchiveError):
        archive_reader.verify_archive(packed.path)


def test_a13_bombs(packed, monkeypatch):
    with archive_reader.open_archive(packed.path) as opened:
        declared = opened.declared_bytes
    room = declared - archive_reader.EXPANSION * packed.size_bytes
    monkeypatch.setattr(archive_reader, "FREE_EXPANSION_BYTES", room)
    archive_reader.verify_archive(packed.path)
    monkeypatch.setattr(archive_reader, "FREE_EXPANSION_BYTES", room - 1)
    with pytest.raises(errors.ArchiveError, match="bomb"):
        archive_reader.verify_archive(packed.path)


def test_a14_archiving(small_run, fixed_clock, tmp_path):
    (small_run / "more").write_bytes(b"")
    with pytest.raises(errors.IntegrityError, match="added file"):
        archive.archive_experiment(small_run, clock=fixed_clock)
    (small_run / "more").unlink()
    assert not (tmp_path / "experiments/archive").exists()
    value = manifest.read_manifest_of(small_run)
    first = archive.archive_experiment(small_run, clock=fixed_clock)
    assert not small_run.exists()
    assert list(small_run.parent.iterdir()) == []
    short = value.run_digest.split(":")[2][:12]
    assert first.path == tmp_path / "experiments/archive" / f"{RUN}_{short}.tar.gz"
    assert list(first.path.parent.iterdir()) == [first.path]
    again = restore.restore_archive(first.path, small_run.parent)
    assert journal.read(again / journal.FILE_NAME)[-1].event == "archived"
    assert archive.archive_experiment(again, clock=fixed_clock) == first


def test_a15_restoring(packed, small_run, tmp_path):
    there = tmp_path / "a" / "b"
    run = restore.restore_archive(packed.path, there)
    assert list(there.iterdir()) == [run]
    assert integrity.verify_run(run) == []
    for path in run.rglob("*"):
        same = small_run / path.relative_to(run)
        assert path.is_dir() or path.read_bytes() == same.read_bytes()
    with pytest.raises(errors.UsageError, match="never overwritten"):
        restore.restore_archive(packed.path, there)


def test_a15_any_tar_unpacks_it(packed, small_run, tmp_path):
    (tmp_path / "there").mkdir()
    command = ["tar", "-C", tmp_path / "there", "-xzf", packed.path]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    run = tmp_path / "there" / RUN
    assert integrity.verify_run(run) == []
    subprocess.run(["gzip", "-t", packed.path], check=True)


def test_a16_threat_model(packed, small_run, tmp_path, fixed_clock):
    before = manifest.read_manifest_of(small_run)
    (small_run / "metrics.json").write_bytes(b'{"accuracy":1}\n')
    manifest.write_manifest(small_run, manifest.build_manifest(small_run, before.identity))
    status.refresh_status(small_run)
    forged = archive.archive_experiment(small_run, clock=fixed_clock)
    assert forged.run_digest != packed.run_digest
    assert forged.path.name != packed.path.name
    shutil.copy(forged.path, packed.path)
    run = restore.restore_archive(packed.path, tmp_path / "there")
    assert manifest.read_manifest_of(run).run_digest == forged.run_digest


def test_a17_versions(packed):
    data = bytearray(packed.path.read_bytes())
    data[13] += 1  # the subfield's name, as another version would have it
    packed.path.write_bytes(data)
    with pytest.raises(errors.ArchiveError, match="header of this package"):
        restore.read_archive_manifest(packed.path)
