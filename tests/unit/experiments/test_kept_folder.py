# SPDX-License-Identifier: Apache-2.0
"""A folder of any format is decoded once for the first run, never for the second, to the same bits.

Not tested here: the cache itself, damaged files in it (tests of the cache), what preparation does.
"""

import dataclasses
import json

import dicom_files
import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.trainer_config import parse_config
from tiny_agent_trainer.experiments import prepare
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.cache import place
from tiny_agent_trainer.tokenizer.images import folder

COUNT = 8
SPLITS = ("train", "train", "val", "test")
NOISE = np.random.default_rng(0)


def write_png(root, number):
    pixels = NOISE.integers(0, 256, (20, 24)).astype(np.uint8)
    Pillow.fromarray(pixels).save(root / f"{number}.png")


def write_nifti(root, number):
    """Floats between 0 and 1: no integers of any window but their own."""
    made = nibabel.Nifti1Image(
        NOISE.random((4, 6, 5)).astype(np.float32), np.diag([1.0, 2.0, 3.0, 1.0])
    )
    made.header.set_xyzt_units("mm")
    nibabel.save(made, root / f"{number}.nii.gz")


def write_dicom(root, number):
    """A series of four slices."""
    (root / str(number)).mkdir()
    pixels = NOISE.integers(0, 2000, dicom_files.RAMP.shape).astype(dicom_files.RAMP.dtype)
    uid = f"1.2.3.{number + 1}"
    files = dicom_files.stack(range(4), pixels=pixels, SeriesInstanceUID=uid)
    for name, content in files.items():
        (root / str(number) / name).write_bytes(content)


FORMATS = {
    "png": (write_png, "{}.png", ""),
    "nifti": (
        write_nifti, "{}.nii.gz",
        'intensity = "window"\nwindow = [0.25, 0.75]\norientation = "SPL"\n'
        "spacing_mm = [1.0, 1.0, 1.0]\n",
    ),
    "dicom": (write_dicom, "{}/000.dcm", 'orientation = "IAR"\nslices = 3\n'),
}  # fmt: skip
SHAPES = {"png": (1, 20, 24), "nifti": (1, 15, 12, 4), "dicom": (3, *dicom_files.RAMP.shape)}


class Folder:
    """A folder of one format with its table, and how often an image of it was decoded."""

    def __init__(self, root, kind):
        write, name, self.options = FORMATS[kind]
        self.root, self.decoded = root, 0
        rows = ["file,label,fold"]
        for number in range(COUNT):
            write(root, number)
            rows.append(f"{name.format(number)},{number % 2},{SPLITS[number // 2]}")
        (root / "labels.csv").write_text("\n".join(rows) + "\n")

    def count(self, listing):
        items = [
            dataclasses.replace(item, read=lambda item=item: self._read(item))
            for item in listing.items
        ]
        return dataclasses.replace(listing, items=tuple(items))

    def _read(self, item):
        self.decoded += 1
        return item.read()

    def prepare(self, cache, options=None):
        """The data, and how many images were decoded for them."""
        text = (
            f'[data]\nreader = "folder"\nroot = "{self.root}"\ncache = "{cache}"\n'
            '[data.labels]\nfile = "labels.csv"\nid_column = "file"\ncolumn = "label"\n'
            'id_name = "file"\neach_image_is_a_patient = true\n'
            '[data.split]\nmethod = "column"\ncolumn = "fold"\n'
            f"[tokenizer]\n{self.options if options is None else options}"
        )
        before = self.decoded
        data = prepare.read_data(parse_config(text.encode(), "x.toml"), None, samples.silent)
        return data, self.decoded - before


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.delenv(place.VARIABLE, raising=False)
    plain = folder.list_folder

    def make(kind):
        (tmp_path / "images").mkdir()
        made = Folder(tmp_path / "images", kind)
        monkeypatch.setattr(folder, "list_folder", lambda *given: made.count(plain(*given)))
        return made

    return make


@pytest.mark.parametrize("kind", FORMATS)
def test_cold_each_image_is_decoded_once_and_warm_none(make, tmp_path, kind):
    images = make(kind)
    cold, decoded = images.prepare(tmp_path / "cache")
    assert decoded == COUNT
    warm, decoded = images.prepare(tmp_path / "cache")
    assert decoded == 0
    assert all(b"1.2.3." not in path.read_bytes() for path in (tmp_path / "cache").rglob("*.*"))
    uncached, decoded = images.prepare("")
    assert decoded == 2 * COUNT
    for found in (warm, uncached):
        assert found.manifest == cold.manifest
        assert found.cohort.prepared_NCS.tobytes() == cold.cohort.prepared_NCS.tobytes()
        assert found.cohort.files == cold.cohort.files
    assert cold.cohort.prepared_NCS.shape == (COUNT, *SHAPES[kind])
    assert cold.cohort.dims == json.loads(cold.manifest)["dims"] == len(SHAPES[kind]) - 1


def test_values_of_a_file_that_are_no_integers_meet_their_window(make, tmp_path):
    images = make("nifti")
    data, _ = images.prepare(tmp_path / "cache", 'intensity = "window"\nwindow = [0.25, 0.75]\n')
    for sample, prepared in zip(data.cohort.samples, data.cohort.prepared_NCS, strict=True):
        values = nibabel.load(images.root / sample.key).get_fdata()
        expected = np.clip(np.rint((values - 0.25) / 0.5 * 65535), 0, 65535)
        assert (prepared[0] == expected).all()
    with pytest.raises(errors.DatasetError, match='intensity = "window"'):
        images.prepare(tmp_path / "cache", "")


def test_other_options_and_other_bytes_are_decoded_again(make, tmp_path):
    images = make("png")
    images.prepare(tmp_path / "cache")
    assert images.prepare(tmp_path / "cache", "resize = 10\n")[1] == COUNT
    write_png(images.root, 3)
    assert images.prepare(tmp_path / "cache")[1] == 1


def test_a_near_duplicate_is_found_although_nothing_is_decoded(make, tmp_path):
    images = make("nifti")
    volume = nibabel.Nifti1Image(NOISE.random((3, 40, 40)).astype(np.float32), np.eye(4))
    for number, shift in ((0, 0.0), (7, 0.001)):
        values = volume.get_fdata(dtype=np.float32) + np.float32(shift)
        made = nibabel.Nifti1Image(values, np.eye(4))
        made.header.set_xyzt_units("mm")
        nibabel.save(made, images.root / f"{number}.nii.gz")
    options = 'intensity = "percentile"\nresize = 8\n'
    for expected in (COUNT, 0):
        before = images.decoded
        with pytest.raises(errors.LeakError):
            images.prepare(tmp_path / "cache", options)
        assert images.decoded - before == expected


def test_the_cache_names_nobody(make, tmp_path):
    images = make("dicom")
    images.prepare(tmp_path / "cache")
    for path in sorted((tmp_path / "cache").rglob("*.*")):
        content = path.read_bytes()
        for secret in (b".dcm", b"1.2.3.", str(images.root).encode()):
            assert secret not in content
