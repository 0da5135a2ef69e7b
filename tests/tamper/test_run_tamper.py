# SPDX-License-Identifier: Apache-2.0
"""Changes to a sealed run: every one is found, and the file is named.

Not tested here: archives (test_archive_tamper.py), the ledger by itself (test_cmeta_tamper.py), and
what nobody can find without a signature: a changed run that was sealed anew.
"""

import itertools
import os
import re
import shutil

import pytest

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.experiments.run_directory import integrity, journal, manifest, status

FILES = (
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "chronicle.cmeta",
    "config.resolved.json",
    "config.toml",
    "data/manifest.json",
    "manifest.json",
    "metrics.json",
    "observed/environment.json",
    "observed/journal.jsonl",
    "observed/log.txt",
    "observed/status.html",
    "observed/timings.json",
    "predictions_test.csv",
    "predictions_val.csv",
    "report.html",
    "run_summary.md",
    "source.tar",
)


def all_files(run):
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def named(run):
    return {finding.path for finding in integrity.verify_run(run)}


def finding(run, path):
    (found,) = [it for it in integrity.verify_run(run) if it.path == path]
    return found


def test_the_untouched_run_is_sound(small_run):
    assert all_files(small_run) == list(FILES)
    assert integrity.verify_run(small_run) == []
    integrity.require_sound(small_run)


@pytest.mark.parametrize("path", FILES)
def test_every_single_byte_change_is_found_and_the_file_named(small_run, path):
    place = small_run / path
    data = place.read_bytes()
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= (1, 2, 4, 8, 16, 32, 64, 128, 255)[offset % 9]
        place.write_bytes(damaged)
        assert path in named(small_run), f"byte {offset}"
    place.write_bytes(data)
    assert named(small_run) == set()


def test_every_truncation_and_one_more_byte_is_found(small_run):
    for path in all_files(small_run):
        place = small_run / path
        data = place.read_bytes()
        cuts = range(len(data)) if len(data) < 200 else range(0, len(data), 97)
        for changed in itertools.chain((data[:cut] for cut in cuts), (data + b"\n", data + b"\0")):
            place.write_bytes(changed)
            assert path in named(small_run), f"{path}, {len(changed)} of {len(data)} bytes"
        place.write_bytes(data)


def test_a_missing_file_is_found(small_run):
    for path in all_files(small_run):
        data = (small_run / path).read_bytes()
        (small_run / path).unlink()
        assert path in named(small_run)
        (small_run / path).write_bytes(data)
    assert named(small_run) == set()


def swap(a, b, spare):
    a.replace(spare)
    b.replace(a)
    spare.replace(b)


def test_two_swapped_files_are_both_found(small_run):
    spare = small_run.parent / "spare"
    for a, b in itertools.combinations(all_files(small_run), 2):
        swap(small_run / a, small_run / b, spare)
        # without its manifest a run says nothing about the digests of the others
        wanted = {"manifest.json"} if "manifest.json" in (a, b) else {a, b}
        assert wanted <= named(small_run), (a, b)
        swap(small_run / a, small_run / b, spare)
    assert named(small_run) == set()


def test_a_renamed_file_is_found_under_both_names(small_run):
    for path, to in (
        ("metrics.json", "Metrics.json"),
        ("data/manifest.json", "data/manifest_.json"),
        ("checkpoints/best.safetensors", "checkpoints/BEST.safetensors"),
        ("observed/status.html", "observed/status.htm"),
        ("manifest.json", "manifest.json.part"),
    ):
        (small_run / path).rename(small_run / to)
        assert {path, to} <= named(small_run)
        (small_run / to).rename(small_run / path)


def test_a_name_that_differs_in_case_is_told(small_run):
    shutil.copy(small_run / "metrics.json", small_run / "METRICS.json")
    assert "differs from metrics.json only in case" in finding(small_run, "METRICS.json").problem


@pytest.mark.parametrize(
    "path",
    [
        "more.txt",
        "checkpoints/step_00000001.safetensors",
        "observed/log.txt.part",
        "data/.hidden",
        "observed/a\nb",
        "data/\udcff",
    ],
)
def test_an_added_file_is_found(small_run, path):
    (small_run / path).write_bytes(b"")
    assert named(small_run) == {path}


@pytest.mark.parametrize("path", ["more", "checkpoints/more", "Data", "observed/.git"])
def test_an_added_directory_is_found(small_run, path):
    (small_run / path).mkdir()
    assert named(small_run) == {path}


@pytest.mark.parametrize("path", ["more", "checkpoints/link", "observed/status.html"])
@pytest.mark.parametrize("to", ["config.toml", "/dev/null", "/", "nowhere"])
def test_a_symbolic_link_is_found_and_not_followed(small_run, path, to):
    (small_run / path).unlink(missing_ok=True)
    (small_run / path).symlink_to(small_run / to)
    found = [it for it in integrity.verify_run(small_run) if "symbolic link" in it.problem]
    assert [it.path for it in found] == [path]


def test_a_directory_that_became_a_link_is_found(small_run, tmp_path):
    (small_run / "data").rename(tmp_path / "data")
    (small_run / "data").symlink_to(tmp_path / "data")
    assert {"data", "data/manifest.json"} <= named(small_run)


def test_a_fifo_is_found_and_not_opened(small_run):
    os.mkfifo(small_run / "fifo")
    (small_run / "observed/journal.jsonl").unlink()
    os.mkfifo(small_run / "observed/journal.jsonl")
    assert {"fifo", "observed/journal.jsonl"} <= named(small_run)


