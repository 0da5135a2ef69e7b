# SPDX-License-Identifier: Apache-2.0
"""Changed and hostile archives: each is refused, soon, in little memory, and leaves no trace.

Not tested here: runs in directories (test_run_tamper.py), and an archive of a changed run that was
sealed anew, which nobody can find without comparing `run_digest`, or a signature.
"""

import hashlib
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zlib

import pytest

from tiny_agent_trainer import canonical, digests, errors
from tiny_agent_trainer.experiments.archives import archive, archive_reader, restore
from tiny_agent_trainer.experiments.run_directory import layout, manifest
from tiny_agent_trainer.meta import ustar

RUN = "exp_000_20260102T030405Z"
HEADER_BYTES = 48


@pytest.fixture
def packed(small_run, fixed_clock):
    """The archive of the small run."""
    return archive.archive_experiment(small_run, clock=fixed_clock).path


@pytest.fixture
def tar(packed):
    """The tar inside it."""
    return zlib.decompress(packed.read_bytes()[HEADER_BYTES:], -15)


def contained(data, trailer=None):
    """A container around bytes, as an attacker makes it: with all its sums right."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    body += struct.pack("<II", zlib.crc32(data), len(data)) if trailer is None else trailer
    start = bytes.fromhex("1f8b08040000000000ff2400") + b"TA" + bytes.fromhex("2000")
    return start + hashlib.sha256(body).digest() + body


def header(name, size=0, **changes):
    """A header block by Python's tarfile, which can write what ours refuses."""
    info = tarfile.TarInfo("x")
    info.name, info.size = name, size
    for field, value in changes.items():
        setattr(info, field, value)
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape"))
    block[329:345] = b"0000000\0" * 2  # tarfile leaves the device's numbers empty
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def refused(tmp_path, data, match=None):
    """The archive is refused with nothing left behind; what was there stays."""
    place = tmp_path / "hostile.tar.gz"
    place.write_bytes(data)
    target = tmp_path / "restored"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.ArchiveError, match=match):
        restore.restore_archive(place, target / "deep")
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(errors.ArchiveError):
        archive_reader.verify_archive(place)


def split(tar):
    """[(name, contents)] of a tar, by Python's tarfile."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return [(it.name, opened.extractfile(it).read()) for it in opened]


def joined(files):
    return b"".join(ustar.encode_members((name, len(data), (data,)) for name, data in files))


def test_the_untouched_archive_is_restored(packed, tar, tmp_path):
    archive_reader.verify_archive(packed)
    assert joined(split(tar)) == tar
    place = tmp_path / "same.tar.gz"
    place.write_bytes(contained(tar))
    run = restore.restore_archive(place, tmp_path / "there")
    assert run == tmp_path / "there" / RUN
    assert list((tmp_path / "there").iterdir()) == [run]


def test_every_single_byte_change_is_found(packed, tmp_path):
    data = packed.read_bytes()
    assert len(data) > 3_000
    place = tmp_path / "changed.tar.gz"
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= (1, 2, 4, 8, 16, 32, 64, 128, 255)[offset % 9]
        place.write_bytes(damaged)
        with pytest.raises(errors.ArchiveError):
            restore.restore_archive(place, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_every_truncation_is_found(packed, tmp_path):
    data = packed.read_bytes()
    place = tmp_path / "short.tar.gz"
    for length in range(len(data)):
        place.write_bytes(data[:length])
        with pytest.raises(errors.ArchiveError):
            restore.restore_archive(place, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_every_byte_of_the_tar_is_checked_behind_the_container(tar, tmp_path):
    """The container's own sums are made anew, so that only the tar and the manifest are left."""
    place = tmp_path / "changed.tar.gz"
    for offset in range(0, len(tar), 7):  # over 49 blocks, every field of a header is hit
        damaged = bytearray(tar)
        damaged[offset] ^= 1 << offset % 8
        place.write_bytes(contained(bytes(damaged)))
        with pytest.raises(errors.ArchiveError):
            archive_reader.verify_archive(place)
        if offset % 511 == 0:
            refused(tmp_path, contained(bytes(damaged)))


def test_every_truncation_of_the_tar_is_found(tar, tmp_path):
    for length in [*range(0, len(tar), 512), *range(1, len(tar), 1_531), len(tar) - 1]:
        refused(tmp_path, contained(tar[:length]))


