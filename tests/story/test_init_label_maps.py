# SPDX-License-Identifier: Apache-2.0
"""`init` takes a folder of label maps for what it is, where names leave no doubt.

Not tested here: how maps are paired and prepared (tests/unit/tokenizer/test_label_maps.py).
"""

import nibabel
import numpy as np
import pytest
from PIL import Image

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import run
from tiny_agent_trainer.experiments.first_config import begin, mapping

COUNT = 24
SHAPE = (9, 12, 10)


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nibabel.Nifti1Image(values, np.eye(4)).to_bytes())


def write_study(root, images="imagesTr", maps=("labelsTr",), ids="{}"):
    dice, rows = np.random.default_rng(0), ["image,finding"]
    for number in range(COUNT):
        name = f"la_{number:03}"
        values = dice.integers(0, 900, SHAPE)
        values[4:6, 4:6, 4:6] += 900 * (number % 2)
        write(root / images / f"{name}.nii", values.astype(np.int16))
        marked = np.zeros(SHAPE, np.uint8)
        marked[4:6, 4:6, 4:6] = 1
        for folder in maps:
            write(root / folder / f"{name}.nii", marked)
        rows.append(f"{ids.format(name)},{'no' if number % 2 else 'yes'}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    return root


def begun(root, tmp_path, **others):
    return begin.begin(root, tmp_path / "made.toml", "table.csv", **others)


def config_of(made):
    return trainer_config.read_config(made.config).config


@pytest.mark.parametrize(
    ("images", "maps"), [("imagesTr", "labelsTr"), ("images", "labels"), (".", "a/Masks_2")]
)
def test_what_it_writes_runs_on_patches_around_the_maps(tmp_path, images, maps):
    made = begun(write_study(tmp_path / "study", images, (maps,)), tmp_path)
    config = config_of(made)
    assert config.data.label_maps == maps
    assert len(made.listed) == COUNT
    assert not made.seen.refusals
    assert config.tokenizer.size == (16, 16, 16)
    patches = config.tokenizer.patches
    assert (patches.size, patches.foreground_fraction) == ((8, 8, 8), 0.5)
    assert f"{COUNT} files below {maps}" in made.config.read_text()
    if images == "imagesTr":
        text = made.config.read_text().replace("epochs = 20", "epochs = 1")
        made.config.write_text(text.replace("width = 8", "width = 2"))
        finished = run.run_experiment(made.config, results_dir=tmp_path / "results")
        assert "label_map_sha256" in (finished.path / "data/manifest.json").read_text()


def test_faults_of_pairs_are_told_and_left_out_by_the_configuration(tmp_path):
    root = write_study(tmp_path / "study")
    (root / "labelsTr/la_003.nii").unlink()
    write(root / "labelsTr/la_004.nii", np.zeros((2, 2, 2), np.uint8))
    write(root / "labelsTr/la_005.nii", np.full(SHAPE, 0.5, np.float32))
    made = begun(root, tmp_path)
    assert sorted(one.key for one in made.seen.refusals) == [
        "imagesTr/la_003.nii", "imagesTr/la_004.nii", "labelsTr/la_005.nii",
    ]  # fmt: skip
    assert len(made.listed) == COUNT - 3
    assert config_of(made).data.on_refused == "list"


def test_two_folders_that_could_be_meant_are_refused_with_both(tmp_path):
    root = write_study(tmp_path / "study", maps=("labelsTr", "masks"))
    with pytest.raises(errors.UsageError, match="labelsTr, masks") as caught:
        begun(root, tmp_path)
    assert "--label-maps" in caught.value.remedy


def test_a_folder_of_no_telling_name_is_taken_when_it_is_named(tmp_path):
    root = write_study(tmp_path / "study", maps=("drawn",))
    with pytest.raises(errors.TrainerError):
        begun(root, tmp_path)
    made = begun(root, tmp_path, label_maps="drawn/")
    assert config_of(made).data.label_maps == "drawn"
    with pytest.raises(errors.DatasetError, match="no image below nowhere"):
        begin.begin(root, tmp_path / "x.toml", "table.csv", label_maps="nowhere")


def test_files_that_the_table_names_are_images_whatever_their_folder_is_called(tmp_path):
    root = write_study(tmp_path / "study", ids="labelsTr/{}.nii")
    made = begun(root, tmp_path, allow_leaks=True)  # the maps are equal
    assert config_of(made).data.label_maps == ""
    assert {sample.key.split("/")[0] for sample in made.listed} == {"labelsTr"}


def test_volumes_of_other_names_are_no_label_maps(tmp_path):
    root = write_study(tmp_path / "study", maps=())
    write(root / "labels/other.nii", np.zeros(SHAPE, np.int16))
    assert config_of(begun(root, tmp_path)).data.label_maps == ""


def test_pictures_and_their_masks_are_no_two_classes(tmp_path):
    for folder in ("images", "masks"):
        for number in range(20):
            (tmp_path / "study" / folder).mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 255, (8, 8)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / "study" / folder / f"{number}.png")
    with pytest.raises(errors.DatasetError, match="label maps"):
        begin.begin(tmp_path / "study", tmp_path / "made.toml")


@pytest.mark.parametrize(
    ("name", "is_telling"),
    [
        ("labels", True), ("labelsTr", True), ("Masks", True), ("seg_2", True), ("label-map", True),
        ("labelled", False), ("images", False), ("segond", False), ("maskelyne", False),
    ],
)  # fmt: skip
def test_which_names_tell_of_label_maps(name, is_telling):
    assert mapping.names_label_maps(name) is is_telling


def test_patches_fit_their_volumes_and_no_volume_is_cut():
    sizes, patches = mapping.patch_keys([(31, 59, 24, 1), (43, 40, 47, 1)])
    assert sizes == {"size": [48, 64, 48]}
    assert patches["size"] == [24, 32, 24]
    sizes, patches = mapping.patch_keys([(512, 512, 3, 1)])
    assert sizes == {"resize": [128, 128, 8]}
    assert patches["size"] == [32, 32, 4]
