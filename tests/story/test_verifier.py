# SPDX-License-Identifier: Apache-2.0
"""The verifier says identical, different or could not be checked, and never mixes them up.

Not tested here: damage of single bytes (tests/tamper), the honest case by command
(test_commands.py), platforms other than this one (their description is replaced instead).
"""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_agent_trainer
from tiny_agent_trainer.experiments import isolation, rerun
from tiny_agent_trainer.experiments.archives.archive import archive_experiment
from tiny_agent_trainer.experiments.run import run_experiment
from tiny_agent_trainer.experiments.verify import audit_directory, verify_experiment
from tiny_agent_trainer.meta import session

CONFIG = """
[engine]
epochs = 2
batch_size = 16
checkpoint_every = "2 steps"
keep = ["best", "last", "all"]
[data]
patients = 30
image_size = 16
[model]
name = "cnn"
width = 4
[optimizer]
lr = 1e-3
"""
needs_landlock = pytest.mark.skipif(
    not isolation.can_confine(), reason="this kernel has no Landlock"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    (folder / "verified.toml").write_text(CONFIG)
    return run_experiment(folder / "verified.toml", results_dir=folder / "results").path


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "results" / run.name))


def perturbed(before: str, after: str) -> Callable[[rerun.Order], Path]:
    """A re-run with a changed configuration."""

    def carry_out(order: rerun.Order) -> Path:
        assert before.encode() in order.config
        changed = order.config.replace(before.encode(), after.encode())
        return rerun.rerun(dataclasses.replace(order, config=changed))

    return carry_out


@needs_landlock
def test_an_honest_rerun_is_identical(copy: Path) -> None:
    report = verify_experiment(copy)
    assert (report.verdict, report.exit_code) == ("identical", 0), report.reasons
    assert report.source == "installed"
    assert {file.verdict for file in report.files} == {"identical"}


@needs_landlock
def test_another_learning_rate_is_different_and_the_first_place_is_named(copy: Path) -> None:
    report = verify_experiment(copy, carry_out=perturbed("lr = 1e-3", "lr = 1.001e-3"))
    assert (report.verdict, report.exit_code) == ("different", 1), report.reasons
    cycle, tensor = report.first_mismatch_cycle, report.first_tensor
    assert cycle is not None
    assert (cycle.step, cycle.epoch, cycle.phase, cycle.field) == (1, 1, "train", "learning_rate")
    assert (cycle.decimal_a, cycle.decimal_b) == ("0.001", "0.001001")
    assert tensor is not None
    assert tensor.checkpoint == "checkpoints/step_00000002.safetensors"
    assert tensor.tensor == "0.weight"
    assert tensor.index == (0, 0, 0, 0)
    assert tensor.ulp_distance is not None
    assert 0 < tensor.ulp_distance < 2**24
    log = (audit_directory(copy) / "determinism_audit.log").read_text()
    assert "verdict: different" in log
    assert "first differing cycle: record 0, epoch 1, step 1, phase train" in log
    assert "checkpoints/step_00000002.safetensors, 0.weight[0][0][0][0]: " in log


@needs_landlock
def test_a_difference_on_another_platform_could_not_be_checked_in_native_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "native.toml"
    config.write_text(CONFIG.replace("[engine]", '[engine]\narithmetic = "native"'))
    made = run_experiment(config, results_dir=tmp_path / "results").path
    there = {**session.describe_platform(), "vendor": "AnotherVendor"}
    monkeypatch.setattr(session, "describe_platform", lambda: there)
    report = verify_experiment(made, carry_out=perturbed("lr = 1e-3", "lr = 2e-3"))
    assert (report.verdict, report.exit_code) == ("could not be checked", 3)
    assert any("platform.vendor" in line for line in report.environment)
    assert verify_experiment(made).verdict == "identical"


