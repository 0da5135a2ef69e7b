# SPDX-License-Identifier: Apache-2.0
"""DICOM: published files, and pydicom's and nibabel's own answers as oracles.

Not tested here: what each rule does on small files (tests/unit/tokenizer/images/dicom).
"""

import dicom_files
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_windowing

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder

PLAIN = "CTImage.dcm"
LOSSLESS = {
    "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2": "pydicom",
    "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99": "pydicom",
    "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg",
    "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80": "pyjpegls",
    "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70": "python-gdcm",
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57": "python-gdcm",
    "LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1": "pydicom",
    "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2": "pydicom",
    "RLELosslessTransferSyntax_1.2.840.10008.1.2.5": "pylibjpeg-rle",
}
LOSSY = {
    "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91": 8,
    "JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81": 8,
    "JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50": 65,
}
"""How far a value may be from the lossless one, in Hounsfield units: the last was written with 8
bits, 32.1 units apart, and lost two of them."""

UNDECODABLE = {
    f"{PLAIN}_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": "JPEG Full Progression",
    f"{PLAIN}_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": "JPEG Extended",
    f"{PLAIN}_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": "JPEG Spectral Selection",
    "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": "JPEG Extended",
    "no-pixel-data.dcm": "modality SR",
}


def options(**chosen):
    return ImagesOptions(dicom=DicomOptions(**chosen))


@pytest.fixture
def syntaxes(shared_data):
    return shared_data / "dicom" / "cornerstone_ct_transfer_syntaxes"


class TestTransferSyntaxes:
    """One CT slice in many syntaxes."""

    @pytest.mark.parametrize("name", LOSSLESS)
    def test_lossless_syntaxes_have_equal_pixels(self, syntaxes, name):
        dataset = pydicom.dcmread(syntaxes / PLAIN)
        expected = np.frombuffer(dataset.PixelData, "<i2").reshape(512, 512).astype(int)
        expected = expected * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        found = folder.read_path(syntaxes / f"{PLAIN}_{name}.dcm", options())
        assert (found.values[..., 0] == expected).all()
        assert found.decoder.split()[0] == LOSSLESS[name]
        assert "lossy compression" not in found.remarks

    @pytest.mark.parametrize("name", LOSSY)
    def test_lossy_syntaxes_are_near_and_say_so(self, syntaxes, name):
        plain = folder.read_path(syntaxes / PLAIN, options()).values.astype(float)
        found = folder.read_path(syntaxes / f"{PLAIN}_{name}.dcm", options())
        assert "lossy compression" in found.remarks
        body = plain > -1500
        assert np.abs(found.values - plain)[body].max() <= LOSSY[name]

    @pytest.mark.parametrize("name", UNDECODABLE)
    def test_others_are_refused_by_name(self, syntaxes, name):
        with pytest.raises(errors.DatasetError, match=UNDECODABLE[name]):
            folder.read_path(syntaxes / name, options())

    @pytest.mark.parametrize("name", ["US-YBR_FULL_422-EVRLE.dcm", "no-pixel-spacing.dcm"])
    def test_ultrasound_becomes_rgb(self, syntaxes, name):
        found = folder.read_path(syntaxes / name, options())
        assert found.values.shape[-1] == 3
        assert found.modality == "US"


