# SPDX-License-Identifier: Apache-2.0
"""`init` brings values of any type to a range, and asks where modalities are mixed.

Not tested here: what it writes of tables and divisions (tests/story/test_init.py).
"""

import json
import shutil
import subprocess
import sys

import dicom_files
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments.first_config import begin

COUNT = 24


def call(*arguments, cwd):
    command = [sys.executable, "-m", "tiny_agent_trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def write_table(root, names):
    lines = ["image,label", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(names))]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def begun(root, tmp_path, **others):
    return begin.begin(root, tmp_path / "made.toml", "labels.csv", **others)


def require_runs(made, tmp_path):
    """The run that the configuration makes as it is, but of one epoch; its resolved keys."""
    text = made.config.read_text().replace("epochs = 20", "epochs = 1")
    made.config.write_text(text.replace("width = 8", "width = 2"))
    done = call("--config", made.config, "--results", "results", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "results").iterdir()
    return json.loads((run / "config.resolved.json").read_text()), run


def tokenizer_of(made):
    return trainer_config.read_config(made.config).config.tokenizer


def noise(number, dtype=np.float32):
    values = np.random.default_rng(number).normal(300, 90, (9, 10, 8))
    values[:4] += 200 * (number % 2)
    return values.astype(dtype)


def write_nifti(root, volumes):
    root.mkdir()
    for number, values in enumerate(volumes):
        made = nibabel.Nifti1Image(values, np.eye(4))
        (root / f"v{number}.nii").write_bytes(made.to_bytes())
    write_table(root, [f"v{number}" for number in range(len(volumes))])
    return root


class TestFractions:
    def test_float32_volumes_train_by_their_percentiles(self, tmp_path):
        root = write_nifti(tmp_path / "data", [noise(i) for i in range(COUNT)])
        made = begun(root, tmp_path)
        assert len(made.listed) == COUNT
        assert not made.seen.refusals
        assert "as is usual for MR" in made.config.read_text()
        resolved, _ = require_runs(made, tmp_path)
        assert resolved["tokenizer"]["intensity"] == "percentile"
        assert resolved["tokenizer"]["normalization"] == "train"

    def test_one_fraction_in_the_last_volume_is_enough(self, tmp_path):
        volumes = [noise(i, np.int16) for i in range(COUNT - 1)]
        root = write_nifti(tmp_path / "data", [*volumes, noise(99)])
        made = begun(root, tmp_path)
        assert tokenizer_of(made).intensity == "percentile"
        assert sum(made.seen.kinds.values()) == COUNT

    def test_floats_that_are_whole_numbers_stay_what_they_are(self, tmp_path):
        root = write_nifti(tmp_path / "data", [np.rint(noise(i)) for i in range(COUNT)])
        assert tokenizer_of(begun(root, tmp_path)).intensity == "stored"

    def test_volumes_of_several_types_have_no_unit(self, tmp_path):
        types = (np.int16, np.uint8)
        root = write_nifti(tmp_path / "data", [noise(i, types[i % 2]) for i in range(COUNT)])
        assert tokenizer_of(begun(root, tmp_path)).intensity == "percentile"

    def test_the_same_folder_gives_the_same_bytes(self, tmp_path):
        root = write_nifti(tmp_path / "data", [noise(i) for i in range(COUNT)])
        first = begun(root, tmp_path).config.read_bytes()
        (tmp_path / "made.toml").unlink()
        assert begun(root, tmp_path).config.read_bytes() == first

    def test_published_volumes_of_the_hippocampus(self, tmp_path, shared_data):
        root = tmp_path / "data"
        shutil.copytree(shared_data / "nifti/hippocampus/images", root)
        write_table(root, sorted(path.name.split(".")[0] for path in root.iterdir()))
        made = begun(root, tmp_path)
        assert len(made.listed) == 105
        assert not made.seen.refusals
        resolved, _ = require_runs(made, tmp_path)
        assert resolved["tokenizer"]["intensity"] == "percentile"

    def test_published_slices_of_mr_with_a_fractional_slope(self, tmp_path, shared_data):
        root = tmp_path / "data"
        root.mkdir()
        paths = sorted((shared_data / "dicom/mr_t1_structural_sub40").rglob("*.dcm"))
        write_patients(root, paths, RescaleSlope="0.37", RescaleIntercept="0")
        made = begun(root, tmp_path, allow_leaks=True)
        (kind,) = made.seen.kinds
        assert (kind.modality, kind.dtype) == ("MR", "uint16")
        assert tokenizer_of(made).intensity == "percentile"
        require_runs(made, tmp_path)

    def test_ct_in_fractions_keeps_its_unit(self, tmp_path):
        root = tmp_path / "data"
        root.mkdir()
        write_series(root, "CT", RescaleSlope="0.5")
        write_table(root, [f"p{i}" for i in range(COUNT)])
        made = begun(root, tmp_path)
        assert tokenizer_of(made).window == (-1024, 3071)


