# SPDX-License-Identifier: Apache-2.0
"""`doctor` by command: a sound machine, a process that flushes, a network that would be refused.

Not tested here: each check and fault (tests/unit/exact/test_checks.py).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs"
CLI = "from tiny_agent_trainer.cli.main import main; main()"
WITHOUT_RELU = (
    "import torch; from tiny_agent_trainer.exact.table import TABLE\n"
    "for name in ('relu.default', 'relu_.default', 'threshold_backward.default'):\n"
    "    packet, overload = name.split('.')\n"
    "    TABLE.pop(getattr(getattr(torch.ops.aten, packet), overload), None)\n"
)
"""Every network of MONAI that classifies is in the table: a gap has to be planted."""


def doctor(
    *arguments: object, before: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", before + CLI, "doctor", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def rows(text: str) -> dict[str, str]:
    """The table: name to value."""
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line.strip())
    return {name.strip(): value.strip() for name, value in pairs}


def exact_config(folder: Path, more: str = "") -> Path:
    """The first experiment, in exact arithmetic, on three threads."""
    text = (CONFIGS / "exp_001_baseline.toml").read_text()
    path = folder / "exact.toml"
    path.write_text(text.replace("[engine]", '[engine]\narithmetic = "exact"\nthreads = 3') + more)
    return path


def test_the_machine_is_sound_and_so_is_the_first_experiment(tmp_path: Path) -> None:
    done = doctor(exact_config(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    for name in ("rounding mode", "subnormal numbers", "rounding to grids"):
        assert table[name] == "sound"
    for name in ("engine int16", "engine float64"):
        assert table[name].endswith("sound")
        assert table[name].count("GOPS") == 2
    assert "GOPS" in table["PyTorch float32"]
    assert table["threads"] == "3"
    assert table["instruction set"]
    assert "kept" in table["compiled kernels"]
    assert all(name in table["versions"] for name in ("torch", "numba", "llvmlite", "numpy"))
    assert done.stdout.endswith("every operation of this network has an exact definition\n")


def test_operations_that_would_be_refused_are_all_listed_with_their_modules(tmp_path: Path) -> None:
    done = doctor(exact_config(tmp_path), before=WITHOUT_RELU)
    assert done.returncode == 23, done.stdout + done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("  aten.")]
    assert sum("(ReLU)" in line for line in found) == 3
    assert any("threshold_backward" in line for line in found)
    assert "every operation" not in done.stdout


def test_a_process_that_flushes_subnormals_is_named_and_ends_with_22(tmp_path: Path) -> None:
    done = doctor(exact_config(tmp_path), before="import torch; torch.set_flush_denormal(True)\n")
    assert done.returncode == 22
    assert rows(done.stdout)["subnormal numbers"].startswith("FAILED: ")
    assert "torch.set_flush_denormal" in done.stdout
    assert "every operation" not in done.stdout


def test_without_a_config_only_the_machine_is_examined(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = doctor(TINY_AGENT_TRAINER_KERNELS=str(blocked), NUMBA_CPU_NAME="generic",
                  NUMBA_CPU_FEATURES="")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "network" not in done.stdout
    table = rows(done.stdout)
    assert "compiled anew by every process" in table["compiled kernels"]
    assert table["instruction set"] in ("sse2", "portable")


def test_faults_of_the_config_are_told_first(tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("[engine]\nepoch = 3\n")
    done = doctor(faulty)
    assert (done.returncode, done.stdout) == (10, "")
    assert "did you mean epochs?" in done.stderr


def test_data_that_are_missing_leave_the_table_of_the_machine(tmp_path: Path) -> None:
    config = tmp_path / "folder.toml"
    config.write_text(f'[data]\nreader = "image_folder"\nroot = "{tmp_path / "nowhere"}"\n')
    done = doctor(config)
    assert done.returncode == 11, done.stdout + done.stderr
    assert rows(done.stdout)["rounding mode"] == "sound"


SATURATING = (
    "from tiny_agent_trainer.exact.contractions import current\n"
    "class Saturating(type(current.ENGINES['int16'])):\n"
    "    def multiply(self, left, right):\n"
    "        return super().multiply(left, right).clamp(-32, 32)\n"
    "current.ENGINES['int16'] = Saturating()\n"
)
SMALL = """
[engine]
arithmetic = "exact"
contractions = "{engine}"
epochs = 1
batch_size = 16
[data]
patients = 24
image_size = 16
[model]
name = "cnn"
width = 4
"""


def train(folder: Path, engine: str) -> subprocess.CompletedProcess[str]:
    config = folder / "small.toml"
    config.write_text(SMALL.format(engine=engine))
    options = ["--results", str(folder / "results"), "--log-json"]
    command = [sys.executable, "-c", SATURATING + CLI, "run", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_engine_that_fails_is_shown_by_doctor() -> None:
    done = doctor(before=SATURATING)
    assert done.returncode == 22, done.stdout + done.stderr
    table = rows(done.stdout)
    assert "FAILED: a product of length 33" in table["engine int16"]
    assert table["engine float64"].endswith("sound")


def test_training_goes_on_with_another_engine_and_the_log_says_so(tmp_path: Path) -> None:
    done = train(tmp_path, "auto")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (said,) = [event["text"] for event in events if event["event"] == "said"]
    assert said.startswith("the engine int16 failed its self-test and is not used: a product of")
    (log,) = (tmp_path / "results").glob("*/observed/log.txt")
    assert said in log.read_text()


def test_training_by_a_failed_engines_name_is_refused(tmp_path: Path) -> None:
    done = train(tmp_path, "int16")
    assert done.returncode == 22, done.stderr
    assert 'contractions = "int16"' in done.stderr
    assert 'write contractions = "auto"' in done.stderr
