# SPDX-License-Identifier: Apache-2.0
"""Workers divide the shards of a step: their number cannot change a bit, and a death is no loss.

Not tested here: other settings (tests/reference/exact/test_matrix.py).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """
[engine]
arithmetic = "exact"
threads = 1
workers = {workers}
epochs = {epochs}
batch_size = 16
shard_size = 3
checkpoint_every = "2 steps"
[data]
patients = 40
image_size = 16
[model]
name = "cnn"
width = 8
[optimizer]
name = "adam"
lr = {lr}
"""


DEADLINE_S = 600
"""Far beyond what anything here takes; a machine may be busy with other work."""

_started: "list[subprocess.Popen[str]]" = []


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """A test that fails leaves no training running, which would slow all others down."""
    yield
    while _started:
        with _started.pop() as process:
            process.kill()


def start(
    folder: Path, arguments: list[str], *, in_new_session: bool = False
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tiny_agent_trainer", *arguments, "--quiet"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=in_new_session,
    )  # fmt: skip
    _started.append(process)
    return process


def configure(folder: Path, workers: int, epochs: int = 2, lr: float = 0.001) -> list[str]:
    config = folder / f"workers{workers}.toml"
    config.write_text(CONFIG.format(workers=workers, epochs=epochs, lr=lr))
    return ["--config", str(config), "--results", str(folder / "results")]


def digest_of(process: "subprocess.Popen[str]") -> str:
    output, words = process.communicate()
    assert process.returncode == 0, words
    return next(line.split()[1] for line in output.splitlines() if line.startswith("run_digest"))


def followers_of(process: "subprocess.Popen[str]") -> list[int]:
    """The followers' process numbers; they are children of the leader."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"workers import main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def wait_for_checkpoint(folder: Path) -> Path:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = list((folder / "results").glob("workers*/checkpoints/last.safetensors"))
        if found:
            return found[0].parents[1]
        time.sleep(0.05)
    raise AssertionError("no checkpoint")


def test_one_two_and_four_workers_give_one_digest(tmp_path: Path) -> None:
    digests = {digest_of(start(tmp_path, configure(tmp_path, n))) for n in (1, 2, 4)}
    assert len(digests) == 1


def test_a_confined_re_run_works_alone_and_is_identical(tmp_path: Path) -> None:
    process = start(tmp_path, configure(tmp_path, 2))
    digest_of(process)
    (run,) = (tmp_path / "results").iterdir()
    command = [sys.executable, "-m", "tiny_agent_trainer", "verify", str(run)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "Landlock" in done.stdout:
        pytest.skip("this kernel cannot confine a process")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "environment" not in done.stdout  # nothing of this machine belongs to the experiment


def test_a_killed_worker_stops_the_run_which_can_be_resumed(tmp_path: Path) -> None:
    arguments = configure(tmp_path, 2, epochs=40)
    expected = digest_of(start(tmp_path, configure(tmp_path, 1, epochs=40)))
    process = start(tmp_path, [*arguments[:-1], str(tmp_path / "killed" / "results")])
    run = wait_for_checkpoint(tmp_path / "killed")
    (follower,) = followers_of(process)
    os.kill(follower, signal.SIGKILL)
    _, words = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 24, words
    assert "worker 1 ended with signal 9" in words
    assert "--resume" in words
    assert digest_of(start(tmp_path, ["--resume", str(run)])) == expected


def test_no_follower_outlives_a_killed_leader(tmp_path: Path) -> None:
    process = start(tmp_path, configure(tmp_path, 2, epochs=200))
    wait_for_checkpoint(tmp_path)
    (follower,) = followers_of(process)
    process.kill()
    process.communicate()
    for _ in range(400):
        if not Path(f"/proc/{follower}").exists():
            return
        time.sleep(0.05)
    os.kill(follower, signal.SIGKILL)
    pytest.fail("the follower went on without its leader")


def test_ctrl_c_is_for_the_leader_who_stops_all(tmp_path: Path) -> None:
    expected = digest_of(start(tmp_path, configure(tmp_path, 1, epochs=40)))
    arguments = [*configure(tmp_path, 2, epochs=40)[:-1], str(tmp_path / "stopped" / "results")]
    process = start(tmp_path, arguments, in_new_session=True)
    run = wait_for_checkpoint(tmp_path / "stopped")
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, words
    assert digest_of(start(tmp_path, ["--resume", str(run)])) == expected


def test_what_a_follower_refuses_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    process = start(tmp_path, configure(tmp_path, 2, epochs=60, lr=1e30))
    _, words = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 14, words
    assert "finite" in words


def test_native_arithmetic_has_one_worker(tmp_path: Path) -> None:
    arguments = configure(tmp_path, 2)
    config = Path(arguments[1])
    config.write_text(config.read_text().replace('"exact"', '"native"'))
    process = start(tmp_path, arguments)
    _, words = process.communicate()
    assert process.returncode == 10
    assert 'arithmetic = "exact"' in words
