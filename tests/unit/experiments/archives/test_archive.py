# SPDX-License-Identifier: Apache-2.0
"""Archiving and restoring: where things go, and that nothing is lost when something fails.

Not tested here: the format (tests/conformance/test_archive.py), hostile archives (tests/tamper).
"""

import errno
import subprocess
import sys

import pytest

from tiny_agent_trainer import canonical, durable, errors
from tiny_agent_trainer.experiments.archives import archive, archive_reader, restore
from tiny_agent_trainer.experiments.run_directory import integrity, journal, manifest, status

PRIMITIVES = ("_write", "_fsync", "_replace")


class Killed(BaseException):
    """Stands for the end of the process."""


class Failing:
    """Lets the primitives of `durable` fail from the n-th call on."""

    def __init__(self, patched, at, error):
        self.calls, self.at, self.error = 0, at, error
        for name in PRIMITIVES:
            patched.setattr(durable, name, self.around(getattr(durable, name)))

    def around(self, primitive):
        def call(*args):
            self.calls += 1
            if self.calls >= self.at:
                raise self.error
            return primitive(*args)

        return call


def test_the_archive_lies_beside_the_results(small_run, tmp_path, fixed_clock):
    made = archive.archive_experiment(str(small_run), clock=fixed_clock)
    assert made.path.parent == tmp_path / "experiments" / "archive"
    assert made.size_bytes == made.path.stat().st_size
    assert archive_reader.verify_archive(made.path).run_digest == made.run_digest


def test_elsewhere_the_configuration_says_where(make_run, tmp_path, fixed_clock):
    run = make_run(tmp_path / "runs")
    made = archive.archive_experiment(run, clock=fixed_clock)
    assert made.path.parent == tmp_path / "runs" / "elsewhere"


def test_without_any_place_it_is_asked_for(make_run, tmp_path, fixed_clock):
    config = canonical.encode_line({"experiment": {}})
    run = make_run(tmp_path / "runs", more={"config.resolved.json": config})
    with pytest.raises(errors.UsageError, match="--archive-dir"):
        archive.archive_experiment(run, clock=fixed_clock)
    made = archive.archive_experiment(run, archive_dir=tmp_path / "here", clock=fixed_clock)
    assert made.path.parent == tmp_path / "here"


def test_keep_leaves_the_run(small_run, fixed_clock):
    before = {path: path.read_bytes() for path in small_run.rglob("*") if path.is_file()}
    made = archive.archive_experiment(small_run, keep=True, clock=fixed_clock)
    assert integrity.verify_run(small_run) == []
    for path, data in before.items():
        assert path.read_bytes().startswith(data) or path.name == "status.html"
    assert archive.archive_experiment(small_run, keep=True, clock=fixed_clock) == made
    events = [entry.event for entry in journal.read(small_run / journal.FILE_NAME)]
    assert events == ["started", "completed", "archived"]


def test_a_run_with_more_history_does_not_replace_its_archive(small_run, fixed_clock):
    made = archive.archive_experiment(small_run, keep=True, clock=fixed_clock)
    data = made.path.read_bytes()
    journal.Journal(small_run / journal.FILE_NAME, fixed_clock).append("verified")
    status.refresh_status(small_run)
    with pytest.raises(errors.UsageError, match="move that file away"):
        archive.archive_experiment(small_run, clock=fixed_clock)
    assert made.path.read_bytes() == data
    assert integrity.verify_run(small_run) == []
    assert list(made.path.parent.iterdir()) == [made.path]


@pytest.mark.parametrize("kind", ["foreign", "directory", "dangling"])
def test_a_foreign_file_is_never_replaced(small_run, fixed_clock, kind):
    made = archive.archive_experiment(small_run, keep=True, clock=fixed_clock)
    made.path.unlink()
    match kind:
        case "foreign":
            made.path.write_bytes(b"precious")
        case "directory":
            made.path.mkdir()
        case "dangling":
            made.path.symlink_to("nothing")
    with pytest.raises(errors.UsageError, match="no sound archive"):
        archive.archive_experiment(small_run, clock=fixed_clock)
    assert kind != "foreign" or made.path.read_bytes() == b"precious"
    assert integrity.verify_run(small_run) == []


def test_a_damaged_or_unsealed_run_is_refused_and_stays(small_run, fixed_clock):
    (small_run / "metrics.json").write_bytes(b"{}\n")
    with pytest.raises(errors.IntegrityError, match=r"metrics\.json"):
        archive.archive_experiment(small_run, clock=fixed_clock)
    (small_run / "manifest.json").unlink()
    with pytest.raises(errors.IntegrityError, match=r"manifest\.json"):
        archive.archive_experiment(small_run, clock=fixed_clock)
    assert len(list(small_run.rglob("*.*"))) == 17


