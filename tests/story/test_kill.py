# SPDX-License-Identifier: Apache-2.0
"""A run that is killed at any moment and resumed has the digest of an uninterrupted one.

Kills come in two ways: at chosen calls of write (half of it done), fsync and rename, by injection;
and by SIGKILL from outside at random moments.

Not tested here: loss of power, which a process cannot bring about; the order of writes and syncs
is what stands in for it.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")
CALLS_LIMIT = 1000


def run_driver(folder: Path, step: int, first: int = 1) -> list[list[str]]:
    command = [sys.executable, str(DRIVER), str(folder), str(first), str(CALLS_LIMIT), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def require_one_digest(lines: list[list[str]]) -> None:
    *killed, survived = lines
    assert survived[1] == "survived", "the driver stopped before the run's last call"
    assert {line[1] for line in killed} == {"resumed"}, killed
    assert {line[2] for line in lines} == {survived[2]}, lines


def test_killed_at_some_writes_syncs_and_renames_gives_the_same_digest(tmp_path: Path) -> None:
    lines = run_driver(tmp_path, step=9)
    assert len(lines) > 8
    require_one_digest(lines)


@pytest.mark.long
def test_killed_at_every_write_sync_and_rename_gives_the_same_digest(tmp_path: Path) -> None:
    lines = run_driver(tmp_path, step=1)
    assert len(lines) > 80
    require_one_digest(lines)


CONFIG = """
[engine]
epochs = 6
batch_size = 16
checkpoint_every = "3 steps"
[data]
patients = 60
image_size = 16
[model]
name = "cnn"
width = 8
"""


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tiny_agent_trainer", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def digest_of(output: str) -> str:
    return next(line.split()[1] for line in output.splitlines() if line.startswith("run_digest"))


def train_with_kills(config: Path, results: Path, moments: list[float]) -> str:
    """Start, kill after so many seconds, go on, kill again ..., and let the last one finish."""
    arguments = ["--config", str(config), "--results", str(results), "--quiet"]
    for moment in [*moments, None]:
        process = start(arguments)
        if moment is not None:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
        output, words = process.communicate()
        if process.returncode == 0:
            return digest_of(output)
        assert process.returncode == -signal.SIGKILL, words
        runs = [path for path in results.glob("*") if not path.name.startswith(".")]
        if runs:
            arguments = ["--resume", str(runs[0]), "--quiet"]
    raise AssertionError("the last start was not killed and did not finish")


def kill_at_random(tmp_path: Path, kills: int, seed: int) -> None:
    config = tmp_path / "killed.toml"
    config.write_text(CONFIG)
    expected = train_with_kills(config, tmp_path / "whole", [])
    generator = random.Random(seed)
    for count in range(kills):
        moments = [generator.uniform(1.5, 6.0) for _ in range(2)]
        assert train_with_kills(config, tmp_path / str(count), moments) == expected, moments


def test_killed_at_random_moments_gives_the_same_digest(tmp_path: Path) -> None:
    kill_at_random(tmp_path, kills=2, seed=1)


@pytest.mark.long
def test_killed_at_twenty_random_moments_gives_the_same_digest(tmp_path: Path) -> None:
    kill_at_random(tmp_path, kills=10, seed=2)


def test_ctrl_c_finishes_the_step_and_resume_gives_the_same_digest(tmp_path: Path) -> None:
    config = tmp_path / "interrupted.toml"
    config.write_text(CONFIG.replace("epochs = 6", "epochs = 30"))
    whole = train_with_kills(config, tmp_path / "whole", [])
    arguments = ["--config", str(config), "--results", str(tmp_path / "results"), "--log-json"]
    process = start(arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if '"event":"step"' in line:
            process.send_signal(signal.SIGINT)
            break
    output, words = process.communicate()
    assert process.returncode == 130, words
    assert '"outcome":"interrupted"' in output
    (run,) = (tmp_path / "results").iterdir()
    resumed = start(["--resume", str(run), "--quiet"])
    output, words = resumed.communicate()
    assert resumed.returncode == 0, words
    assert digest_of(output) == whole