def test_a_hard_link_is_a_plain_file(small_run, tmp_path):
    os.link(small_run / "metrics.json", tmp_path / "outside")
    assert named(small_run) == set()
    os.link(small_run / "metrics.json", small_run / "metrics2.json")
    assert named(small_run) == {"metrics2.json"}


def test_the_place_is_named(small_run):
    for path, before, after, place in (
        ("observed/journal.jsonl", b'"completed"', b'"abandoned"', "line 2"),
        ("observed/status.html", b"<h2>History", b"<h2>Fictory", r"line 23, byte \d+"),
        ("metrics.json", b'"accuracy":0.5', b'"accuracy" 0.5', "line 1"),
        ("observed/timings.json", b":1.5", b":1.50", "line 1, byte 16"),
        ("run_summary.md", "ä".encode(), b"\xff\xff", "line 1, byte 3"),
    ):
        data = (small_run / path).read_bytes()
        assert before in data
        (small_run / path).write_bytes(data.replace(before, after))
        assert re.fullmatch(place, finding(small_run, path).place), finding(small_run, path)
        (small_run / path).write_bytes(data)


def test_the_offset_in_the_ledger_is_named(small_run):
    place = small_run / "chronicle.cmeta"
    data = bytearray(place.read_bytes())
    data[-3] ^= 1
    place.write_bytes(data)
    assert finding(small_run, "chronicle.cmeta").place == f"byte {len(data) - 54}"


def test_a_changed_result_with_a_changed_entry_is_found_without_the_run_digest(small_run):
    """Sealing one file anew, but not the run: the manifest no longer follows from its entries."""
    place = small_run / "metrics.json"
    before = manifest.read_manifest_of(small_run)
    place.write_bytes(canonical.encode_line({"accuracy": 0.9}))
    forged = manifest.build_manifest(small_run, before.identity)
    assert forged.run_digest != before.run_digest
    data = manifest.encode_manifest(forged).replace(
        forged.run_digest.encode(), before.run_digest.encode()
    )
    (small_run / "manifest.json").write_bytes(data)
    assert "run_digest" in finding(small_run, "manifest.json").problem


def test_a_run_sealed_anew_is_sound_but_has_another_run_digest(small_run):
    """The threat model [R-11]: what is compared is `run_digest`, or a signature."""
    before = manifest.read_manifest_of(small_run)
    (small_run / "metrics.json").write_bytes(canonical.encode_line({"accuracy": 0.9}))
    manifest.write_manifest(small_run, manifest.build_manifest(small_run, before.identity))
    status.refresh_status(small_run)
    assert named(small_run) == set()
    assert manifest.read_manifest_of(small_run).run_digest != before.run_digest


def test_the_journal_may_grow_and_only_grow(small_run, fixed_clock):
    place = small_run / "observed/journal.jsonl"
    book = journal.Journal(place, fixed_clock)
    for verdict in status.VERDICTS:
        book.append("verified", verdict=verdict)
        assert named(small_run) == set()  # killed before the page was written anew
        status.refresh_status(small_run)
        assert named(small_run) == set()
    lines = place.read_bytes().splitlines(keepends=True)
    page = (small_run / "observed/status.html").read_bytes()
    assert b"could not be checked" in page
    place.write_bytes(b"".join(lines[:-1]))
    assert named(small_run) == {"observed/status.html"}
    place.write_bytes(b"".join(lines[:1]))
    assert "observed/journal.jsonl" in named(small_run)
    for changed in (lines[::-1], [*lines, lines[-1]], [*lines[:3], *lines[4:]]):
        place.write_bytes(b"".join(changed))
        assert "observed/journal.jsonl" in named(small_run)


def test_a_ledger_of_another_experiment_is_found(small_run, make_run):
    before = manifest.read_manifest_of(small_run)
    other = manifest.build_manifest(small_run, {"schema": "another", "of": before.identity})
    manifest.write_manifest(small_run, other)
    status.refresh_status(small_run)
    assert named(small_run) == {"chronicle.cmeta"}
    assert finding(small_run, "chronicle.cmeta").place == "GENESIS"


def test_all_findings_are_listed_at_once(small_run):
    (small_run / "metrics.json").write_bytes(b"{}\n")
    (small_run / "report.html").unlink()
    (small_run / "more").mkdir()
    with pytest.raises(errors.IntegrityError) as caught:
        integrity.require_sound(small_run)
    for word in ("3 faults", "metrics.json", "report.html: the whole file: missing", "more"):
        assert word in str(caught.value)


def test_a_run_that_is_not_there_was_not_changed(tmp_path):
    with pytest.raises(errors.UsageError, match="no such directory"):
        integrity.require_sound(tmp_path / "absent")


def test_what_is_no_run_is_a_finding(tmp_path):
    assert named(tmp_path / "nothing") == {"."}
    (tmp_path / "file").write_bytes(b"")
    assert named(tmp_path / "file") == {"."}
    assert "manifest.json" in named(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"null\n",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a":1e999}\n',
        b'{"a":' + b"9" * 10_000 + b"}\n",
        b'"\\ud800"\n',
        b"\xff\n",
        b"NaN\n",
    ],
)
@pytest.mark.parametrize(
    "path", ["manifest.json", "config.resolved.json", "observed/journal.jsonl", "metrics.json"]
)
def test_hostile_json_is_a_finding(small_run, path, data):
    (small_run / path).write_bytes(data)
    assert path in named(small_run)