@needs_landlock
def test_a_difference_on_another_platform_is_one_in_exact_arithmetic(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {**session.describe_platform(), "vendor": "AnotherVendor"}
    monkeypatch.setattr(session, "describe_platform", lambda: there)
    report = verify_experiment(copy, carry_out=perturbed("lr = 1e-3", "lr = 2e-3"))
    assert (report.verdict, report.exit_code) == ("different", 1)


def test_another_installed_source_could_not_be_checked_unless_trusted(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = session.read_source()
    monkeypatch.setattr(session, "read_source", lambda: {**source, "extra.py": b"# more\n"})
    report = verify_experiment(copy)
    assert report.exit_code == 3
    assert "--trust-source" in report.reasons[0]


@needs_landlock
def test_the_archived_source_runs_when_it_is_trusted(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = session.read_source()
    monkeypatch.setattr(session, "read_source", lambda: {**source, "extra.py": b"# more\n"})
    report = verify_experiment(copy, trust_source=True)
    assert (report.verdict, report.source) == ("identical", "archived"), report.reasons


def test_a_changed_file_is_different_and_named(copy: Path) -> None:
    metrics = copy / "metrics.json"
    metrics.write_bytes(metrics.read_bytes().replace(b"auroc", b"aurok", 1))
    report = verify_experiment(copy)
    assert report.exit_code == 1
    assert "metrics.json" in report.reasons[0]


@pytest.mark.parametrize("name", ["config.toml", "source.tar", "report.html"])
def test_a_removed_file_is_different_and_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    report = verify_experiment(copy)
    assert report.exit_code == 1
    assert name in report.reasons[0]


def test_a_verdict_is_not_lost_when_the_audit_cannot_be_written(copy: Path) -> None:
    (copy / "report.html").unlink()
    (copy.parent / "taken").write_text("")
    report = verify_experiment(copy, audit_dir=copy.parent / "taken")
    assert report.exit_code == 1
    assert "the audit could not be written" in report.reasons[-1]


def test_an_unfinished_run_could_not_be_checked(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    report = verify_experiment(copy)
    assert report.exit_code == 3
    assert "--resume" in report.reasons[0]


def test_without_confinement_nothing_is_checked(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "can_confine", lambda: False)
    report = verify_experiment(copy)
    assert report.exit_code == 3
    assert "Landlock" in report.reasons[0]


@needs_landlock
def test_an_original_in_reach_of_the_rerun_is_not_checked(copy: Path) -> None:
    report = verify_experiment(copy, data_dir=copy.parent)
    assert report.exit_code == 3
    assert "move it elsewhere" in report.reasons[0]


@pytest.mark.parametrize("fault", ["RuntimeError('injected')", "MemoryError()", "OSError(5, 'no')"])
def test_a_fault_inside_the_verifier_ends_with_3(copy: Path, fault: str) -> None:
    program = (
        "import sys\n"
        "from tiny_agent_trainer.experiments.run_directory import integrity\n"
        f"def fail(run): raise {fault}\n"
        "integrity.require_sound = fail\n"
        f"sys.argv[1:] = [{str(copy)!r}]\n"
        "from tiny_agent_trainer.cli.verifier import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr


COPYING_SOURCE = '''

import secrets as _secrets
import shutil as _shutil

_honest = run_experiment


def run_experiment(config_path, *, results_dir=None, **rest):
    """Copies what it should reproduce, if it can reach it; is random otherwise."""
    for stolen in sorted(Path({results!r}).glob("*/manifest.json")):
        target = Path(results_dir) / stolen.parent.name
        _shutil.copytree(stolen.parent, target)
        return FinishedRun(path=target, outcome="completed", experiment_digest="stolen")
    text = Path(config_path).read_text()
    prepare.build_network = _random_network
    return _honest(config_path, results_dir=results_dir, **rest)


def _random_network(*arguments, _build=prepare.build_network):
    built = _build(*arguments)
    import torch
    with torch.no_grad():
        next(iter(built.network.parameters())).add_(_secrets.randbelow(1000) / 1000)
    return built
'''


@pytest.fixture
def copying_archive(tmp_path: Path) -> tuple[Path, Path]:
    """An archive whose source copies results, and the results directory that it copies from."""
    results = tmp_path / "results"
    package = tmp_path / "copying" / "tiny_agent_trainer"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(tiny_agent_trainer.__file__).parent, package, ignore=ignored)
    with (package / "experiments" / "run.py").open("a") as file:
        file.write(COPYING_SOURCE.format(results=str(results)))
    config = tmp_path / "copying.toml"
    config.write_text(CONFIG)
    program = f"import sys; sys.path.insert(0, {str(package.parent)!r}); " + (
        "from tiny_agent_trainer.cli.main import main; main()"
    )
    arguments = ["--config", str(config), "--results", str(results), "--quiet"]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
    (run,) = results.iterdir()
    archived = archive_experiment(run, archive_dir=tmp_path / "archive", keep=True)
    return archived.path, results


@needs_landlock
def test_a_source_that_copies_the_expected_results_is_never_identical(
    copying_archive: tuple[Path, Path],
) -> None:
    archive, _ = copying_archive
    assert verify_experiment(archive).exit_code == 3
    report = verify_experiment(archive, trust_source=True)
    assert report.source == "archived"
    assert report.exit_code == 1, report.reasons


@needs_landlock
def test_without_confinement_the_copying_source_would_have_passed(
    copying_archive: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: it is the confinement that finds the fraud."""
    archive, _ = copying_archive
    monkeypatch.setattr(isolation, "command", lambda _confinement, arguments: list(arguments))
    assert verify_experiment(archive, trust_source=True).exit_code == 0


@needs_landlock
def test_a_confined_process_reads_writes_and_connects_only_where_it_may(tmp_path: Path) -> None:
    secret, work = tmp_path / "secret.txt", tmp_path / "work"
    secret.write_text("expected results")
    work.mkdir()
    program = (
        "import socket, sys\n"
        "def attempt(action):\n"
        "    try: action(); return 'allowed'\n"
        "    except OSError as error: return type(error).__name__\n"
        f"print(attempt(lambda: open({str(secret)!r}).read()))\n"
        f"print(attempt(lambda: open({str(tmp_path / 'new')!r}, 'w')))\n"
        f"print(attempt(lambda: open({str(work / 'new')!r}, 'w').write('x')))\n"
        f"outside = '/proc/%d/root' % __import__('os').getppid() + {str(secret)!r}\n"
        "print(attempt(lambda: open(outside).read()))\n"
        "print(attempt(lambda: socket.create_connection(('127.0.0.1', 9), timeout=2)))\n"
        "print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))\n"
        "print(attempt(lambda: socket.socket(socket.AF_UNIX)))\n"
        "print(attempt(lambda: open('/dev/shm/tiny-agent-trainer', 'w')))\n"
        "print(attempt(lambda: open('/dev/urandom', 'rb').read(1)))\n"
    )
    confinement = isolation.Confinement(readable=isolation.python_paths(), writable=(work,))
    command = isolation.command(confinement, [sys.executable, "-I", "-c", program])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "PermissionError", "PermissionError", "allowed", "PermissionError", "PermissionError",
        "PermissionError", "allowed", "PermissionError", "allowed",
    ]  # fmt: skip
