# SPDX-License-Identifier: Apache-2.0
"""DICOM files as a labelled study for benchmarks, prepared at 64 pixels."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import prepare
from tiny_agent_trainer.tokenizer import samples

EDGE = 64
"""Pixels along an edge of a prepared image."""


class Study:
    """Copies of files with a table that makes two classes of them.

    Args:
        source: Where the files are.
        keys: Which of them, relative to it; each counts as a patient of its own.
        scratch: Where the copies and the caches go.
    """

    def __init__(self, source: Path, keys: Sequence[str], scratch: Path) -> None:
        self.root, self.scratch = scratch / "files", scratch
        self.root.mkdir(parents=True)
        self.paths = [self.root / f"{number:05}.dcm" for number in range(len(keys))]
        lines = ["image,finding,patient"]
        for number, (key, path) in enumerate(zip(keys, self.paths, strict=True)):
            shutil.copyfile(source / key, path)
            lines.append(f"{path.name},{'AB'[number % 2]},{number}")
        (self.root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def tables(self, cache: Path) -> str:
        """The configuration of the data: gray from the darkest to the brightest value."""
        return f"""
[data]
reader = "folder"
root = "{self.root}"
cache = "{cache}"
allow_leaks = true
on_refused = "list"
[data.images.dicom]
volumes = "never"
[data.labels]
file = "labels.csv"
id_column = "image"
id_name = "file"
column = "finding"
patient_column = "patient"
[tokenizer]
intensity = "percentile"
percentiles = [0.0, 100.0]
resize = {EDGE}
channels = 1
"""

    def read(self, cache: Path) -> prepare.PreparedData:
        """The data as a run reads them, from the cache where that holds them."""
        config = trainer_config.parse_config(self.tables(cache).encode(), "benchmark")
        return prepare.read_data(config, None, samples.silent)
