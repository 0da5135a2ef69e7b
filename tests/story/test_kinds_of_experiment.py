# SPDX-License-Identifier: Apache-2.0
"""Every kind of data, network, optimiser and schedule goes from a configuration to a sealed run.

Not tested here: whether the networks learn much in two steps; the accuracy of real experiments is
measured on real data outside the suite.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.run import FinishedRun, run_experiment
from tiny_agent_trainer.experiments.run_directory.integrity import require_sound
from tiny_agent_trainer.tokenizer import medmnist

Train = Callable[[str], FinishedRun]
EDGE = 12


def publish(folder: Path, name: str, *, dims: int, channels: int, task: str, classes: int) -> dict:
    """Write a small file in the form of MedMNIST and describe it as the listing does."""
    generator = np.random.default_rng(len(name))
    arrays = {}
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        shape = (count, *[EDGE] * dims, *([3] if channels == 3 else []))
        labels = np.arange(count)[:, None] % classes
        if task == "multilabel":
            labels = generator.integers(0, 2, (count, classes))
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, np.uint8)
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    np.savez(folder / f"{name}.npz", **arrays)
    content = (folder / f"{name}.npz").read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {
        "task": task, "classes": [f"c{i}" for i in range(classes)], "channels": channels,
        "dims": dims, "files": {"28": {"name": f"{name}.npz", "md5": md5}},
    }  # fmt: skip


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    kinds = {
        "gray": {"dims": 2, "channels": 1, "task": "multiclass", "classes": 2},
        "colour": {"dims": 2, "channels": 3, "task": "multiclass", "classes": 3},
        "volumes": {"dims": 3, "channels": 1, "task": "multiclass", "classes": 2},
        "labels": {"dims": 2, "channels": 1, "task": "multilabel", "classes": 3},
    }
    listed = {name: publish(tmp_path, name, **kind) for name, kind in kinds.items()}
    monkeypatch.setattr(medmnist, "listing", lambda: listed)

    def train(text: str) -> FinishedRun:
        config = tmp_path / "kind.toml"
        config.write_text("[engine]\nepochs = 2\nbatch_size = 16\n" + text)
        return run_experiment(config, results_dir=tmp_path / "results", data_dir=tmp_path)

    return train


def data(name: str) -> str:
    return f'[data]\nreader = "medmnist"\ndataset = "{name}"\n'


def require_finished(finished: FinishedRun) -> None:
    assert finished.outcome == "completed"
    require_sound(finished.path)
    metrics = json.loads((finished.path / "metrics.json").read_text())
    assert len(metrics["training"]["history"]) == 2
    assert metrics["splits"]["test"]["num_samples"] == 12
    assert b"<svg" in (finished.path / "report.html").read_bytes()


@pytest.mark.parametrize("kind", ["gray", "colour", "volumes"])
@pytest.mark.parametrize(
    "model",
    [
        '[model]\nname = "mlp"\nhidden = []\n',
        '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\nactivation = "gelu"\ndropout = 0.1\n',
        '[model]\nname = "resnet18"\nwidth = 4\n',
        '[tokenizer]\nkind = "patches"\n[model]\nname = "vit"\nlayers = 1\nwidth = 12\n',
    ],
    ids=["mlp", "cnn", "resnet18", "vit"],
)
def test_networks_train_on_images_colours_and_volumes(train: Train, kind: str, model: str) -> None:
    require_finished(train(data(kind) + model))


def test_a_monai_network_trains(train: Train) -> None:
    model = (
        '[model]\nname = "monai:ResNet"\n[model.arguments]\nspatial_dims = "{dims}"\n'
        'n_input_channels = "{channels}"\nnum_classes = "{classes}"\nblock = "basic"\n'
        "layers = [1, 1, 1, 1]\nblock_inplanes = [4, 8, 8, 8]\n"
    )
    require_finished(train(data("colour") + model))


def test_a_network_that_does_not_fit_the_images_is_refused(train: Train) -> None:
    model = (
        '[model]\nname = "monai:EfficientNetBN"\n[model.arguments]\nspatial_dims = 2\n'
        'in_channels = 3\nnum_classes = 3\nmodel_name = "efficientnet-b0"\npretrained = false\n'
    )
    with pytest.raises(errors.ModelError, match="from input 3 x 12 x 12 to 3 numbers"):
        train(data("colour") + model)


def test_multilabel_data_train_with_the_binary_loss_and_refuse_the_other(train: Train) -> None:
    model = '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n'
    with pytest.raises(errors.DatasetError, match='write name = "binary_cross_entropy"'):
        train(data("labels") + model)
    loss = '[optimizer.loss]\nname = "binary_cross_entropy"\nclass_weights = "balanced"\n'
    finished = train(data("labels") + model + loss)
    require_finished(finished)
    header = (finished.path / "predictions_test.csv").read_text().splitlines()[0]
    assert "label_c0" in header


@pytest.mark.parametrize(
    "optimizer",
    [
        '[optimizer]\nname = "sgd"\nmomentum = 0.9\nnesterov = true\nclip_norm = 0.5\n'
        '[schedule]\nname = "step"\n',
        '[optimizer]\nname = "adamw"\nweight_decay = 0.1\n[schedule]\nname = "polynomial"\n',
        "[optimizer.loss]\nclass_weights = [1.0, 2.0]\nlabel_smoothing = 0.1\n"
        '[schedule]\nname = "cosine"\nwarmup_steps = 2\n',
    ],
    ids=["sgd", "adamw", "weighted"],
)
def test_optimisers_schedules_and_losses_train(train: Train, optimizer: str) -> None:
    model = '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n'
    require_finished(train(data("gray") + model + optimizer))


def test_augmentation_and_resizing_train_and_change_the_result(train: Train) -> None:
    model = '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n[tokenizer]\nresize = 10\nchannels = 3\n'
    plain = train(data("gray") + model)
    changes = (
        "[tokenizer.augmentation]\nflip_horizontal = true\nflip_vertical = true\n"
        "quarter_turns = true\nshift_pixels = 2\nintensity_scale = 0.1\nintensity_offset = 0.1\n"
    )
    changed = train(data("gray") + model + changes)
    require_finished(changed)
    assert changed.run_digest != plain.run_digest


def test_weights_are_taken_from_a_file_and_patience_stops_early(
    train: Train, tmp_path: Path
) -> None:
    model = '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n'
    first = train(data("gray") + model)
    best = first.path / "checkpoints" / "best.safetensors"
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    weights = f'[model.weights]\npath = "{best}"\nsha256 = "{digest}"\n'
    require_finished(train(data("gray") + model + weights))
    config = tmp_path / "patient.toml"
    config.write_text(
        "[engine]\nepochs = 50\npatience = 2\n" + data("gray") + model + "[optimizer]\nlr = 1e-9\n"
    )
    stopped = run_experiment(config, results_dir=tmp_path / "results", data_dir=tmp_path)
    assert stopped.outcome == "stopped_early"
    require_sound(stopped.path)
