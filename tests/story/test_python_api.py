# SPDX-License-Identifier: Apache-2.0
"""The Python API: run, load, archive and verify as functions.

Not tested here: what the functions do in detail; the other stories do.
"""

from pathlib import Path

import numpy as np
import torch

import tiny_agent_trainer as trainer
from tiny_agent_trainer.config.data import PhantomOptions
from tiny_agent_trainer.tokenizer.phantom import PhantomReader
from tiny_agent_trainer.tokenizer.preparation import prepare

CONFIG = """
[engine]
epochs = 1
[data]
patients = 30
image_size = 16
[model]
name = "cnn"
width = 4
"""


def test_a_loaded_run_predicts_what_its_predictions_file_says(tmp_path: Path) -> None:
    (tmp_path / "api.toml").write_text(CONFIG)
    finished = trainer.run_experiment(tmp_path / "api.toml", results_dir=tmp_path / "results")
    loaded = trainer.load(finished.path)
    dataset = PhantomReader(PhantomOptions(patients=30, image_size=16)).read()
    tests = [i for i, sample in enumerate(dataset.samples) if sample.split == "test"]
    stored = [prepare.prepare(dataset.images[i], loaded.config.tokenizer) for i in tests]
    with torch.no_grad():
        logits = loaded.network(torch.from_numpy(loaded.tokenizer.encode(np.stack(stored))))
    found = sorted(torch.softmax(logits, 1)[:, 1].tolist())
    lines = (finished.path / "predictions_test.csv").read_text().splitlines()
    expected = sorted(float(line.split(",")[-1]) for line in lines[1:])
    assert len(expected) == len(tests)
    assert np.allclose(found, expected, rtol=1e-5)
    assert loaded.classes == ("no lesion", "lesion")


def test_archive_and_verify_are_functions(tmp_path: Path) -> None:
    (tmp_path / "api.toml").write_text(CONFIG)
    finished = trainer.run_experiment(tmp_path / "api.toml", results_dir=tmp_path / "results")
    archived = trainer.archive_experiment(finished.path, archive_dir=tmp_path / "archive")
    assert archived.run_digest == finished.run_digest
    report = trainer.verify_experiment(archived.path)
    assert report.exit_code in (0, 3), report.reasons  # 3 only where nothing can be confined
    assert report.is_identical or "Landlock" in report.reasons[0]
