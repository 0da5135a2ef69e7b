# SPDX-License-Identifier: Apache-2.0
"""Making a manifest, and the status page beside it.

Not tested here: the format's clauses (tests/conformance/test_run.py), every byte (tests/tamper).
"""

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.run_directory import integrity, journal, manifest, status


def test_it_is_written_and_read_back(small_run):
    built = manifest.build_manifest(small_run, {"of": [1, None, "ä"]})
    manifest.write_manifest(small_run, built)
    assert manifest.read_manifest_of(small_run) == built
    assert built.entry("metrics.json").kind == "result"
    assert built.entry("manifest.json") is None


def test_excluded_files_do_not_count(small_run):
    path = "checkpoints/best.safetensors"
    before = manifest.run_digest_of(small_run)
    value = manifest.read_manifest_of(small_run)
    built = manifest.build_manifest(small_run, value.identity, excluded={path})
    assert built.entry(path) is None
    assert built.run_digest == manifest.run_digest_of(small_run, excluded={path}) != before
    manifest.write_manifest(small_run, built)
    status.refresh_status(small_run)
    assert [it.path for it in integrity.verify_run(small_run)] == [path]
    (small_run / path).unlink()
    assert integrity.verify_run(small_run) == []
    assert manifest.run_digest_of(small_run) == built.run_digest


def test_files_still_being_written_are_left_out(small_run):
    before = manifest.read_manifest_of(small_run)
    (small_run / "metrics.json.part").write_bytes(b"half")
    assert manifest.build_manifest(small_run, before.identity) == before


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling"])
def test_what_no_run_holds_is_refused(small_run, kind):
    place = small_run / "checkpoints/strange"
    match kind:
        case "file":
            place.write_bytes(b"")
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to("best.safetensors")
        case "dangling":
            place.symlink_to("nothing")
    with pytest.raises(errors.IntegrityError, match="strange"):
        manifest.build_manifest(small_run, None)
    with pytest.raises(errors.IntegrityError, match="strange"):
        manifest.run_digest_of(small_run)


def test_a_link_under_a_known_name_is_refused(small_run, tmp_path):
    (small_run / "metrics.json").rename(tmp_path / "metrics.json")
    (small_run / "metrics.json").symlink_to(tmp_path / "metrics.json")
    with pytest.raises(errors.IntegrityError, match="a plain file"):
        manifest.build_manifest(small_run, None)


def test_a_run_without_a_manifest_is_not_sealed(small_run):
    (small_run / "manifest.json").unlink()
    with pytest.raises(errors.IntegrityError, match="no such file"):
        manifest.read_manifest_of(small_run)
    with pytest.raises(errors.IntegrityError, match="no such file"):
        status.refresh_status(small_run)


def test_the_page_escapes_what_it_shows(small_run, fixed_clock):
    book = journal.Journal(small_run / journal.FILE_NAME, fixed_clock)
    book.append("<b>", note="</code><script>alert('&')</script>")
    status.refresh_status(small_run)
    page = (small_run / "observed/status.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)" in page
    assert integrity.verify_run(small_run) == []


def test_the_last_verdict_counts(small_run, fixed_clock):
    book = journal.Journal(small_run / journal.FILE_NAME, fixed_clock)
    assert status.verification_state(journal.read(small_run / journal.FILE_NAME)) == status.NEVER
    for verdict in (*status.VERDICTS, "identical"):
        book.append(status.VERIFIED, verdict=verdict)
        book.append("noted", verdict="something else")
        entries = journal.read(small_run / journal.FILE_NAME)
        assert status.verification_state(entries) == verdict
