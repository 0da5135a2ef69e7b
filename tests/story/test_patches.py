# SPDX-License-Identifier: Apache-2.0
"""A run on patches of volumes goes from a configuration to a sealed run, twice to the same digest.

Not tested here: patches one by one (tests/unit/tokenizer/test_cropping.py).
"""

from pathlib import Path

import numpy as np
import pytest

from tiny_agent_trainer.experiments import run
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.training import parts

CONFIG = """
[engine]
epochs = 2
batch_size = 8
[model]
name = "cnn"
layers = 1
width = 4
[tokenizer.patches]
size = [4, 6, 6]
foreground_fraction = 0.5
foreground_above = 200
evaluation = "grid"
"""


class Volumes:
    """A reader of made volumes."""

    def read(self) -> samples.Dataset:
        dice = np.random.default_rng(0)
        listed = [
            samples.Sample(key=str(i), patient=str(i), label=(i % 2,), split=split)
            for i, split in enumerate(["train"] * 12 + ["val"] * 6 + ["test"] * 6)
        ]
        images = [dice.integers(0, 256, (6, 9, 9, 1)).astype(np.uint8) for _ in listed]
        return samples.Dataset(
            name="made", task="multiclass", classes=("a", "b"), dims=3, samples=listed,
            images=images, files=(),
        )  # fmt: skip


def test_patches_train_and_are_evaluated_by_a_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = parts.build_part
    monkeypatch.setattr(
        parts, "build_part",
        lambda options, *rest: Volumes() if hasattr(options, "reader") else build(options, *rest),
    )  # fmt: skip
    found = set()
    for workers in (0, 2):
        config = tmp_path / "patches.toml"
        extra = CONFIG.replace("epochs = 2", f"epochs = 2\nloader_workers = {workers}")
        config.write_text(extra)
        finished = run.run_experiment(config, results_dir=tmp_path / str(workers))
        assert finished.outcome == "completed"
        assert len((finished.path / "predictions_test.csv").read_text().splitlines()) == 7
        found.add(finished.run_digest)
    assert len(found) == 1
