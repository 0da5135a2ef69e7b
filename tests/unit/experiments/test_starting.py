# SPDX-License-Identifier: Apache-2.0
"""What killed starts leave is swept by the next start, and nothing that anybody works on is.

Not tested here: kills at every write (tests/story/test_kill.py), names of runs that start in the
same second (tests/story/test_hostile_input.py).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.trainer_config import LoadedConfig, TrainerConfig
from tiny_agent_trainer.experiments import starting

NAME = ".started_20260102T030405Z.{pid}.part"
STARTER = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_starting
from tiny_agent_trainer import clock
"""


def inputs():
    return starting.Inputs(
        loaded=LoadedConfig(config=TrainerConfig(), text=b"", stem="started"),
        data_manifest=b"{}\n",
        source={"a.py": b""},
        identity={},
        experiment_digest="sha256:experiment-v1:00",
    )


def start(results, now):
    run, lock = starting.start_run(results, inputs(), now)
    lock.close()
    return run


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def run_program(program, results):
    command = [sys.executable, "-c", STARTER + program, str(results)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_start_left_is_swept(tmp_path, fixed_clock):
    for pid in (1, os.getpid(), 10**9):  # a number says nothing: another process may have it by now
        left = tmp_path / NAME.format(pid=pid)
        (left / "data").mkdir(parents=True)
        (left / "config.toml").write_text("")
    run = start(tmp_path, fixed_clock)
    assert names_in(tmp_path) == [run.name]


@pytest.mark.parametrize(
    "name", [".part", ".mine.part", ".restoring-abc", "a_20260102T030405Z.1.part"]
)
def test_what_is_not_a_hidden_start_is_left_alone(tmp_path, fixed_clock, name):
    (tmp_path / name).mkdir()
    (tmp_path / NAME.format(pid=1)).symlink_to(tmp_path / name)
    start(tmp_path, fixed_clock)
    assert (tmp_path / name).is_dir()


def test_a_start_under_way_is_left_alone_until_it_is_killed(tmp_path, fixed_clock):
    program = (
        "def wait(*_):\n"
        "    print('made', flush=True)\n"
        "    import time; time.sleep(60)\n"
        "test_starting.starting._fill = wait\n"
        "test_starting.start(Path(sys.argv[1]), clock.SystemClock())\n"
    )
    process = run_program(program, tmp_path)
    assert process.stdout.readline() == "made\n"
    (hidden,) = tmp_path.iterdir()
    first = start(tmp_path, fixed_clock)
    assert names_in(tmp_path) == sorted([hidden.name, first.name])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    second = start(tmp_path, fixed_clock)
    assert names_in(tmp_path) == sorted([first.name, second.name])


def test_starts_at_once_do_not_sweep_each_other(tmp_path):
    program = "for _ in range(15): test_starting.start(Path(sys.argv[1]), clock.SystemClock())"
    processes = [run_program(program, tmp_path) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(names_in(tmp_path)) == 45
    assert not [name for name in names_in(tmp_path) if name.startswith(".")]


def test_a_start_that_fails_leaves_nothing(tmp_path, fixed_clock, monkeypatch):
    refusal = errors.StorageError(where="", expected="", found="", remedy="")

    def refuse(*_):
        raise refusal

    monkeypatch.setattr(starting, "_claim", refuse)
    with pytest.raises(errors.StorageError):
        start(tmp_path, fixed_clock)
    assert names_in(tmp_path) == []