def test_a_result_sealed_anew_without_the_run_digest_is_found(tar, tmp_path):
    """The attacker changes one result, its entry and the manifest's digest, not run_digest."""
    files = dict(split(tar))
    path = f"{RUN}/metrics.json"
    before, after = files[path], files[path].replace(b"0.5", b"0.9")
    value = canonical.decode(files[f"{RUN}/manifest.json"])
    for entry in value["files"]:
        if entry["sha256"] == digests.sha256_hex(before):
            entry["sha256"] = digests.sha256_hex(after)
    del value["digest"]
    value["digest"] = digests.named("run-manifest-v1", canonical.encode(value))
    files |= {path: after, f"{RUN}/manifest.json": canonical.encode_line(value)}
    refused(tmp_path, contained(joined(files.items())), "run_digest")


def test_a_member_that_the_manifest_does_not_list_is_refused(tar, tmp_path):
    files = split(tar)
    refused(tmp_path, contained(joined([*files, (f"{RUN}/zzz", b"")])), "zzz")
    refused(tmp_path, contained(joined([files[0], (f"{RUN}/a", b""), *files[1:]])), "in this place")
    refused(tmp_path, contained(joined([*files, ("other/zzz", b"")])), "other/zzz")


def test_a_missing_member_is_refused(tar, tmp_path):
    files = split(tar)
    for index, (name, _) in enumerate(files):
        left = files[:index] + files[index + 1 :]
        match = "first member" if index == 0 else name.removeprefix(f"{RUN}/")
        refused(tmp_path, contained(joined(left)), match)


def test_members_in_another_order_are_refused(tar, tmp_path):
    first, *rest = split(tar)
    refused(tmp_path, contained(joined([first, *rest[::-1]])), "in this place")
    refused(tmp_path, contained(joined([*rest, first])), "first member")


def test_a_doubled_member_is_refused(tar, tmp_path):
    files = split(tar)
    doubled = [ustar.encode_header(files[1][0], len(files[1][1])), files[1][1]]
    doubled.append(ustar.padding(len(files[1][1])))
    refused(tmp_path, contained(tar[:-1024] + b"".join(doubled) + ustar.END), "a second time")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../evil", r"`\.\.`"),
        (f"{RUN}/../../evil", r"`\.\.`"),
        ("/etc/evil", "absolute"),
        (f"{RUN}//evil", "empty"),
        (f"{RUN}/./evil", r"`\.`"),
        (f"{RUN}/evil/", "empty"),
        (f"{RUN}\\..\\evil", "backslash"),
        (f"{RUN}/ev\nil", "control"),
        (f"{RUN}/ev\x7fil", "control"),
        (f"{RUN}/ev\x00il", "header"),
        (f"{RUN}/ev\udcffil", "UTF-8"),
        (f"{RUN}/config.toml/evil", "file and a directory"),
        (RUN, "file and a directory"),
    ],
)
def test_hostile_names_are_refused(tar, tmp_path, name, match):
    refused(tmp_path, contained(tar[:-1024] + header(name) + ustar.END), match)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.DIRTYPE, "directory"),
        (tarfile.FIFOTYPE, "FIFO"),
        (tarfile.AREGTYPE, "type"),
        (b"L", "GNU long name"),
        (b"x", "pax header"),
        (b"g", "global pax header"),
        (b"S", "sparse"),
        (b"Z", "type"),
    ],
)
@pytest.mark.parametrize("place", ["first", "later"])
def test_everything_but_plain_files_is_refused(tar, tmp_path, kind, match, place):
    block = header(f"{RUN}/manifest.json", type=kind, linkname="/etc/passwd")
    hostile = block + tar if place == "first" else tar[:-1024] + block + ustar.END
    refused(tmp_path, contained(hostile), match)


def test_the_headers_made_here_are_canonical_by_themselves():
    assert header(f"{RUN}/zzz", 7) == ustar.encode_header(f"{RUN}/zzz", 7)


@pytest.mark.parametrize(
    "changes", [{"mode": 0o755}, {"mode": 0o4755}, {"mtime": 1}, {"uid": 1}, {"uname": "root"}]
)
def test_other_spellings_of_a_header_are_refused(tar, tmp_path, changes):
    block = header(f"{RUN}/zzz", **changes)
    refused(tmp_path, contained(tar[:-1024] + block + ustar.END), "canonical header")


