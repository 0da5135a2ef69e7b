# SPDX-License-Identifier: Apache-2.0
"""Image files with changed, cut, repeated or inserted bytes are read or refused, never more.

A mutation is a number: the same on every machine. A failing one prints which seed file and number
to repeat. Memory is bounded while they run.

Not tested here: what is refused in which words (tests/unit/tokenizer/images).
"""

import gzip
import io
import resource

import damage
import dicom_files
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions, NiftiOptions
from tiny_agent_trainer.tokenizer.images import folder, image

pytestmark = pytest.mark.filterwarnings("error")

READERS = (
    ImagesOptions(nifti=NiftiOptions(index=0)),
    ImagesOptions(dicom=DicomOptions(intensity="display", frame=0, volumes="never")),
)
GROWTH_LIMIT_BYTES = 1 << 30
"""What the largest resident size may grow by: a header may ask for 512 million values."""

SHARED = (
    "dicom/pydicom_test_files/JPEG2000.dcm", "dicom/pydicom_test_files/MR_small_RLE.dcm",
    "dicom/pydicom_test_files/MR_small_jpeg_ls_lossless.dcm",
    "dicom/pydicom_test_files/SC_rgb_jpeg_dcmtk.dcm",
    "dicom/pydicom_test_files/SC_rgb_jpeg_gdcm.dcm",
    "dicom/pydicom_test_files/SC_rgb_small_odd_big_endian.dcm",
    "dicom/pydicom_test_files/dicomdirtests/77654033/CR1/6154",
    "dicom/pydicom_test_files/dicomdirtests/DICOMDIR", "nifti/nibabel/standard.nii.gz",
    "nifti/nibabel/example_nifti2.nii.gz",
)  # fmt: skip


def picture(pixels, form, **options):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, form, **options)
    return written.getvalue()


def array(**values):
    written = io.BytesIO()
    np.savez_compressed(written, **values) if "a" in values else np.save(written, values["one"])
    return written.getvalue()


def compressed(syntax):
    found = dicom_files.dataset(np.arange(64 * 64, dtype=np.int16).reshape(64, 64))
    found.compress(syntax)
    return dicom_files.encode(found)


def made_seeds():
    """Seed files by name, small and made here."""
    gray = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    colour = np.stack([gray.astype(np.uint8)] * 3, axis=-1)
    cube = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    volume = nibabel.Nifti1Image(cube, np.diag([-1.0, 2, 3, 1])).to_bytes()
    window = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}
    return {
        "gray.png": picture(gray, "PNG"),
        "colour.png": picture(colour, "PNG"),
        "colour.jpg": picture(colour, "JPEG"),
        "gray.tif": picture(gray, "TIFF"),
        "colour.bmp": picture(colour, "BMP"),
        "one.npy": array(one=cube),
        "one.npz": array(a=cube),
        "one.nii": volume,
        "one.nii.gz": gzip.compress(volume, mtime=0),
        "two.nii": nibabel.Nifti2Image(cube, np.eye(4)).to_bytes(),
        "plain.dcm": dicom_files.make(**window),
        "implicit.dcm": dicom_files.make(syntax=pydicom.uid.ImplicitVRLittleEndian, **window),
        "deflated.dcm": dicom_files.make(syntax=pydicom.uid.DeflatedExplicitVRLittleEndian),
        "rle.dcm": compressed(pydicom.uid.RLELossless),
        "j2k.dcm": compressed(pydicom.uid.JPEG2000Lossless),
        "jls.dcm": compressed(pydicom.uid.JPEGLSLossless),
        "enhanced.dcm": dicom_files.enhanced([4, 0, 2], [1, 2, 3]),
        "palette.dcm": dicom_files.palette(),
        "tables.dcm": dicom_files.tables(),
    }


def outcome(root, name, data, number):
    """ "read" or "refused"; anything else is raised."""
    path = root / name
    path.write_bytes(data)
    options = READERS[number // 2 % 2]
    try:
        listing = folder.list_folder(root, options)
        for item in listing.items:
            require_image(item.read())
        require_image(folder.read_path(path, options))
    except errors.DatasetError:
        return "refused"
    return "read"


def require_image(found):
    assert isinstance(found, image.Image)
    assert found.values.dtype.name in ("uint8", "uint16", "int16", "int32", "float32")
    assert found.values.ndim in (3, 4)
    assert found.values.shape[-1] in (1, 3)
    assert np.isfinite(found.values).all()
    assert len(found.spacing_mm) in (0, found.values.ndim - 1)
    assert len(found.orientation) in (0, found.values.ndim - 1)


def attack(root, seeds, numbers):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"read": 0, "refused": 0}
    for name, data in seeds.items():
        for number in numbers:
            try:
                counts[outcome(root, name, damage.mutated(data, number), number)] += 1
            except Exception as error:  # noqa: BLE001 -- whatever it is, it must not be
                pytest.fail(f"seed {name!r}, mutation {number}: {type(error).__name__}: {error}")
        (root / name).unlink()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < GROWTH_LIMIT_BYTES
    return counts


def test_the_seeds_themselves_are_read(tmp_path):
    for name, data in made_seeds().items():
        assert outcome(tmp_path, name, data, 0) == "read", name
        (tmp_path / name).unlink()


def test_some_damage_is_read_or_refused(tmp_path):
    counts = attack(tmp_path, made_seeds(), range(20))
    assert counts["read"] + counts["refused"] == 380
    assert min(counts.values()) > 20


@pytest.mark.long
def test_much_damage_is_read_or_refused(tmp_path):
    counts = attack(tmp_path, made_seeds(), range(1000, 1150))
    assert counts["read"] + counts["refused"] == 2850


@pytest.mark.long
def test_damage_to_published_files_is_read_or_refused(tmp_path, shared_data):
    seeds = {place.replace("/", "_"): (shared_data / place).read_bytes() for place in SHARED}
    counts = attack(tmp_path, seeds, range(2000, 2100))
    assert counts["read"] + counts["refused"] == 1000