class TestGantryTilt:
    """A head CT with a tilted gantry and three distances between slices."""

    def test_it_is_refused_with_figures(self, shared_data):
        listing = folder.list_folder(shared_data / "dicom" / "ct_head_ge_tilted_28", options())
        (refusal,) = listing.refusals
        assert not listing.items
        assert "steps of 4.00, 1.08, 7.00 mm along the normal" in refusal.reason
        assert (
            "gantry tilt or shear: slices shifted in their plane by up to 48.21 mm"
            in refusal.reason
        )

    def test_it_is_resampled_when_asked(self, shared_data):
        place = shared_data / "dicom" / "ct_head_ge_tilted_28"
        volume = folder.read_path(place, options(on_irregular="resample"))
        assert volume.values.shape == (37, 512, 512, 1)
        assert volume.values.dtype == np.int16
        assert volume.orientation == "SPL"
        first = pydicom.dcmread(place / "01.dcm").pixel_array
        assert (volume.values[0, :, :, 0] == first).all()
        # The 11th slice lies 42.2 mm up in z, so 13.39 mm up its own column: 27.42 rows.
        array = pydicom.dcmread(place / "11.dcm").pixel_array.astype(float)
        rows = np.arange(100, 400) + 10 * 4.22 * 0.3173047 / 0.4882812
        upper = np.floor(rows).astype(int)
        part = (rows - upper)[:, None]
        expected = array[upper] * (1 - part) + array[upper + 1] * part
        apart = np.abs(volume.values[10, 100:400, :, 0] - expected)
        # Weights are multiples of 1/1024, of steps up to some thousands between pixels.
        assert apart.max() <= 4
        assert apart.mean() < 0.5


class TestStructuralMr:
    """A T1 head of 40 oblique slices."""

    @pytest.fixture
    def place(self, shared_data):
        return shared_data / "dicom" / "mr_t1_structural_sub40"

    def test_spacing_and_orientation_by_an_affine_of_ones_own(self, place):
        """The affine by nibabel's account of DICOM (its own words: spm12's and dcm2nii's)."""
        datasets = [pydicom.dcmread(path) for path in sorted(place.glob("*.dcm"))]
        row, column = np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3)
        down, across = (float(value) for value in datasets[0].PixelSpacing)
        places = np.array([one.ImagePositionPatient for one in datasets], float)
        step = (places[-1] - places[0]) / (len(places) - 1)
        lps = np.eye(4)
        lps[:3] = np.stack([step, column * down, row * across, places[0]], axis=-1)
        affine = np.diag([-1.0, -1, 1, 1]) @ lps
        volume = folder.read_path(place, options())
        assert volume.orientation == "".join(nibabel.aff2axcodes(affine))
        assert np.allclose(volume.spacing_mm, nibabel.affines.voxel_sizes(affine), atol=1e-5)
        expected = np.stack([one.pixel_array for one in datasets])
        assert (volume.values[..., 0] == expected).all()

    def test_the_order_of_files_does_not_matter(self, place, tmp_path):
        for number, path in enumerate(sorted(place.glob("*.dcm"))):
            (tmp_path / f"{(number * 17) % 40:02}").write_bytes(path.read_bytes())
        shuffled = folder.read_path(tmp_path, options())
        assert (shuffled.values == folder.read_path(place, options()).values).all()


