# SPDX-License-Identifier: Apache-2.0
"""A run with loader threads has the run_digest of one without.

Not tested here: batches one by one (tests/unit/training/test_loading.py).
"""

from pathlib import Path

from tiny_agent_trainer.experiments.run import run_experiment

CONFIG = """
[engine]
epochs = 2
batch_size = 8
loader_workers = {workers}
[data]
patients = 30
image_size = 16
[model]
name = "cnn"
width = 4
[tokenizer]
intensity = "percentile"
[tokenizer.augmentation]
laterality = true
rotate_degrees = 15.0
scale = 0.1
elastic_pixels = 1.0
blur_passes = 1
gamma = 0.3
noise = 0.1
"""


def test_how_many_threads_prepare_batches_changes_no_result(tmp_path: Path) -> None:
    digests = set()
    for workers in (0, 2):
        config = tmp_path / "loader.toml"
        config.write_text(CONFIG.format(workers=workers))
        finished = run_experiment(config, results_dir=tmp_path / str(workers))
        assert finished.outcome == "completed"
        digests.add((finished.run_digest, finished.experiment_digest))
    assert len(digests) == 1
