# SPDX-License-Identifier: Apache-2.0
"""Broken input and refusing disks, by commands: the right exit code, a clear word, nothing lost.

Not tested here: hostile archives (tests/tamper/test_archive_tamper.py), single readers
(tests/unit/tokenizer), faults of the configuration one by one (tests/unit/config).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONFIG = """
[engine]
epochs = 3
batch_size = 16
checkpoint_every = "1 steps"
[data]
patients = 30
image_size = 16
[model]
name = "cnn"
width = 4
"""


def call(*arguments: object, cwd: Path | None = None, **environment: str):
    command = [sys.executable, "-m", "tiny_agent_trainer", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def write(folder: Path, text: str, name: str = "experiment") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 3 MiB; skipped where mounting is not permitted."""
    place = tmp_path / "mounted"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(options, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


INPUTS = ("config.toml", "config.resolved.json", "source.tar", "manifest.json")
"""The inputs of a run, by the names of their files; the sealed manifest is small beside them."""


def room_for(run: Path, share: float) -> int:
    """Bytes for a part of the inputs (below 1), or for all of them and a part of the rest."""
    pages = {path: -(-path.stat().st_size // 4096) for path in run.rglob("*") if path.is_file()}
    inputs = sum(count for path, count in pages.items() if path.name in INPUTS)
    rest = sum(pages.values()) - inputs
    return 4096 * int(share * inputs if share < 1 else inputs + (share - 1) * rest)


@pytest.mark.parametrize("share", [0.3, 1.4, 1.6, 1.8])
def test_a_full_disk_ends_with_18_and_loses_nothing(
    mount: Path, tmp_path: Path, share: float
) -> None:
    config = write(tmp_path, CONFIG)
    whole = call("--config", config, "--results", tmp_path / "whole", "--log-json")
    (run,) = (tmp_path / "whole").iterdir()
    filler = mount / "filler"
    filler.write_bytes(bytes(3 * 1024 * 1024 - room_for(run, share)))
    results = mount / "results"
    done = call("--config", config, "--results", results, "--quiet")
    assert done.returncode == 18, done.stdout + done.stderr
    assert "no space left on the device" in done.stderr
    filler.unlink()
    runs = [path for path in results.iterdir() if not path.name.startswith(".")]
    again = ["--resume", runs[0]] if runs else ["--config", config, "--results", results]
    assert bool(runs) == (share > 1)
    assert not [path for run in runs for path in run.rglob("*.part")]
    done = call(*again, "--log-json")
    assert done.returncode == 0, done.stderr
    digests = [json.loads(end.stdout.splitlines()[-1])["run_digest"] for end in (whole, done)]
    assert digests[0] == digests[1]


def test_a_results_directory_on_a_read_only_mount_ends_with_18(mount: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    done = call("--config", write(tmp_path, CONFIG), "--results", mount / "results")
    assert done.returncode == 18
    assert "read-only" in done.stderr
    assert str(mount / "results") in done.stderr


def test_runs_started_in_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    program = (
        "import datetime, sys\n"
        "from tiny_agent_trainer import clock\n"
        "from tiny_agent_trainer.experiments import run\n"
        "class Stopped(clock.SystemClock):\n"
        "    def now_utc(self):\n"
        "        return datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)\n"
        "done = run.run_experiment(sys.argv[1], results_dir=sys.argv[2], now=Stopped())\n"
        "print(done.run_digest)\n"
    )
    config = write(tmp_path, CONFIG)
    command = [sys.executable, "-c", program, str(config), str(tmp_path / "results")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(digests) == 1
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["experiment_20260102T030405Z", "experiment_20260102T030405Z_2"]


def test_a_run_in_use_is_not_resumed(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG.replace("epochs = 3", "epochs = 2000"))
    arguments = ["--config", str(config), "--results", str(tmp_path / "results"), "--log-json"]
    command = [sys.executable, "-m", "tiny_agent_trainer", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        next(line for line in process.stdout if '"event":"step"' in line)
        (run,) = (tmp_path / "results").iterdir()
        done = call("--resume", run)
        assert done.returncode == 20
        assert "another process is training it" in done.stderr
    finally:
        process.kill()
        process.communicate()


def test_a_resume_with_changed_inputs_is_refused_and_named(tmp_path: Path) -> None:
    done = call("--config", write(tmp_path, CONFIG), "--results", tmp_path / "results", "--quiet")
    assert done.returncode == 0
    (run,) = (tmp_path / "results").iterdir()
    assert call("--resume", run).returncode == 0  # sealed: nothing to do
    (run / "manifest.json").unlink()
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("epochs = 3", "epochs = 4"))
    done = call("--resume", run)
    assert done.returncode == 20
    assert "the configuration" in done.stderr
    (run / "config.toml").write_text(text)
    (run / "source.tar").write_bytes(b"")
    (run / "config.resolved.json").write_text("{}\n")
    done = call("--resume", run)
    assert done.returncode == 20
    assert "config.resolved.json was changed; source.tar was changed" in done.stderr
    assert call("--resume", tmp_path).returncode == 20


def test_a_foreign_checkpoint_is_refused_and_left_in_place(tmp_path: Path) -> None:
    call("--config", write(tmp_path, CONFIG), "--results", tmp_path / "results", "--quiet")
    (run,) = (tmp_path / "results").iterdir()
    (run / "manifest.json").unlink()
    last = run / "checkpoints" / "last.safetensors"
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    foreign = len(header).to_bytes(8, "little") + header
    last.write_bytes(foreign)
    done = call("--resume", run)
    assert done.returncode == 15
    assert "without our metadata" in done.stderr
    assert last.read_bytes() == foreign


def test_a_foreign_best_checkpoint_is_not_sealed(tmp_path: Path) -> None:
    call("--config", write(tmp_path, CONFIG), "--results", tmp_path / "results", "--quiet")
    (run,) = (tmp_path / "results").iterdir()
    (run / "manifest.json").unlink()
    best, last = (run / "checkpoints" / name for name in ("best.safetensors", "last.safetensors"))
    best.write_bytes(last.read_bytes())
    done = call("--resume", run)
    assert done.returncode == 15, done.stderr
    assert "expected the network of epoch" in done.stderr
    assert not (run / "manifest.json").exists()


def test_changed_results_are_not_shown_as_genuine(tmp_path: Path) -> None:
    call("--config", write(tmp_path, CONFIG), "--results", tmp_path / "results", "--quiet")
    (run,) = (tmp_path / "results").iterdir()
    metrics = run / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"auroc"', '"auroc" ', 1))
    for command in (["show", run], ["compare", run, run]):
        done = call(*command)
        assert done.returncode == 19, done.stderr
        assert "metrics.json: expected SHA-256" in done.stderr
    metrics.write_text("{}")
    listed = call("list", "--results", tmp_path / "results", COLUMNS="300")
    assert listed.returncode == 0
    assert "damaged" in listed.stdout


def test_files_where_directories_should_be_end_with_18(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("--config", write(tmp_path, CONFIG), "--results", tmp_path / "file")
    assert done.returncode == 18
    assert "a file where a directory should be" in done.stderr


def test_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG)
    assert call("--results", tmp_path, "run", config).returncode == 2
    assert call("--quiet", "list").returncode == 2
    assert call("--resume", tmp_path, "--results", tmp_path).returncode == 2


def test_a_last_batch_too_small_for_batch_norm_is_refused_before_training(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG.replace("batch_size = 16", "batch_size = 16\nshard_size = 1"))
    config.write_text(config.read_text() + "layers = 5\n")
    done = call("--config", config, "--results", tmp_path / "results")
    assert done.returncode == 21, done.stderr
    assert "in training on 1 samples" in done.stderr


def test_pretrained_networks_are_refused(tmp_path: Path) -> None:
    model = '[model]\nname = "monai:DenseNet121"\n[model.arguments]\nspatial_dims = 2\n'
    text = CONFIG[: CONFIG.index("[model]")] + model
    text += "in_channels = 1\nout_channels = 2\npretrained = true\n"
    done = call("--config", write(tmp_path, text), "--results", tmp_path / "results")
    assert done.returncode == 21, done.stderr
    assert "[model.weights]" in done.stderr


def test_a_loss_that_is_not_finite_ends_with_14_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG + "[optimizer]\nname = 'sgd'\nlr = 1e30\n")
    done = call("--config", config, "--results", tmp_path / "results", "--quiet")
    assert done.returncode == 14, done.stderr
    assert "at step 2 (epoch 1), samples" in done.stderr
    (run,) = (tmp_path / "results").iterdir()
    assert (run / "checkpoints" / "last.safetensors").is_file()
    assert "stopped:" in (run / "observed" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (None, 11, "put breastmnist.npz from"),
        (lambda data: b"", 12, "(0 bytes)"),
        (lambda data: data[: len(data) // 2], 12, "the right name, but another"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), 12, "the right name, but another"),
    ],
    ids=["absent", "empty", "truncated", "changed"],
)
def test_absent_and_damaged_datasets(
    tmp_path: Path, shared_data: Path, damage, code: int, words: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if damage is not None:
        data = (shared_data / "medmnist" / "breastmnist.npz").read_bytes()
        (folder / "breastmnist.npz").write_bytes(damage(data))
    text = '[data]\nreader = "medmnist"\ndataset = "breastmnist"\ndownload = false\n'
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = call("--config", write(tmp_path, text), "--data", folder, **environment)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "750601b1f35ba3300ea97c75c52ff8f6" in done.stderr


def test_the_leak_of_breastmnist_is_refused_with_its_indices(
    tmp_path: Path, shared_data: Path
) -> None:
    text = '[data]\nreader = "medmnist"\ndataset = "breastmnist"\n'
    done = call("--config", write(tmp_path, text), "--data", shared_data / "medmnist")
    assert done.returncode == 13
    assert "test/76" in done.stderr
    assert "train/115" in done.stderr
    assert "allow_leaks = true" in done.stderr


def image_folder(folder: Path, classes: int = 2, copies: int = 1) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in range(classes):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for index in range(6 * copies):
                pixels = generator.integers(0, 256, (16, 16), np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")


FOLDER_CONFIG = """
[engine]
epochs = 1
[data]
reader = "image_folder"
[model]
name = "mlp"
"""


def test_a_folder_of_images_trains(tmp_path: Path) -> None:
    image_folder(tmp_path / "images")
    config = write(tmp_path, FOLDER_CONFIG)
    done = call("--config", config, "--data", tmp_path / "images", "--results", tmp_path / "r")
    assert done.returncode == 0, done.stderr


def test_a_size_beyond_memory_ends_with_12_and_names_the_bytes(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG + "[tokenizer]\nresize = 1000000\n")
    done = call("--config", config, "--results", tmp_path / "results")
    assert done.returncode == 12, done.stderr
    needed = re.search(r"\[tokenizer\] resize: .* 1 x 1000000 x 1000000, (\d+) bytes", done.stderr)
    assert needed is not None, done.stderr
    assert int(needed[1]) > 30 * 1000000**2
    assert re.search(r"of which \d+ bytes are available", done.stderr)
    assert not list((tmp_path / "results").iterdir())


def test_one_class_only_ends_with_12(tmp_path: Path) -> None:
    image_folder(tmp_path / "images", classes=1)
    done = call("--config", write(tmp_path, FOLDER_CONFIG), "--data", tmp_path / "images")
    assert done.returncode == 12
    assert "all of class 'class0'" in done.stderr


def test_one_class_only_in_validation_says_which_metric_to_choose(tmp_path: Path) -> None:
    image_folder(tmp_path / "images")
    shutil.rmtree(tmp_path / "images" / "val" / "class1")
    config = write(tmp_path, FOLDER_CONFIG)
    arguments = ["--data", tmp_path / "images", "--results", tmp_path / "r"]
    done = call("--config", config, *arguments)
    assert done.returncode == 12
    assert "choose another metric" in done.stderr
    config = write(tmp_path, FOLDER_CONFIG + "[validator]\nmetric = 'accuracy'\n")
    assert call("--config", config, *arguments).returncode == 0


def test_a_sample_in_two_splits_ends_with_13_unless_allowed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    image_folder(images)
    shutil.copy(images / "train" / "class0" / "0.png", images / "test" / "class0" / "copy.png")
    done = call("--config", write(tmp_path, FOLDER_CONFIG), "--data", images)
    assert done.returncode == 13
    assert "test/class0/copy.png" in done.stderr
    allowed = FOLDER_CONFIG.replace("[model]", "allow_leaks = true\n[model]")
    config = write(tmp_path, allowed)
    done = call("--config", config, "--data", images, "--results", tmp_path / "r", "--quiet")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "r").iterdir()
    summary = (run / "run_summary.md").read_text()
    assert "The splits leak, which the configuration allows" in summary
    assert "copy.png" not in summary
    assert "The splits leak" in (run / "report.html").read_text()