@pytest.mark.parametrize("run", [".hidden", "..", "x" * 129, "a b\tc"])
def test_hostile_names_of_runs_are_refused(tar, tmp_path, run):
    renamed = [(name.replace(RUN, run), data) for name, data in split(tar)]
    blocks = [
        header(name, len(data)) + data + ustar.padding(len(data))
        if len(run) < 20
        else ustar.encode_header(name, len(data)) + data + ustar.padding(len(data))
        for name, data in renamed
    ]
    refused(tmp_path, contained(b"".join(blocks) + ustar.END))


def test_what_stands_behind_the_end_is_refused(packed, tar, tmp_path):
    data = packed.read_bytes()
    refused(tmp_path, contained(tar + bytes(512)), "the end of the tar")
    refused(tmp_path, contained(tar + b"x"), "the end of the tar")
    refused(tmp_path, contained(tar[:-1]))
    refused(tmp_path, data + b"\0", "SHA-256")
    refused(tmp_path, data + data, "SHA-256")
    body = contained(tar)[HEADER_BYTES:]
    for more in (b"\0", body, data):
        behind = contained(tar, body[-8:] + more)
        refused(tmp_path, behind, "behind the first gzip member")
    refused(tmp_path, contained(tar, bytes(8)), "sum and the length")


def test_what_is_no_archive_is_refused(packed, tar, tmp_path):
    refused(tmp_path, b"", "not gzip")
    refused(tmp_path, b"\x1f\x8b", "header")
    refused(tmp_path, os.urandom(4_000))
    refused(tmp_path, tar, "not gzip")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as foreign:
        foreign.addfile(tarfile.TarInfo("x"))
    refused(tmp_path, stream.getvalue(), "header of this package")
    refused(tmp_path, packed.read_bytes()[:HEADER_BYTES])
    refused(tmp_path, contained(b""), "512 more bytes")
    refused(tmp_path, contained(bytes(1024)), "first member")
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(errors.ArchiveError, match="no such file"):
            restore.restore_archive(place, tmp_path / "restored")
        with pytest.raises(errors.ArchiveError, match="no such file"):
            archive_reader.tar_digest_of(place)


def test_random_bytes_in_a_sound_container_are_refused(tmp_path):
    die = random.Random(6)
    place = tmp_path / "random.tar.gz"
    for _ in range(300):
        body = die.randbytes(die.randrange(600))
        place.write_bytes(contained(b"")[:16] + hashlib.sha256(body).digest() + body)
        with pytest.raises(errors.ArchiveError):
            restore.restore_archive(place, tmp_path / "restored")


