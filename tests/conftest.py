# SPDX-License-Identifier: Apache-2.0
"""A small sealed run, made without training, for every test that needs one."""

import datetime
from pathlib import Path

import hypothesis
import pytest
from hypothesis import settings

from tiny_agent_trainer import canonical, digests
from tiny_agent_trainer.experiments.run_directory import journal, manifest, status
from tiny_agent_trainer.meta import chronicle, records, ustar
from tiny_agent_trainer.tokenizer.cache import place

# A busy machine is no fault of the code: time is measured in benchmarks/, not by Hypothesis.
settings.register_profile("any machine", deadline=None, print_blob=True)
settings.load_profile("any machine")

# The same examples on every machine, and no verdict that depends on how busy it is.
hypothesis.settings.register_profile(
    "gate",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("gate")

NAME = "exp_000_20260102T030405Z"


class FixedClock:
    """A clock that moves a minute whenever it is asked."""

    def __init__(self):
        self.minutes = 0

    def now_utc(self):
        self.minutes += 1
        start = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
        return start + datetime.timedelta(minutes=self.minutes)

    def elapsed_s(self):
        return 60.0 * self.minutes


def write_ledger(path, experiment_digest):
    metrics = (records.Metric(name="loss", dtype="f32", unit="1"),)
    genesis = records.Genesis(experiment_digest=experiment_digest, metrics=metrics)
    with chronicle.ChronicleWriter.create(path, genesis) as writer:
        for step in range(3):
            loss = {"loss": 1.0 / 2**step}
            writer.append(records.CycleRecord(step=step, epoch=0, phase="train", metrics=loss))
        writer.end("completed")


def make_small_run(results, name=NAME, more=()):
    """A sealed run below `results`; `more` replaces or adds files (path -> bytes)."""
    run = results / name
    for folder in ("data", "checkpoints", "observed"):
        (run / folder).mkdir(parents=True)
    config = {"experiment": {"archive_dir": str(results / "elsewhere")}}
    data = canonical.encode_line({"samples": [{"label": 0, "sample": 0}]})
    files = {
        "config.toml": b'[data]\nname = "phantom"\n',
        "config.resolved.json": canonical.encode_line(config),
        "data/manifest.json": data,
        "source.tar": ustar.encode_tar({"a.py": b"a = 1\n"}),
        "metrics.json": canonical.encode_line({"accuracy": 0.5}),
        "run_summary.md": "# Läuft\n".encode(),
        "report.html": b"<!DOCTYPE html>\n<p>Report</p>\n",
        "predictions_val.csv": b"sample,label\n0,1\n",
        "predictions_test.csv": b"sample,label\n1,0\n",
        "checkpoints/best.safetensors": bytes(range(64)),
        "checkpoints/last.safetensors": bytes(range(1, 65)),
        "observed/environment.json": canonical.encode_line({"cpu_count": 2}),
        "observed/timings.json": canonical.encode_line({"elapsed_s": 1.5}),
        "observed/log.txt": b"2026-01-02T03:04:05Z epoch 1/1\n",
        **dict(more),
    }
    for path, content in files.items():
        (run / path).write_bytes(content)
    identity = {"data": digests.named("data-manifest-v1", data), "schema": "identity-v1"}
    digest = manifest.experiment_digest_of(identity)
    write_ledger(run / "chronicle.cmeta", digest)
    seal(run, identity)
    return run


def seal(run, identity):
    book = journal.Journal(run / journal.FILE_NAME, FixedClock())
    book.append("started", experiment_digest=manifest.experiment_digest_of(identity))
    book.append("completed", run_digest=manifest.run_digest_of(run))
    manifest.write_manifest(run, manifest.build_manifest(run, identity))
    status.refresh_status(run)


@pytest.fixture
def make_run():
    """The function that makes a small sealed run below a directory."""
    return make_small_run


@pytest.fixture
def small_run(tmp_path):
    """A small sealed run in `experiments/results`."""
    return make_small_run(tmp_path / "experiments" / "results")


@pytest.fixture(autouse=True, scope="session")
def prepared_images_of_the_tests(tmp_path_factory):
    """Tests neither use nor fill the prepared images of who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(place.VARIABLE, str(tmp_path_factory.mktemp("prepared")))
        yield


@pytest.fixture
def fixed_clock():
    """A clock that moves a minute whenever it is asked."""
    return FixedClock()


@pytest.fixture(scope="session")
def shared_data():
    """The folder with published files; tests that need them are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the published files are not here: no folder {folder}")
    return folder.resolve()
