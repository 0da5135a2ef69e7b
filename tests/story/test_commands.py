# SPDX-License-Identifier: Apache-2.0
"""The way of a user, by commands: train, look, compare, archive, verify, restore.

Not tested here: killing (test_kill.py), hostile input (test_hostile_input.py), faults of the
verifier (test_verifier.py).
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CONFIG = """
[experiment]
name = "A private name"
notes = "private notes"
[engine]
epochs = 2
batch_size = 16
[data]
patients = 40
image_size = 16
[model]
name = "cnn"
width = 4
"""
COMMANDS = ["run", "archive", "restore", "verify", "compare", "list", "show", "schema", "chronicle",
            "doctor", "init", "inspect", "predict"]  # fmt: skip
HEAVY = ("torch", "numpy", "numba", "monai", "safetensors")


def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tiny_agent_trainer", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def verifier(*arguments: object) -> subprocess.CompletedProcess[str]:
    start = "from tiny_agent_trainer.cli.verifier import main; main()"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def train(folder: Path, text: str = CONFIG, name: str = "story", **environment: str) -> Path:
    config = folder / f"{name}.toml"
    config.write_text(text)
    done = call("--config", config, "--results", folder / "results", "--quiet", **environment)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("run "))
    return Path(line.split()[1])


def run_digest(run: Path) -> str:
    return str(json.loads((run / "manifest.json").read_text())["run_digest"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("story"))


def test_the_run_holds_what_the_design_says(trained: Path) -> None:
    found = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert found == {
        "config.toml", "config.resolved.json", "data/manifest.json", "source.tar", "metrics.json",
        "run_summary.md", "report.html", "chronicle.cmeta", "checkpoints/best.safetensors",
        "checkpoints/last.safetensors", "predictions_val.csv", "predictions_test.csv",
        "manifest.json", "observed/environment.json", "observed/timings.json",
        "observed/journal.jsonl", "observed/log.txt", "observed/status.html",
    }  # fmt: skip


def test_the_config_that_ran_is_kept_byte_for_byte(trained: Path) -> None:
    assert (trained / "config.toml").read_text() == CONFIG
    resolved = json.loads((trained / "config.resolved.json").read_text())
    assert resolved["engine"]["epochs"] == tomllib.loads(CONFIG)["engine"]["epochs"]


def test_a_second_run_with_other_threads_outside_and_another_name_has_the_same_digest(
    trained: Path, tmp_path: Path
) -> None:
    other = CONFIG.replace("A private name", "Another").replace("private notes", "")
    again = train(tmp_path, other, name="elsewhere", OMP_NUM_THREADS="1", TZ="Asia/Tokyo")
    assert run_digest(again) == run_digest(trained)


def test_another_seed_has_another_digest(trained: Path, tmp_path: Path) -> None:
    seeded = train(tmp_path, CONFIG.replace("[engine]", "[engine]\nbase_seed = 1"))
    assert run_digest(seeded) != run_digest(trained)


def test_results_hold_no_time_host_path_name_or_digest_of_the_run(trained: Path) -> None:
    manifest = json.loads((trained / "manifest.json").read_text())
    forbidden = ["private", str(trained), trained.name, os.uname().nodename,
                 manifest["run_digest"].rsplit(":", 1)[-1], "/tmp"]  # fmt: skip
    results = [entry["path"] for entry in manifest["files"] if entry["class"] == "result"]
    assert len(results) == 8
    for path in results:
        content = (trained / path).read_bytes()
        found = [word for word in forbidden if len(word) > 3 and word.encode() in content]
        assert not found, (path, found)


def test_show_list_and_chronicle_tell_of_the_run(trained: Path) -> None:
    shown = call("show", trained)
    assert shown.returncode == 0
    assert run_digest(trained) in shown.stdout
    assert "A private name" in shown.stdout
    listed = call("list", "--results", trained.parent, COLUMNS="200")
    assert trained.name in listed.stdout
    values = json.loads((trained / "metrics.json").read_text())["splits"]["test"]["metrics"]
    assert f"AUROC {values['auroc']['value']:.4f}" in listed.stdout
    exported = call("chronicle", "export", trained, "--format", "jsonl")
    phases = [json.loads(line)["phase"] for line in exported.stdout.splitlines()]
    assert phases.count("validation") == 2
    assert phases[-1] == "test"
    assert call("chronicle", "verify", trained).returncode == 0


def test_compare_shows_only_what_differs_and_writes_a_page(tmp_path: Path) -> None:
    first = train(tmp_path, name="first")
    second = train(tmp_path, CONFIG.replace("width = 4", "width = 5"), name="second")
    done = call("compare", first, second, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "model.width" in done.stdout
    assert "engine.epochs" not in done.stdout
    (page,) = (tmp_path / "results" / "comparisons").iterdir()
    text = page.read_text()
    assert "| `model.width` | 4 | 5 |" in text
    assert "test auroc" in text


def test_archive_verify_restore_and_verify_again(tmp_path: Path) -> None:
    run = train(tmp_path)
    digest = run_digest(run)
    archived = call("archive", run, "--archive-dir", tmp_path / "archive")
    assert archived.returncode == 0, archived.stderr
    assert not run.exists()
    (archive,) = (tmp_path / "archive").iterdir()
    assert archive.name == f"{run.name}_{digest.rsplit(':', 1)[-1][:12]}.tar.gz"
    done = verifier(archive)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("identical")
    audit = json.loads((archive.parent / f"{archive.name[:-7]}.audit" / "audit.json").read_text())
    assert audit["is_identical"] is True
    assert audit["run_digest_a"] == audit["run_digest_b"] == digest
    restored = call("restore", archive, tmp_path / "back")
    assert restored.returncode == 0, restored.stderr
    back = tmp_path / "back" / run.name
    assert verifier(back, "--quiet").returncode == 0
    assert "identical" in call("show", back).stdout


def test_usage_errors_end_with_2_and_faults_of_the_config_with_10(tmp_path: Path) -> None:
    assert call().returncode == 2
    assert call("frobnicate").returncode == 2
    assert call("--config", "a", "--resume", "b").returncode == 2
    assert verifier(tmp_path / "nothing").returncode == 2
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("[engine]\nepoch = 3\nbatch_size = 0\n")
    done = call("--config", faulty)
    assert done.returncode == 10
    assert f"{faulty}:2: engine.epoch: unknown key; did you mean epochs?" in done.stderr
    assert f"{faulty}:3: engine.batch_size" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["schema"], *([name, "--help"] for name in COMMANDS)]
)
def test_words_are_answered_without_loading_number_libraries(arguments: list[str]) -> None:
    program = (
        "import sys; from tiny_agent_trainer.cli.main import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "[] 0"
    assert done.stdout.strip()


def test_integrity_and_ledger_are_checked_without_number_libraries(trained: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tiny_agent_trainer.experiments.run_directory import integrity\n"
        f"integrity.require_sound(Path({str(trained)!r}))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
