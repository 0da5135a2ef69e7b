# SPDX-License-Identifier: Apache-2.0
"""The committed DICOM experiment, made smaller, runs and is verified from its archive, anywhere.

Not tested here: the studies themselves (tests/unit/tokenizer/test_dicom_phantom.py).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_agent_trainer.experiments import isolation

CONFIG = Path(__file__).parents[2] / "experiments" / "configs" / "exp_020_dicom.toml"


def call(module, *arguments, cache):
    start = f"from tiny_agent_trainer.cli.{module} import main; main()"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_it_runs_and_its_archive_is_identical_with_and_without_the_studies(tmp_path):
    text = CONFIG.read_text().replace("patients = 300", "patients = 30")
    (tmp_path / "small.toml").write_text(text.replace("epochs = 10", "epochs = 1"))
    cache = tmp_path / "cache"
    done = call("main", "--config", tmp_path / "small.toml", "--results", tmp_path / "results",
                "--quiet", cache=cache)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "results").iterdir()
    done = call("main", "archive", run, "--archive-dir", tmp_path / "archive", cache=cache)
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "archive").glob("*.tar.gz")
    if not isolation.can_confine():
        pytest.skip("this machine cannot confine a re-run")
    for place in (cache, tmp_path / "empty"):
        done = call("verifier", archive, "--quiet", cache=place)
        assert (done.returncode, done.stdout.strip()) == (0, "identical"), done.stdout + done.stderr
