# SPDX-License-Identifier: Apache-2.0
"""Published volumes with their label maps train on patches that hold what the maps mark.

Not tested here: faults of pairs, and how maps are prepared (unit/tokenizer/test_label_maps.py).
"""

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import prepare, run
from tiny_agent_trainer.tokenizer import samples

PAGE = Path(__file__).parents[2] / "docs" / "label-maps.md"
COUNT = 30
SHORT = """
[engine]
epochs = 2
batch_size = 6
loader_workers = {workers}
[model]
name = "cnn"
layers = 1
width = 2
"""


@pytest.fixture
def root(shared_data, tmp_path):
    """Some of the hippocampi, with a table."""
    root, rows = tmp_path / "hippocampus", ["image,finding"]
    names = sorted(path.name for path in (shared_data / "nifti/hippocampus/images").iterdir())
    for number, name in enumerate(names[:COUNT]):
        for part in ("images", "labels"):
            (root / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(shared_data / "nifti/hippocampus" / part / name, root / part / name)
        rows.append(f"{name.removesuffix('.nii.gz')},{'no' if number % 2 else 'yes'}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    return root


def config_of(root, more="", changes=()):
    """The configuration of the documentation."""
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    text = text.replace('root = "hippocampus"', f'root = "{root}"') + more
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def test_patches_hold_what_the_maps_mark(root):
    changes = [("size = [24, 24, 24]", "size = [9, 9, 9]"), ("= 0.75", "= 1.0")]
    config = trainer_config.parse_config(config_of(root, changes=changes).encode(), "x")
    found = prepare.read_data(config, None, samples.silent)
    marks, images = found.cohort.marked_NCS, found.cohort.prepared_NCS
    assert marks.shape == images.shape
    assert len(found.cohort.files) == 2 * COUNT + 1
    shares = []
    for ordinal, sample in enumerate(found.cohort.samples):
        name = Path(sample.key).name
        label = np.asanyarray(nibabel.load(root / "labels" / name).dataobj) > 0
        assert marks[ordinal].sum() == label.sum()
        batch = found.feed.training_batch(1, np.array([ordinal]))
        crop = found.feed.tokenizer.decode(batch.inputs)[0, 0]
        windows = np.lib.stride_tricks.sliding_window_view(images[ordinal, 0], crop.shape)
        (place,) = np.argwhere((windows == crop).all(axis=(3, 4, 5)))
        inside = tuple(slice(start, start + 9) for start in place)
        shares.append(marks[ordinal, 0][inside].any())
    assert all(shares)


def test_runs_are_equal_for_any_loader_workers_and_other_with_other_maps(root, tmp_path):
    digests = []
    for number, workers in enumerate((0, 2, 0)):
        path = tmp_path / f"{number}.toml"
        path.write_text(config_of(root, SHORT.format(workers=workers)))
        if number == 2:
            change_a_voxel(root / "labels")
        finished = run.run_experiment(path, results_dir=tmp_path / str(number))
        data = (finished.path / "data/manifest.json").read_bytes()
        digests.append((finished.run_digest, data))
    assert digests[0] == digests[1]
    assert digests[2][1] != digests[1][1]


def change_a_voxel(labels):
    path = min(labels.iterdir())
    stored = nibabel.load(path)
    values = np.asanyarray(stored.dataobj).copy()
    values[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(values, stored.affine, stored.header), path)