def write_patients(root, paths, **elements):
    """Each file as the one image of a patient."""
    names = []
    for number, path in enumerate(paths):
        found = pydicom.dcmread(path)
        found.PatientID, found.SeriesInstanceUID = (
            f"p{number}",
            generate_uid(entropy_srcs=[path.name]),
        )
        for keyword, value in elements.items():
            setattr(found, keyword, value)
        found.save_as(root / path.name)
        names.append(f"p{number}")
    write_table(root, names)


PET = {
    "Units": "BQML", "DecayCorrection": "ADMIN", "PatientWeight": "70",
    "CorrectedImage": ["DECAY", "ATTN"], "RescaleSlope": "0.75",
    "RadiopharmaceuticalInformationSequence": dicom_files.sequence(
        dicom_files.item(RadionuclideTotalDose="350000000", RadionuclideHalfLife="6586.2")
    ),
}  # fmt: skip


def write_series(root, modality, **elements):
    """A series of three slices for every patient, brighter in every second one."""
    for number in range(COUNT):
        base = np.random.default_rng([number, len(modality), ord(modality[0])])
        pixels = base.integers(0, 9000, (16, 16)).astype(np.int16)
        pixels[:8] += 9000 * (number % 2)
        series = dicom_files.stack(
            [0, 2, 4], pixels=pixels, Modality=modality, PatientID=f"p{number}",
            SeriesInstanceUID=f"1.2.{number}.{ord(modality[0])}", **elements,
        )  # fmt: skip
        folder = root / f"p{number}" / modality
        folder.mkdir(parents=True)
        for name, data in series.items():
            (folder / name).write_bytes(data)


class TestModalities:
    @pytest.fixture
    def root(self, tmp_path):
        """PET and CT of every patient in one tree."""
        root = tmp_path / "data"
        root.mkdir()
        write_series(root, "PT", **PET)
        write_series(root, "CT")
        write_table(root, [f"p{i}" for i in range(COUNT)])
        return root

    def test_two_of_them_are_told_with_the_option(self, root, tmp_path):
        done = call("init", "data", "--labels", "labels.csv", cwd=tmp_path)
        assert done.returncode == errors.UsageError.exit_code
        assert "24 of CT, 24 of PT" in done.stderr
        assert "--modality CT or --modality PT" in done.stderr
        assert not (tmp_path / "first.toml").exists()
        del root

    def test_pet_alone_trains_as_suv_and_the_report_counts_the_others(self, root, tmp_path):
        made = begun(root, tmp_path, modality="PT")
        assert len(made.listed) == COUNT
        assert tokenizer_of(made).window == (0, 20)
        resolved, run = require_runs(made, tmp_path)
        assert resolved["data"]["images"]["modality"] == "PT"
        told = "72 files of other modalities than PT were left out (CT 72)."
        assert told in (run / "run_summary.md").read_text()
        assert told in made.config.read_text()

    def test_ct_alone_stays_in_its_unit(self, root, tmp_path):
        made = begun(root, tmp_path, modality="CT")
        assert tokenizer_of(made).intensity == "stored"
        (kind,) = made.seen.kinds
        assert kind.modality == "CT"

    def test_a_table_that_names_series_of_one_decides(self, root, tmp_path):
        write_table(root, [f"1.2.{i}.{ord('P')}" for i in range(COUNT)])
        made = begun(root, tmp_path)
        assert tokenizer_of(made).window == (0, 20)
        assert len(made.listed) == COUNT

    @pytest.mark.parametrize(
        ("name", "error", "said"),
        [
            ("XA", errors.DatasetError, "144 files of other modalities: CT, PT"),
            ("pet", errors.UsageError, "capital letters"),
        ],
    )
    def test_one_that_is_not_there_is_refused(self, root, tmp_path, name, error, said):
        with pytest.raises(error, match=said):
            begun(root, tmp_path, modality=name)

    def test_files_that_name_none_stand_beside_all_but_pet(self, root, tmp_path):
        made = nibabel.Nifti1Image(noise(1, np.int16), np.eye(4))
        (root / "p1.nii").write_bytes(made.to_bytes())
        lines = (root / "labels.csv").read_text()
        write_table(root, [f"p{i}" for i in range(COUNT)])
        found = begun(root, tmp_path, modality="PT")
        told = "73 files of other modalities than PT were left out (CT 72, none named 1)."
        assert told in found.config.read_text()
        assert lines == (root / "labels.csv").read_text()
