# SPDX-License-Identifier: Apache-2.0
"""`inspect` shows an image on its way to the network, as a page or a picture, and names nobody.

Not tested here: decoding (tests/unit/tokenizer/images), preparation and augmentation themselves.
"""

import base64
import io
import re
import subprocess
import sys

import dicom_files
import numpy as np
import pytest
from PIL import Image

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments import inspection


def config(text=""):
    return trainer_config.parse_config(text.encode(), "x.toml")


def pictures_of(page):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_by_command_a_page_with_the_decoded_image_and_the_networks_input(tmp_path):
    pixels = (np.arange(32 * 32) % 251).astype(np.uint8).reshape(32, 32)
    Image.fromarray(pixels).save(tmp_path / "Doe.png")
    (tmp_path / "c.toml").write_text("[tokenizer]\nresize = 16\n")
    command = [sys.executable, "-m", "tiny_agent_trainer", "inspect", "Doe.png"]
    done = subprocess.run(
        [*command, "--config", "c.toml", "--output", "x.html"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "x.html").read_text()
    decoded, seen = pictures_of(page)
    assert (decoded == pixels).all()
    assert seen.shape == (16, 16)
    assert "Doe" not in page + done.stdout
    assert "<script" not in page


def test_a_series_shows_the_middle_of_each_direction_and_its_geometry(tmp_path):
    for name, content in dicom_files.stack([0, 2, 4], PatientName="Doe^Jane").items():
        (tmp_path / name).write_bytes(content)
    found = inspection.inspect(tmp_path, config())
    sizes = [(one.height, one.width) for one in found.pictures]
    assert sizes == [(3, 4), (3, 4), (3, 3)] * 2
    assert found.facts["Spacing in mm"] == "2 x 0.5 x 0.25"
    assert "Doe" not in str(found.facts)


def test_augmented_versions_come_when_the_configuration_has_augmentation(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(64, dtype=np.uint8).reshape(8, 8))
    plain = inspection.inspect(tmp_path / "a.npy", config())
    text = "[tokenizer.augmentation]\nshift_pixels = 3\n"
    changed = inspection.inspect(tmp_path / "a.npy", config(text))
    assert len(plain.pictures) == 2
    assert len(changed.pictures) == 6
    assert len({one.pixels for one in changed.pictures[2:]}) > 1


def test_a_png_holds_all_pictures_side_by_side(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(64, dtype=np.uint8).reshape(8, 8))
    found = inspection.inspect(tmp_path / "a.npy", config("[tokenizer]\nresize = 4\n"))
    inspection.write_inspection(found, tmp_path / "x.png")
    sheet = np.asarray(Image.open(tmp_path / "x.png"))
    assert sheet.shape == (8, 8 + 4 + 4)
    assert (sheet[:, :8] == np.arange(64).reshape(8, 8)).all()


def test_another_ending_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((8, 8), np.uint8))
    found = inspection.inspect(tmp_path / "a.npy", config())
    with pytest.raises(errors.UsageError, match=r"\.html or \.png"):
        inspection.write_inspection(found, tmp_path / "x.jpg")