def test_a_run_that_is_written_to_meanwhile_is_not_removed(small_run, fixed_clock, monkeypatch):
    def verify(part):
        archive_reader_verify(part)
        (small_run / "observed/log.txt").write_bytes(b"precious")

    archive_reader_verify = archive_reader.verify_archive
    monkeypatch.setattr(archive_reader, "verify_archive", verify)
    with pytest.raises(errors.IntegrityError, match="nothing was removed"):
        archive.archive_experiment(small_run, clock=fixed_clock)
    assert (small_run / "observed/log.txt").read_bytes() == b"precious"


def test_an_archive_that_does_not_read_back_is_dropped(small_run, fixed_clock, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(archive.os, "pwrite", lambda *_: None)
        with pytest.raises(errors.ArchiveError, match="SHA-256"):
            archive.archive_experiment(small_run, clock=fixed_clock)
    assert integrity.verify_run(small_run) == []
    assert list((small_run.parents[1] / "archive").iterdir()) == []
    archive.archive_experiment(small_run, clock=fixed_clock)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Killed()])
def test_a_failure_at_any_write_sync_or_rename_loses_nothing(
    make_run, tmp_path, fixed_clock, monkeypatch, error
):
    num_failures = 0
    for at in range(1, 1_000):
        run = make_run(tmp_path / str(at) / "experiments" / "results")
        digest = manifest.read_manifest_of(run).run_digest
        place = tmp_path / str(at) / "experiments" / "archive"
        with monkeypatch.context() as patched:
            failing = Failing(patched, at, error)
            try:
                archive.archive_experiment(run, clock=fixed_clock)
            except (errors.StorageError, Killed):
                num_failures += 1
        if failing.calls < at:
            break
        left = [] if not place.exists() else list(place.iterdir())
        assert all(it.suffix != ".part" for it in left)
        if run.exists():
            assert archive.archive_experiment(run, clock=fixed_clock).run_digest == digest
        (made,) = place.iterdir()
        assert archive_reader.verify_archive(made).run_digest == digest
    assert 15 < num_failures == at - 1


def test_leftovers_of_a_killed_process_do_not_hinder(small_run, fixed_clock):
    made = archive.archive_experiment(small_run, keep=True, clock=fixed_clock)
    made.path.with_name(made.path.name + ".part").write_bytes(b"half")
    (small_run / "observed/status.html.part").write_bytes(b"half")
    hidden = small_run.with_name(f".{small_run.name}.archived")
    (hidden / "observed").mkdir(parents=True)
    assert archive.archive_experiment(small_run, clock=fixed_clock) == made
    assert list(small_run.parent.iterdir()) == []
    assert list(made.path.parent.iterdir()) == [made.path]


def test_a_failure_while_restoring_leaves_nothing(small_run, tmp_path, fixed_clock, monkeypatch):
    made = archive.archive_experiment(small_run, clock=fixed_clock)
    for name in ("_write_file", "_require_sound"):
        with monkeypatch.context() as patched:
            patched.setattr(restore, name, lambda *_: (_ for _ in ()).throw(Killed()))
            with pytest.raises(Killed):
                restore.restore_archive(made.path, tmp_path / "a" / "b")
        assert not (tmp_path / "a").exists()
    assert restore.restore_archive(made.path, tmp_path / "a" / "b").is_dir()


def test_restoring_beside_other_runs_leaves_them(small_run, make_run, fixed_clock):
    other = make_run(small_run.parent, "another")
    made = archive.archive_experiment(small_run, clock=fixed_clock)
    assert restore.restore_archive(made.path, small_run.parent) == small_run
    assert sorted(small_run.parent.iterdir()) == [other, small_run]
    assert integrity.verify_run(other) == []


def test_large_checkpoints_of_any_size_come_back(make_run, tmp_path, fixed_clock):
    sizes = {"a": 65_535, "b": 65_536, "c": 16 * 65_535 + 1, "d": 0, "e": 3_000_001}
    more = {f"checkpoints/{name}.safetensors": b"w" * size for name, size in sizes.items()}
    run = make_run(tmp_path / "runs", more=more)
    made = archive.archive_experiment(run, clock=fixed_clock)
    assert made.size_bytes > sum(sizes.values())  # stored, not compressed
    restore.restore_archive(made.path, tmp_path / "runs")
    for path, data in more.items():
        assert (run / path).read_bytes() == data


def test_checking_needs_neither_torch_nor_numpy(small_run):
    program = """
import sys
from tiny_agent_trainer.experiments.archives import archive, restore
from tiny_agent_trainer.experiments.run_directory import integrity
made = archive.archive_experiment(sys.argv[1])
restore.restore_archive(made.path, sys.argv[1] + "_there")
heavy = {"torch", "numpy", "numba", "safetensors", "PIL", "monai"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, small_run], check=True)
