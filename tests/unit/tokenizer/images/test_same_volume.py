# SPDX-License-Identifier: Apache-2.0
"""One volume in DICOM (LPS, slices first) and in NIfTI (RAS, slices last) is one array.

Not tested here: either format by itself.
"""

import dicom_files
import nibabel
import numpy as np
import pytest

from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer.images import folder
from tiny_agent_trainer.tokenizer.preparation import prepare

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
VOLUME = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
START, SPACING = np.array([-7.0, 11.0, 30.0]), (2.5, 0.5, 0.75)


def write_dicom(root, along_row, along_column):
    """Slices of the volume; columns are 0.75 mm apart, rows 0.5, slices 2.5."""
    root.mkdir()
    normal = np.cross(along_row, along_column)
    for number, pixels in enumerate(VOLUME):
        place = START + number * SPACING[0] * normal
        data = dicom_files.make(
            pixels, ImageOrientationPatient=[*map(int, (*along_row, *along_column))],
            ImagePositionPatient=place.tolist(), PixelSpacing=[0.5, 0.75],
            SOPInstanceUID=f"1.2.3.{number}",
        )  # fmt: skip
        (root / f"{number}.dcm").write_bytes(data)


def write_nifti(path, along_row, along_column):
    """The same by its definition: index (column, row, slice) to RAS millimetres."""
    normal = np.cross(along_row, along_column)
    steps = [along_row * SPACING[2], along_column * SPACING[1], normal * SPACING[0]]
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.stack(steps, axis=1)
    affine[:3, 3] = LPS_TO_RAS @ START
    made = nibabel.Nifti1Image(VOLUME.transpose(2, 1, 0), affine)
    made.header.set_xyzt_units("mm")
    nibabel.save(made, path)


@pytest.mark.parametrize("orientation", ["RAS", "SPL", "IAR"])
@pytest.mark.parametrize(
    ("along_row", "along_column"),
    [
        ((1, 0, 0), (0, 1, 0)),
        ((0, 1, 0), (0, 0, -1)),
        ((1, 0, 0), (0, 0, -1)),
        ((0, -1, 0), (1, 0, 0)),
    ],
)
def test_dicom_and_nifti_of_one_volume_are_one_array(
    tmp_path, orientation, along_row, along_column
):
    directions = np.array(along_row, float), np.array(along_column, float)
    write_dicom(tmp_path / "series", *directions)
    write_nifti(tmp_path / "volume.nii", *directions)
    options = TokenizerSection(orientation=orientation)
    found = []
    for path in (tmp_path / "series", tmp_path / "volume.nii"):
        image = folder.read_path(path, ImagesOptions())
        assert sorted(image.spacing_mm) == [0.5, 0.75, 2.5]
        found.append(prepare.prepare(image, options, path.name))
    assert found[0].shape == found[1].shape
    assert found[0].tolist() == found[1].tolist()
    other = prepare.prepare(image, TokenizerSection(orientation="LPI"), "x")
    assert other.tolist() != found[0].tolist()
