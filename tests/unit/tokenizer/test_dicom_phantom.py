# SPDX-License-Identifier: Apache-2.0
"""The phantom's DICOM studies hold the phantom's pixels, and are the same bytes everywhere.

Not tested here: the phantom itself (test_phantom.py), decoding in general (images/dicom).
"""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tiny_agent_trainer.config import data, trainer_config
from tiny_agent_trainer.tokenizer import dicom_phantom, phantom

SHARED = {"phantom_seed": 3, "patients": 12, "images_per_patient": 2, "image_size": 16}


def reader(root, **others):
    options = data.DicomPhantomOptions(
        reader="dicom_phantom", root=str(root), **{**SHARED, **others}
    )
    return dicom_phantom.DicomPhantomReader(options)


def plain():
    return phantom.PhantomReader(data.PhantomOptions(**SHARED)).read()


def contents(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_radiographs_are_inverted_back_to_the_phantoms_order_of_gray(tmp_path):
    found, expected = reader(tmp_path).read(), plain()
    assert len(found.samples) == len(expected.samples)
    for index, gray in enumerate(expected.images):
        shown = found.images[index].values.astype(np.int64)
        # 12 bits behind a window of full width, shown with 16 bits: one step is one gray value.
        order = np.argsort(gray.reshape(-1), kind="stable")
        assert (np.diff(shown.reshape(-1)[order]) >= 0).all()
        assert len(np.unique(shown)) == len(np.unique(gray))
    assert [one.label for one in found.samples] == [one.label for one in expected.samples]
    file = next((tmp_path / reader(tmp_path).name()).rglob("*.dcm"))
    assert pydicom.dcmread(file).PhotometricInterpretation == "MONOCHROME1"


def test_series_become_volumes_in_hounsfield_units(tmp_path):
    found, expected = reader(tmp_path, studies="volumes", slices=4).read(), plain()
    assert found.dims == 3
    for index, gray in enumerate(expected.images):
        volume = np.moveaxis(found.images[index].values, 0, -1)
        assert volume.dtype == np.int16
        assert volume.shape == (4, 16, 16, 1)
        share = 256 - 256 // 32  # the slices beside the middle of four
        assert (volume[1] == gray.astype(np.int64) * share // 256 * 8 - 1024).all()
        assert (volume[1] == volume[2]).all()
        assert (volume[0] <= volume[1]).all()


def test_the_same_options_write_the_same_bytes_and_write_once(tmp_path):
    one, other = (reader(tmp_path / name).place() for name in "ab")
    assert contents(one) == contents(other)
    stamp = (one / "labels.csv").stat().st_mtime_ns
    assert reader(tmp_path / "a").place() == one
    assert (one / "labels.csv").stat().st_mtime_ns == stamp
    assert [path.name for path in (tmp_path / "a").iterdir()] == [one.name]
    whole = hashlib.sha256(repr(contents(one)).encode()).hexdigest()
    assert whole == STUDIES_SHA256


STUDIES_SHA256 = "0e10c0f500d37afafd996841f8b7a08b359d64b6006d78beb82d833df22e8a72"
"""Over names and digests of all files of the options above, on any machine."""


def test_what_changes_the_files_changes_the_directory(tmp_path):
    names = {
        reader(tmp_path, **change).name()
        for change in ({}, {"studies": "volumes"}, {"patients": 13}, {"phantom_seed": 4})
    }
    assert len(names) == 4
    assert reader(tmp_path, split={"method": "folds"}).name() in names


def test_where_nothing_can_be_written_a_temporary_directory_serves(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = reader(tmp_path / "file" / "below").place()
    assert place.is_relative_to(tmp_path)
    assert (place / "labels.csv").is_file()


def test_uids_are_valid_and_unique(tmp_path):
    files = sorted(reader(tmp_path, studies="volumes", slices=3).place().rglob("*.dcm"))
    headers = [pydicom.dcmread(path) for path in files]
    assert len({one.SOPInstanceUID for one in headers}) == len(files)
    assert len({one.SeriesInstanceUID for one in headers}) == len(files) // 3
    assert all(one.SOPInstanceUID.is_valid for one in headers)


def test_the_committed_configuration_is_exact_and_needs_no_data():
    path = Path(__file__).parents[3] / "experiments" / "configs" / "exp_020_dicom.toml"
    config = trainer_config.read_config(path).config
    assert config.engine.arithmetic == "exact"
    assert config.data.reader == "dicom_phantom"
    assert config.data.root == ""


@pytest.mark.parametrize("studies", ["radiographs", "volumes"])
def test_patients_are_kept_together(tmp_path, studies):
    splits = {}
    for sample in reader(tmp_path, studies=studies, slices=2).read().samples:
        splits.setdefault(sample.patient, set()).add(sample.split)
    assert len(splits) == 12
    assert all(len(found) == 1 for found in splits.values())