def bomb(start, num_bytes):
    """A sound container around `start` and so many zero bytes, made without holding them."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = bytes(1 << 24)
    crc = zlib.crc32(start)
    pieces = [deflate.compress(start)]
    pieces.append(deflate.flush(zlib.Z_FULL_FLUSH))
    again = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = again.compress(piece) + again.flush(zlib.Z_FULL_FLUSH)
    num_pieces = num_bytes // len(piece)
    pieces += [block] * num_pieces + [b"\x01\x00\x00\xff\xff"]
    pieces.append(struct.pack("<II", crc, (len(start) + num_bytes) & 0xFFFFFFFF))
    body = b"".join(pieces)
    return contained(b"")[:16] + hashlib.sha256(body).digest() + body


def manifest_with(files):
    """The bytes of a sound manifest that declares these (path, size) besides what it has to."""
    needed = [(path, 1) for path in layout.REQUIRED]
    entries = [
        manifest.FileEntry(path=path, size_bytes=size, sha256="00" * 32, kind=layout.classify(path))
        for path, size in sorted([*needed, *files])
    ]
    results = [(it.path, it.sha256) for it in entries if it.kind == layout.RESULT]
    return manifest.encode_manifest(
        manifest.Manifest(
            experiment_digest=manifest.experiment_digest_of(None),
            identity=None,
            run_digest=digests.of_entries("results-v1", results),
            files=tuple(entries),
            journal_length_bytes=0,
            journal_sha256=hashlib.sha256().hexdigest(),
        )
    )


def first_member(data):
    head = ustar.encode_header(f"{RUN}/manifest.json", len(data))
    return head + data + ustar.padding(len(data))


TEN_GB = 640 << 24


@pytest.mark.parametrize("kind", ["bare", "member", "in the manifest", "log", "behind the end"])
def test_a_bomb_is_refused_in_little_memory(tar, tmp_path, kind):
    size = ustar.MAX_MEMBER_BYTES
    starts = {
        "bare": b"",
        "member": ustar.encode_header(f"{RUN}/manifest.json", size),
        "in the manifest": first_member(manifest_with([("checkpoints/last.safetensors", size)])),
        "log": first_member(manifest_with([("observed/log.txt", size)])),
        "behind the end": tar,
    }
    data = bomb(starts[kind], TEN_GB)
    assert len(data) < 20 << 20
    tracemalloc.start()
    place = tmp_path / "bomb.tar.gz"
    place.write_bytes(data)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    with pytest.raises(errors.ArchiveError):
        restore.restore_archive(place, tmp_path / "restored")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 8 << 20
    assert not (tmp_path / "restored").exists()


def test_a_bomb_inside_a_bounded_declaration_stops_at_the_limit(tmp_path):
    """The first member is a manifest of zeros: read up to its limit, never beyond."""
    start = ustar.encode_header(f"{RUN}/manifest.json", manifest.MAX_BYTES)
    refused(tmp_path, bomb(start, TEN_GB), "manifest of a run")
    start = ustar.encode_header(f"{RUN}/manifest.json", manifest.MAX_BYTES + 1)
    refused(tmp_path, bomb(start, TEN_GB), "at most 16777216 bytes")


def test_a_manifest_that_declares_ten_terabytes_is_refused(tmp_path):
    many = [(f"checkpoints/step_{i:08d}.safetensors", 8 << 30) for i in range(1_280)]
    with pytest.raises(errors.IntegrityError, match="a size of"):
        manifest.read_manifest(manifest_with(many), "it")  # 8 GiB is one byte too many
    many = [(path, (8 << 30) - 1) for path, _ in many]
    declared = first_member(manifest_with(many))
    refused(tmp_path, contained(declared + ustar.END), "bomb")


def test_what_does_not_fit_on_the_disk_is_refused_before_writing(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(
        restore.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 20})
    )
    with pytest.raises(errors.StorageError, match="1048576 bytes free"):
        restore.restore_archive(packed, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_what_is_there_already_is_never_touched(packed, tmp_path):
    target = tmp_path / "there" / RUN
    target.mkdir(parents=True)
    (target / "precious").write_bytes(b"1")
    with pytest.raises(errors.UsageError, match="never overwritten"):
        restore.restore_archive(packed, tmp_path / "there")
    assert [it.name for it in (tmp_path / "there").rglob("*")] == [RUN, "precious"]
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(errors.UsageError, match="never overwritten"):
        restore.restore_archive(packed, tmp_path / "there")
    assert not (tmp_path / "nowhere").exists()


def test_a_ledger_or_page_of_another_run_is_found_behind_right_digests(tar, tmp_path):
    """Everything follows from the manifest, but the files do not say what they have to."""
    files = dict(split(tar))
    page = f"{RUN}/observed/status.html"
    changed = files | {page: files[page].replace(b"never verified", b"identical")}
    refused(tmp_path, contained(joined(changed.items())), "status.html")
    journal = f"{RUN}/observed/journal.jsonl"
    changed = files | {journal: files[journal].replace(b"archived", b"verified")}
    refused(tmp_path, contained(joined(changed.items())), "journal.jsonl")


def test_a_run_that_is_not_sound_is_not_restored_though_its_digests_hold(make_run, tmp_path):
    """Only the check of the restored run, before it gets its name, can find this one."""
    run = make_run(tmp_path / "runs", RUN, {"data/manifest.json": b'{"a": 1}\n'})
    place = tmp_path / "packed.tar.gz"
    archive._write(run, manifest.read_manifest_of(run), place)
    archive_reader.verify_archive(place)
    with pytest.raises(errors.ArchiveError, match="not canonical JSON"):
        restore.restore_archive(place, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_the_first_member_can_be_read_alone(packed, tmp_path):
    found = restore.read_archive_manifest(packed)
    assert found == archive_reader.verify_archive(packed)
    place = tmp_path / "cut.tar.gz"
    place.write_bytes(packed.read_bytes()[:-400])
    assert restore.read_archive_manifest(place) == found
    with pytest.raises(errors.ArchiveError):
        archive_reader.verify_archive(place)