class TestPublishedFiles:
    """pydicom's own test files are read or refused with a reason; nothing else is raised."""

    NO_IMAGE = ("without rows", "is no image", "no DICOM file", "label map", "a DICOMDIR")

    def test_each_is_read_or_refused(self, shared_data):
        place = shared_data / "dicom" / "pydicom_test_files"
        read, refused = {}, {}
        for path in sorted(place.rglob("*")):
            if path.is_file() and path.suffix == ".dcm":
                try:
                    read[path.name] = folder.read_path(path, options())
                except errors.DatasetError as error:
                    refused[path.name] = str(error)
        assert len(read) == 43
        named = {
            name: text
            for name, text in refused.items()
            if not any(w in text for w in self.NO_IMAGE)
        }
        assert {name: text.split("found ")[1][:30] for name, text in named.items()} == {
            "JPEG-lossy.dcm": "transfer syntax 1.2.840.10008.",
            "JPEG2000-embedded-sequence-delimiter.dcm": "no size. To go on: mend or rem",
            "JPGExtended.dcm": "transfer syntax 1.2.840.10008.",
            "MR_truncated.dcm": "The number of bytes of pixel d",
            "SC_rgb_rle_16bit_2frame.dcm": "2 frames that make no volume (",
            "SC_rgb_rle_2frame.dcm": "2 frames that make no volume (",
            "SC_rgb_rle_32bit.dcm": "colour with 32 bits. To go on:",
            "SC_rgb_rle_32bit_2frame.dcm": "2 frames that make no volume (",
            "examples_ybr_color.dcm": "30 frames that make no volume ",
        }

    def test_mr_small_is_the_same_in_every_syntax(self, shared_data):
        place = shared_data / "dicom" / "pydicom_test_files"
        paths = sorted(place.glob("MR_small*.dcm"))
        images = [folder.read_path(path, options()) for path in paths]
        assert len(images) >= 8
        assert all((image.values == images[0].values).all() for image in images)

    def test_unused_bits_and_signs_of_jpeg2000(self, shared_data):
        place = shared_data / "dicom" / "pydicom_test_files" / "J2K_pixelrep_mismatch.dcm"
        values = folder.read_path(place, options()).values
        assert (values.min(), values.max()) == (-2000, 1896)

    @pytest.mark.parametrize(
        "name",
        ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm",
         "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm",
         "SC_ybr_full_422_uncompressed.dcm", "examples_jpeg2k.dcm", "SC_rgb_jpeg.dcm",
         "SC_jpeg_no_color_transform_2.dcm"],
    )  # fmt: skip
    def test_colours_are_those_of_pydicom_within_a_rounding(self, shared_data, name):
        path = shared_data / "dicom" / "pydicom_test_files" / name
        expected = pydicom.dcmread(path)
        expected.pixel_array_options(decoding_plugin=self.plugin(name))
        found = folder.read_path(path, options()).values.astype(int)
        assert np.abs(found - expected.pixel_array.astype(int)).max() <= 1

    @staticmethod
    def plugin(name):
        if name in ("SC_rgb_gdcm_KY.dcm", "examples_jpeg2k.dcm"):
            return "pylibjpeg"
        if name == "SC_rgb_jpeg_gdcm.dcm":
            return "gdcm"
        return "" if "rle" in name or "uncompressed" in name else "pillow"

    def test_dicomdirs_list_nothing_that_is_missing_but_what_was_left_out(self, shared_data):
        place = shared_data / "dicom" / "pydicom_test_files" / "dicomdirtests"
        listing = folder.list_folder(place, options())
        reasons = {refusal.key: refusal.reason for refusal in listing.refusals}
        assert "mixed orientation" in reasons["98892003/MR700/4467"]
        assert "a gap of 202.50 mm" in reasons["77654033/CT2/17106"]
        assert "a localiser" in reasons["98892001/CT2N/6293"]
        assert not [key for key in reasons if key.startswith("DICOMDIR")]
        (volume,) = [item for item in listing.items if "CT5N" in item.key]
        assert volume.facts["slices"] == "5"

    def test_cr_with_monochrome1_is_inverted_after_its_window(self, shared_data):
        path = shared_data / "dicom/pydicom_test_files/dicomdirtests/77654033/CR1/6154"
        dataset = pydicom.dcmread(path)
        units = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        center, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
        inside = np.clip(((units - (center - 0.5)) / (width - 1) + 0.5) * 65535, 0, 65535)
        found = folder.read_path(path, options()).values[..., 0]
        assert np.abs(found - (65535 - np.rint(inside))).max() <= 1


class TestWindowing:
    """Pitfall 3: windows against pydicom's, stretched from its output range to ours."""

    @pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
    @pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 1), (-600, 1500.5), (2.25, 3)])
    @pytest.mark.parametrize("slope", ["1", "0.5"])
    def test_every_function(self, tmp_path, function, center, width, slope):
        pixels = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
        elements = {
            "WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function,
            "RescaleSlope": slope, "RescaleIntercept": "-3", "BitsStored": 12, "HighBit": 11,
        }  # fmt: skip
        dataset = dicom_files.dataset(pixels, **elements)
        units = pixels.astype(np.float64) * float(slope) - 3
        expected = apply_windowing(units, dataset)
        low, high = -2048 * float(slope) - 3, 2047 * float(slope) - 3
        stretched = (expected - low) / (high - low) * 65535
        (tmp_path / "x.dcm").write_bytes(dicom_files.encode(dataset))
        found = folder.read_path(tmp_path / "x.dcm", options(intensity="display")).values[..., 0]
        assert np.abs(found - stretched).max() <= 0.5 + 1e-6
