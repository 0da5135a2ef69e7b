# SPDX-License-Identifier: Apache-2.0
"""The README's examples work as they stand there.

Not tested here: `make run` and `make test` themselves; this test is part of the second.
"""

import re
import subprocess
import sys
from pathlib import Path

from tiny_agent_trainer.config import trainer_config

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_smallest_configuration_is_three_lines_and_valid() -> None:
    (block,) = blocks("toml")
    assert len(block.splitlines()) == 3
    assert trainer_config.parse_config(block.encode(), "README").engine.epochs == 5


def test_the_python_example_runs(tmp_path: Path) -> None:
    (block,) = blocks("python")
    configs = tmp_path / "experiments" / "configs"
    configs.mkdir(parents=True)
    small = "[engine]\nepochs = 1\n[data]\npatients = 30\nimage_size = 16\n"
    (configs / "exp_001_baseline.toml").write_text(small)
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    confined = "Landlock" not in done.stdout + done.stderr
    assert done.returncode == 0 or not confined, done.stderr
    assert "sha256:results-v1:" in done.stdout


def test_the_commands_of_the_way_exist() -> None:
    way = next(block for block in blocks("sh") if "verifier" in block)
    called = re.findall(r"^(tiny-agent-trainer|verifier) *(\S+)", way, re.MULTILINE)
    assert [name for name, _ in called] == ["tiny-agent-trainer"] * 3 + ["verifier"]
    for name, argument in called[:3]:
        words = [argument, "--help"] if not argument.startswith("-") else ["--help"]
        command = [sys.executable, "-m", "tiny_agent_trainer", *words]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0, name
