# SPDX-License-Identifier: Apache-2.0
"""`init` turns a folder and a table into a configuration that runs, or says what is missing.

Not tested here: which column is which (tests/unit/tokenizer/labels/test_recognise.py).
"""

import json
import subprocess
import sys

import dicom_files
import numpy as np
import pytest
from PIL import Image

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments.first_config import begin
from tiny_agent_trainer.tokenizer.labels import recognise

EDGE = 20


def call(*arguments, cwd):
    command = [sys.executable, "-m", "tiny_agent_trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def picture(index):
    """Noise whose upper half is brighter in every second image."""
    values = np.random.default_rng(index).integers(0, 120, (EDGE, EDGE))
    values[: EDGE // 2] += 100 * (index % 2)
    return values.astype(np.uint8)


def write_folder(root, count=48, column="kind"):
    root.mkdir()
    lines = [f"image,{column},age"]
    for i in range(count):
        Image.fromarray(picture(i)).save(root / f"{i:03}.png")
        lines.append(f"{i:03},{'ab'[i % 2]},{20 + i * 1.5}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def begun(root, tmp_path, **others):
    output = tmp_path / "made.toml"
    return begin.begin(root, output, others.pop("labels", "labels.csv"), **others)


def test_what_it_writes_runs_to_a_report(tmp_path):
    write_folder(tmp_path / "data", column="label")
    done = call("init", "data", "--labels", "labels.csv", "--output", "x.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 x 20" in done.stdout
    assert "label column 'label' (by its name): scheme class" in done.stdout
    config = tmp_path / "x.toml"
    config.write_text(config.read_text().replace("epochs = 20", "epochs = 2"))
    done = call("--config", "x.toml", "--results", "results", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test AUC" in done.stdout


def test_numbers_get_the_loss_and_the_metric_of_numbers(tmp_path):
    root = write_folder(tmp_path / "data")
    made = begun(root, tmp_path, wishes=recognise.Wishes(labels=("age",)))
    config = trainer_config.read_config(made.config).config
    assert (config.validator.metric, config.optimizer.loss.name) == ("mae", "mean_squared_error")
    assert config.data.labels.scheme == "regression"


def run_for(made, tmp_path, epochs=2):
    """The run that the configuration makes as it is, but shorter."""
    made.config.write_text(made.config.read_text().replace("epochs = 20", f"epochs = {epochs}"))
    arguments = ("--config", made.config, "--results", "results", "--quiet")
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "results").iterdir()
    return found


def test_grades_are_what_the_user_says_and_train(tmp_path):
    root = write_folder(tmp_path / "data", count=60)
    lines = ["image,grade", *(f"{i:03},{i % 3}" for i in range(60))]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    done = call(
        "init", "data", "--labels", "labels.csv", "--labels-as", "ordinal", "--output",
        "made.toml", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = trainer_config.read_config(tmp_path / "made.toml").config
    assert made.data.labels.classes == ("0", "1", "2")
    assert (made.optimizer.loss.name, made.validator.metric) == (
        "ordinal",
        "quadratic_weighted_kappa",
    )


def test_rows_without_a_label_are_left_out_and_listed(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    table = root / "labels.csv"
    lines = table.read_text().splitlines()
    lines[5], lines[9] = "004,,26", "008, ,32"
    table.write_text("\n".join(lines) + "\n")
    made = begun(root, tmp_path)
    assert len(made.listed) == 46
    assert "2 of 48 rows are blank in it" in made.config.read_text()
    summary = (run_for(made, tmp_path) / "run_summary.md").read_text()
    assert "2 rows whose label is blank were left out: lines 6, 10." in summary
    listed = (root / ".tiny-agent-trainer" / "unmatched.txt").read_text()
    assert listed == "row without label: line 6: 004\nrow without label: line 10: 008\n"


def test_the_fingerprint_counts_every_value_and_names_nobody(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    made = begun(root, tmp_path)
    about = json.loads(made.fingerprint.read_text())
    counts = np.concatenate([picture(i).reshape(-1) for i in range(48)])
    intensities = about["intensities"]["unknown"]
    assert intensities["values"] == counts.size == sum(intensities["histogram"]["counts"])
    assert intensities["largest"] == counts.max()
    ranked = np.sort(counts)
    assert intensities["quantiles"]["50.0"] == ranked[500 * (counts.size - 1) // 1000]
    assert sum(split["images"] for split in about["splits"].values()) == about["images"] == 48
    assert ".png" not in made.fingerprint.read_text()


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    first = begun(root, tmp_path)
    content = first.config.read_bytes(), first.fingerprint.read_bytes()
    first.config.unlink()
    again = begun(root, tmp_path)
    assert (again.config.read_bytes(), again.fingerprint.read_bytes()) == content


def test_equal_images_are_kept_in_one_split_by_choosing_another_division(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    for i in range(0, 4, 2):
        (root / f"{i:03}.png").write_bytes((root / f"{i + 8:03}.png").read_bytes())
    made = begun(root, tmp_path)
    assert not trainer_config.read_config(made.config).config.data.allow_leaks


def test_many_copies_are_kept_in_one_split_and_the_configuration_runs(tmp_path):
    root = write_folder(tmp_path / "data", count=60, column="label")
    for i in range(30):
        (root / f"{i + 30:03}.png").write_bytes((root / f"{i:03}.png").read_bytes())
    made = begun(root, tmp_path)
    config = trainer_config.read_config(made.config).config
    assert config.data.split.keep_linked
    assert not config.data.allow_leaks
    assert len(made.linked) == 60
    summary = (run_for(made, tmp_path) / "run_summary.md").read_text()
    told = "60 patients share equal or nearly equal images with others; each of their 30 groups"
    assert told in made.config.read_text()
    assert told in summary


def test_copies_in_folders_of_classes_are_kept_in_one_split_too(tmp_path):
    root = tmp_path / "data"
    for i in range(60):
        place = root / ("sick", "well")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i % 30)).save(place / f"{i}.png")
    made = begun(root, tmp_path, labels="")
    assert trainer_config.read_config(made.config).config.data.split.keep_linked
    listed = {sample.key: sample.split for sample in made.listed}
    run = run_for(made, tmp_path)
    rows = json.loads((run / "data" / "manifest.json").read_text())["samples"]
    counts = {
        split: [row["split"] for row in rows].count(split) for split in ("train", "val", "test")
    }
    assert counts == {split: list(listed.values()).count(split) for split in counts}


def test_leaks_that_no_division_avoids_are_not_allowed_in_silence(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    for i in range(2, 48, 2):
        (root / f"{i:03}.png").write_bytes((root / "000.png").read_bytes())
    with pytest.raises(errors.LeakError, match="--allow-leaks"):
        begun(root, tmp_path)
    assert not (tmp_path / "made.toml").exists()
    made = begun(root, tmp_path, allow_leaks=True)
    assert trainer_config.read_config(made.config).config.data.allow_leaks


def test_the_division_of_a_run_is_one_that_other_configurations_can_use(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    made = begun(root, tmp_path)
    first = run_for(made, tmp_path, epochs=1)
    (split,) = (root / ".tiny-agent-trainer").glob("split_*.json")
    told = f'method = "file", path = ".tiny-agent-trainer/{split.name}"'
    assert told in (first / "observed" / "log.txt").read_text()
    before, _, after = made.config.read_text().partition("[data.split]\n")
    other = tmp_path / "other.toml"
    keys = f'[data.split]\nmethod = "file"\npath = ".tiny-agent-trainer/{split.name}"\n\n'
    other.write_text(before + keys + after.partition("\n\n")[2])
    assert trainer_config.read_config(other).config.data.split.method == "file"
    done = call("--config", other, "--results", "others", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (second,) = (tmp_path / "others").iterdir()
    manifests = [(run / "data" / "manifest.json").read_bytes() for run in (first, second)]
    assert manifests[0] == manifests[1]


def test_what_cannot_be_read_is_told_and_left_out(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    (root / "broken.png").write_bytes(b"no image")
    (root / "000.png").write_bytes((root / "000.png").read_bytes()[:100])
    made = begun(root, tmp_path)
    assert {one.key for one in made.seen.refusals} == {"broken.png", "000.png"}
    assert trainer_config.read_config(made.config).config.data.on_refused == "list"


def test_images_of_two_types_are_refused_with_their_numbers(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    for i in range(4):
        Image.fromarray(picture(i).astype(np.uint16) * 256).save(root / f"{i:03}.png")
    with pytest.raises(errors.DatasetError, match="4 of uint16, 44 of uint8"):
        begun(root, tmp_path)


def test_photographs_beside_radiographs_are_brought_to_one_range_and_train(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    for i in range(0, 48, 3):
        (root / f"{i:03}.png").unlink()
        shown = {"WindowCenter": 128, "WindowWidth": 256, "VOILUTFunction": "LINEAR_EXACT"}
        data = dicom_files.make(
            picture(i).astype(np.uint16), Modality="DX", PatientID=None, **shown
        )
        (root / f"{i:03}.dcm").write_bytes(data)
    made = begun(root, tmp_path)
    assert trainer_config.read_config(made.config).config.tokenizer.intensity == "display"
    assert "32 images of 8 bits stand beside 16 DICOM displays of 16" in made.config.read_text()
    run = run_for(made, tmp_path)
    assert '"intensity":"display"' in (run / "config.resolved.json").read_text()


def write_pet(root, count=24):
    """One slice per patient, hotter in every second one."""
    root.mkdir()
    dose = dicom_files.item(RadionuclideTotalDose="350000000", RadionuclideHalfLife="6586.2")
    pet = {
        "Modality": "PT", "Units": "BQML", "DecayCorrection": "ADMIN", "PatientWeight": "70",
        "CorrectedImage": ["DECAY", "ATTN"], "RescaleSlope": "0.75",
        "RadiopharmaceuticalInformationSequence": dicom_files.sequence(dose),
    }  # fmt: skip
    for i in range(count):
        names = {
            "PatientID": f"p{i}",
            "SeriesInstanceUID": f"1.2.{i}",
            "SOPInstanceUID": f"1.3.{i}",
        }
        pixels = picture(i).astype(np.int16) * 100
        (root / f"{i:03}.dcm").write_bytes(dicom_files.make(pixels, **pet, **names))
    lines = ["image,label", *(f"{i:03},{'ab'[i % 2]}" for i in range(count))]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def test_pet_trains_as_suv_without_a_line_of_code(tmp_path):
    made = begun(write_pet(tmp_path / "data"), tmp_path)
    config = trainer_config.read_config(made.config).config
    assert (config.tokenizer.intensity, config.tokenizer.window) == ("window", (0, 20))
    (kind,) = made.seen.kinds
    assert kind.modality == "PT"
    # 219 * 100 * 0.75 Bq/ml * 70000 g / 350 MBq = 3.285, of 20.
    about = json.loads(made.fingerprint.read_text())
    assert about["intensities"]["PT"]["largest"] == round(3.285 / 20 * 65535)
    summary = (run_for(made, tmp_path) / "run_summary.md").read_text()
    assert "24 of 24 images: standardised uptake values by body weight" in summary


def test_folders_of_classes_need_no_table(tmp_path):
    root = tmp_path / "data"
    for i in range(40):
        place = root / ("sick", "well")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(place / f"{i}.png")
    made = begun(root, tmp_path, labels="")
    config = trainer_config.read_config(made.config).config
    assert config.data.reader == "image_folder"
    assert made.dataset.classes == ("sick", "well")


def test_without_labels_it_says_what_is_missing(tmp_path):
    write_folder(tmp_path / "data")
    done = call("init", "data", cwd=tmp_path)
    assert done.returncode == errors.DatasetError.exit_code
    assert "--labels (the folder holds labels.csv)" in done.stderr


def test_a_table_outside_of_the_folder_is_not_copied_in_silence(tmp_path):
    root = write_folder(tmp_path / "data")
    (root / "labels.csv").rename(tmp_path / "labels.csv")
    done = call("init", "data", "--labels", "labels.csv", cwd=tmp_path)
    assert done.returncode == errors.UsageError.exit_code
    assert "cp labels.csv data/" in done.stderr
    assert not (root / "labels.csv").exists()


def test_a_configuration_that_is_there_is_left_alone(tmp_path):
    root = write_folder(tmp_path / "data", column="label")
    (tmp_path / "made.toml").write_text("mine")
    with pytest.raises(errors.UsageError):
        begun(root, tmp_path)
    assert (tmp_path / "made.toml").read_text() == "mine"


def test_the_projection_of_published_radiographs(tmp_path, shared_data):
    root = shared_data / "chest_xray_hannover"
    wishes = recognise.Wishes(labels=("projection",))
    made = begin.begin(root, tmp_path / "made.toml", "data.csv", wishes)
    config = trainer_config.read_config(made.config).config
    assert config.data.labels.patient_column == "patient_id"
    assert made.dataset.classes == ("ap", "pa")
    assert len(made.listed) == 243
    patients = {}
    for sample in made.listed:
        patients.setdefault(sample.patient, set()).add(sample.split)
    assert len(patients) == 71
    assert all(len(splits) == 1 for splits in patients.values())
