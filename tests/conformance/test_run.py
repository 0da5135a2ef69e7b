# SPDX-License-Identifier: Apache-2.0
"""A sealed run against docs/formats/run-v1.md: one test per clause, named after it.

Digests are computed here with hashlib and json alone, so that a fault that writer and reader share
would show.

Not tested here: every byte of every file (tests/tamper), the ledger's format (test_cmeta.py).
"""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.experiments.run_directory import (
    integrity,
    journal,
    layout,
    manifest,
    status,
)
from tiny_agent_trainer.meta import ustar

DOCUMENT = Path(__file__).parents[2] / "docs/formats/run-v1.md"
JOURNAL = "observed/journal.jsonl"


def compact(value):
    """Canonical JSON for the values here: no floats, names in ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hexed(data):
    return hashlib.sha256(data).hexdigest()


def sealed(run):
    return json.loads((run / "manifest.json").read_bytes())


def resealed(value):
    """Manifest bytes with a right digest around whatever the value says."""
    rest = {name: of for name, of in value.items() if name != "digest"}
    digest = "sha256:run-manifest-v1:" + hexed(compact(rest))
    return compact({**rest, "digest": digest}) + b"\n"


def refused(data, match):
    with pytest.raises(errors.IntegrityError, match=match):
        manifest.read_manifest(data, "manifest.json")


def named(run):
    return {finding.path for finding in integrity.verify_run(run)}


def test_every_clause_has_a_test():
    text = DOCUMENT.read_text(encoding="utf-8")
    clauses = re.findall(r"^- \*\*\[R-(\d+)\]", text, re.MULTILINE)
    tests = re.findall(
        r"^def test_r(\d+)_", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [int(number) for number in clauses] == list(range(1, 12))
    assert sorted({int(number) for number in tests}) == list(range(1, 12))


def test_r1_classes(small_run):
    text = DOCUMENT.read_text(encoding="utf-8").split("[R-1]")[1].split("[R-2]")[0]
    words = re.findall(r"\*(input|result|observed)\*|`([a-z_/.]+\.[a-z0-9]+)`", text)
    told, kind = {}, None
    for heading, path in words:
        kind = heading or kind
        if path and path != "manifest.json":
            told[path] = kind
    assert len(told) == 15
    assert {path: layout.classify(path) for path in told} == told
    for name, known in (
        ("last", True),
        ("step_00000001", True),
        ("-x", False),
        (".x", False),
        ("a/b", False),
        ("x" * 80, True),
        ("x" * 81, False),
        ("ä", False),
        ("", False),
    ):
        found = layout.classify(f"checkpoints/{name}.safetensors")
        assert found == ("result" if known else "unknown"), name
    for path in ("manifest.json", "Metrics.json", "metrics.json\n", "x", "", "../config.toml"):
        assert layout.classify(path) == "unknown"
    (small_run / "observed/notes.txt").write_bytes(b"")
    assert named(small_run) == {"observed/notes.txt"}
    with pytest.raises(errors.IntegrityError, match="another file"):
        manifest.build_manifest(small_run, None)


@pytest.mark.parametrize(
    "path",
    ["config.toml", "config.resolved.json", "data/manifest.json", "source.tar", "chronicle.cmeta"],
)
def test_r2_required_files(small_run, path):
    (small_run / path).unlink()
    assert named(small_run) == {path}
    with pytest.raises(errors.IntegrityError, match=path):
        manifest.build_manifest(small_run, None)
    value = sealed(small_run)
    value["files"] = [entry for entry in value["files"] if entry["path"] != path]
    refused(resealed(value), f"no entry for {path}")


@pytest.mark.parametrize("path", [JOURNAL, "observed/status.html", "manifest.json"])
def test_r2_required_files_that_grow(small_run, path):
    (small_run / path).unlink()
    assert path in named(small_run)


def test_r3_manifest(small_run):
    data = (small_run / "manifest.json").read_bytes()
    value = json.loads(data)
    names = "digest experiment_digest files identity journal run_digest schema"
    assert " ".join(sorted(value)) == names
    assert value["schema"] == "run-manifest-v1"
    assert resealed(value) == data
    manifest.read_manifest(data, "it")
    for name in value:
        refused(resealed({**value, name: 7}) if name != "digest" else data[:-1], "manifest|digest")
        rest = {of: at for of, at in value.items() if of != name}
        refused(compact(rest) + b"\n", "manifest")
    refused(resealed({**value, "more": 1}), "without exactly")
    for spelled in (data + b"\n", data[:-1], b" " + data, json.dumps(value).encode() + b"\n"):
        refused(spelled, "canonical JSON|manifest")
    refused(bytes(manifest.MAX_BYTES + 1), "at most 16777216 bytes")


def test_r4_files(small_run):
    value = sealed(small_run)
    paths = [entry["path"] for entry in value["files"]]
    assert paths == sorted(paths)
    for entry in value["files"]:
        data = (small_run / entry["path"]).read_bytes()
        assert entry == {
            "path": entry["path"],
            "size_bytes": len(data),
            "sha256": hexed(data),
            "class": layout.classify(entry["path"]),
        }
    first = value["files"][0]
    for changed, match in (
        ({"class": "observed"}, "the class"),
        ({"class": "unknown"}, "the class"),
        ({"path": "checkpoints/../x"}, "does not list"),
        ({"path": "/etc/passwd"}, "does not list"),
        ({"path": 7}, "not text"),
        ({"size_bytes": -1}, "a size"),
        ({"size_bytes": 8**11}, "a size"),
        ({"size_bytes": True}, "a size"),
        ({"size_bytes": "1"}, "a size"),
        ({"sha256": "AB" * 32}, "a SHA-256"),
        ({"sha256": "ab" * 31}, "a SHA-256"),
        ({"more": 1}, "without exactly"),
    ):
        refused(resealed({**value, "files": [{**first, **changed}, *value["files"][1:]]}), match)
    refused(resealed({**value, "files": value["files"][::-1]}), "behind")
    refused(resealed({**value, "files": [first, *value["files"]]}), "behind")
    twin = {**first, "path": "checkpoints/BEST.safetensors"}
    refused(resealed({**value, "files": [twin, *value["files"]]}), "only in case")


def test_r5_digests(small_run):
    value = sealed(small_run)
    about = compact(value["identity"])
    assert value["experiment_digest"] == "sha256:experiment-v1:" + hexed(about)
    results = [entry for entry in value["files"] if entry["class"] == "result"]
    assert len(results) == 8
    lines = "".join(f"{entry['path']}\0{entry['sha256']}\n" for entry in results)
    assert value["run_digest"] == "sha256:results-v1:" + hexed(lines.encode())
    assert manifest.run_digest_of(small_run) == value["run_digest"]
    for name in ("experiment_digest", "run_digest"):
        refused(resealed({**value, name: value[name][:-1] + "x"}), name)
    refused(resealed({**value, "identity": None}), "experiment_digest")


def test_r1_the_longest_name_of_a_checkpoint_fits_an_archive():
    name = f"{'x' * 128}/checkpoints/{'x' * 80}.safetensors"
    assert layout.classify(name.partition("/")[2]) == "result"
    assert len(ustar.encode_header(name, 0)) == 512


def test_r5_only_results_count(small_run, make_run, tmp_path):
    before = sealed(small_run)["run_digest"]
    other = make_run(tmp_path / "other", "another_name", {"observed/log.txt": b"slower\n"})
    assert sealed(other)["run_digest"] == before
    another = make_run(tmp_path / "more", "x", {"run_summary.md": b"# Other\n"})
    assert sealed(another)["run_digest"] != before


def test_r6_what_still_grows(small_run):
    value = sealed(small_run)
    data = (small_run / JOURNAL).read_bytes()
    assert value["journal"] == {"length_bytes": len(data), "sha256": hexed(data)}
    for path in (JOURNAL, "observed/status.html", "manifest.json"):
        assert path not in {entry["path"] for entry in value["files"]}
        entry = {"path": path, "size_bytes": 1, "sha256": "00" * 32, "class": "observed"}
        files = sorted([*value["files"], entry], key=lambda it: it["path"])
        refused(resealed({**value, "files": files}), "does not list")


def test_r7_journal(small_run, tmp_path):
    before = "0" * 64
    lines = (small_run / JOURNAL).read_bytes().splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        value = json.loads(line)
        assert sorted(value) == ["at", "chain", "event", "facts", "number"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value["at"])
        assert value["number"] == number
        rest = {name: of for name, of in value.items() if name != "chain"}
        assert value["chain"] == hexed(before.encode() + compact(rest))
        assert line == compact(value)
        before = value["chain"]
    assert [entry.event for entry in journal.read(small_run / JOURNAL)] == ["started", "completed"]


def test_r8_growth(small_run, fixed_clock):
    place = small_run / JOURNAL
    data = place.read_bytes()
    place.write_bytes(data + b'{"at":"2026')
    with pytest.raises(errors.IntegrityError, match="line 3"):
        journal.read(place)
    journal.Journal(place, fixed_clock).append("verified", verdict="identical")
    assert place.read_bytes()[: len(data)] == data
    assert [entry.number for entry in journal.read(place)] == [1, 2, 3]
    status.refresh_status(small_run)
    assert named(small_run) == set()


def test_r9_status_page(small_run, fixed_clock):
    page, place = small_run / "observed/status.html", small_run / JOURNAL
    value = manifest.read_manifest_of(small_run)
    book = journal.Journal(place, fixed_clock)
    for verdict, state in (
        (None, "never verified"),
        ("identical", "identical"),
        ("different", "different"),
        ("could not be checked", "could not be checked"),
        ("perfect", "could not be checked"),
    ):
        if verdict is not None:
            book.append("verified", verdict=verdict, note="<script>")
            assert named(small_run) == set()  # the page lacks the last line
        status.refresh_status(small_run)
        entries = journal.read(place)
        assert page.read_bytes() == status.render_status(value, entries)
        text = page.read_text(encoding="utf-8")
        assert f"<dt>Verification</dt><dd>{state}</dd>" in text
        assert "<script>" not in text
        assert value.run_digest in text
        assert value.experiment_digest in text
    before = page.read_bytes()
    book.append("noted")
    book.append("noted")
    page.write_bytes(before)  # two lines behind
    assert named(small_run) == {"observed/status.html"}


def test_r10_integrity(small_run):
    assert integrity.verify_run(small_run) == []
    (small_run / "report.html").unlink()
    (small_run / "more").mkdir()
    (small_run / "metrics.json").write_bytes(b"[]\n")
    found = {finding.path: finding for finding in integrity.verify_run(small_run)}
    assert list(found) == ["metrics.json", "more", "report.html"]
    assert "missing" in found["report.html"].problem


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("config.resolved.json", b'{"a": 1}\n'),
        ("data/manifest.json", b"{}"),
        ("data/manifest.json", b"x"),
    ],
)
def test_r10_inputs_are_canonical_json(tmp_path, make_run, path, data):
    run = make_run(tmp_path, "run", {path: data})
    (finding,) = integrity.verify_run(run)
    assert (finding.path, "not canonical JSON" in finding.problem) == (path, True)


def test_r10_the_ledger_is_ended(small_run, tmp_path):
    place = small_run / "chronicle.cmeta"
    place.write_bytes(place.read_bytes()[: -(13 + 41)])  # without its END frame
    value = manifest.read_manifest_of(small_run)
    manifest.write_manifest(small_run, manifest.build_manifest(small_run, value.identity))
    status.refresh_status(small_run)
    (finding,) = integrity.verify_run(small_run)
    assert (finding.path, finding.place) == ("chronicle.cmeta", "the end")


def test_r11_threat_model(small_run):
    before = manifest.read_manifest_of(small_run)
    for path, data, is_result in (
        ("observed/log.txt", b"faster\n", False),
        ("metrics.json", canonical.encode_line({"accuracy": 1}), True),
    ):
        (small_run / path).write_bytes(data)
        assert named(small_run) == {path}
        manifest.write_manifest(small_run, manifest.build_manifest(small_run, before.identity))
        status.refresh_status(small_run)
        assert named(small_run) == set()
        after = manifest.read_manifest_of(small_run)
        assert (after.run_digest != before.run_digest) is is_result
        assert after.digest != before.digest
