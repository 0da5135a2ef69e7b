# SPDX-License-Identifier: Apache-2.0
"""Stored value -> unused bits -> unit -> window -> inversion, in this order and no other.

Not tested here: transfer syntaxes (test_syntaxes.py); windows against pydicom's own
(tests/reference/test_dicom_against_peers.py).
"""

import dicom_files
import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder

STORED = np.array([[0, 1, 2, 100], [1000, 2000, 4000, 4095]], np.uint16)


@pytest.fixture
def read(tmp_path):
    """Reads one file made of pixels and elements."""

    def reading(pixels=STORED, options=None, **elements):
        (tmp_path / "x.dcm").write_bytes(dicom_files.make(pixels, **elements))
        chosen = ImagesOptions(dicom=DicomOptions(**(options or {})))
        return folder.read_path(tmp_path / "x.dcm", chosen)

    return reading


DISPLAY = {"intensity": "display"}
LINEAR = {"WindowCenter": 2000, "WindowWidth": 4000}


def shown(image):
    return image.values[..., 0].tolist()


class TestUnits:
    """Slope and intercept, or a LUT; whole numbers stay whole."""

    def test_whole_slope_and_intercept_give_integers(self, read):
        image = read(RescaleSlope=2, RescaleIntercept=-1024)
        assert image.values.dtype == np.int16
        assert (image.values[..., 0] == STORED.astype(int) * 2 - 1024).all()

    def test_values_beyond_16_bits_take_32(self, read):
        image = read(RescaleSlope=1000)
        assert image.values.dtype == np.int32
        assert image.values.max() == 4095000

    @pytest.mark.parametrize("slope", [1, -1, 2, -7, 300, 32700])
    @pytest.mark.parametrize("intercept", [0, -1024, 32767, 40000, -2000000])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
    def test_every_whole_slope_and_intercept_is_exact(self, read, slope, intercept, dtype):
        bounds = np.iinfo(dtype)
        pixels = np.array([[bounds.min, bounds.max, 0, 1]], dtype)
        image = read(pixels, RescaleSlope=slope, RescaleIntercept=intercept)
        expected = [int(value) * slope + intercept for value in pixels[0]]
        assert image.values[0, :, 0].tolist() == expected
        fits = min(expected) >= -32768 and max(expected) <= 32767
        assert image.values.dtype == (np.int16 if fits else np.int32)

    def test_values_beyond_32_bits_are_refused(self, read):
        with pytest.raises(errors.DatasetError, match="values from -2147483648 to 2147483647"):
            read(RescaleSlope=1000000)

    def test_a_fraction_is_multiplied_and_added_in_two_roundings(self, read):
        image = read(RescaleSlope="0.1", RescaleIntercept="0.3")
        expected = (STORED.astype(np.float64) * 0.1 + 0.3).astype(np.float32)
        assert image.values.dtype == np.float32
        assert image.values[..., 0].tolist() == expected.tolist()

    def test_a_slope_of_0_is_refused(self, read):
        with pytest.raises(errors.DatasetError, match=r"\(0028,1053\) RescaleSlope.*other than 0"):
            read(RescaleSlope=0)

    @pytest.mark.parametrize("word", ["nan", "inf", "1e400"])
    def test_a_slope_that_is_no_number_is_refused(self, read, tmp_path, word):
        found = dicom_files.dataset(STORED)
        found.RescaleSlope = "1.5555"
        data = dicom_files.encode(found).replace(b"1.5555", word.ljust(6).encode())
        (tmp_path / "y.dcm").write_bytes(data)
        with pytest.raises(errors.DatasetError, match="RescaleSlope"):
            folder.read_path(tmp_path / "y.dcm", ImagesOptions())

    def test_a_modality_lut_goes_before_slope_and_intercept(self, read):
        lut = dicom_files.item(LUTDescriptor=[3, 1, 16], ModalityLUTType="HU")
        lut.add_new("LUTData", "OW", np.array([7, 500, 60000], "<u2").tobytes())
        image = read(ModalityLUTSequence=dicom_files.sequence(lut), RescaleSlope=5)
        assert shown(image) == [[7, 7, 500, 60000], [60000] * 4]

    def test_a_real_world_value_map_is_not_applied_on_top(self, read):
        mapping = dicom_files.item(RealWorldValueSlope=9.0, RealWorldValueIntercept=1.0)
        image = read(RealWorldValueMappingSequence=dicom_files.sequence(mapping))
        assert shown(image) == STORED.tolist()

    def test_auto_keeps_units_for_ct_and_shows_radiographs(self, read):
        assert read(**LINEAR).values.dtype == np.int16
        assert read(Modality="DX", **LINEAR).values.dtype == np.uint16
        assert (
            read(Modality="DX", options={"intensity": "quantitative"}, **LINEAR).values.max()
            == 4095
        )


class TestUnusedBits:
    """Pitfall 5: bits above the highest stored one say nothing of the value."""

    def test_raw_25_with_5_of_8_bits_is_minus_7(self, read):
        image = read(np.array([[25, 8], [0, 31]], np.int8), BitsStored=5, HighBit=4)
        assert shown(image) == [[-7, 8], [0, -1]]

    def test_overlays_in_high_bits_are_cleared(self, read):
        image = read(STORED | 0xF000, BitsStored=12, HighBit=11)
        assert shown(image) == STORED.tolist()

    def test_a_high_bit_that_is_not_the_last_stored_one_shifts(self, read):
        image = read(STORED << 3 | 5, BitsStored=12, HighBit=14)
        assert shown(image) == STORED.tolist()

    @pytest.mark.parametrize(
        "bits", [{"BitsStored": 17}, {"BitsStored": 0}, {"HighBit": 16}, {"BitsAllocated": 12}]
    )
    def test_impossible_bits_are_refused(self, read, bits):
        with pytest.raises(errors.DatasetError, match="bits"):
            read(**bits)


class TestDisplay:
    """Pitfalls 1 to 3."""

    def test_linear_has_its_half_and_its_one(self, read):
        image = read(options=DISPLAY, WindowCenter=2, WindowWidth=3, pixels=STORED[:, :3])
        # x <= 0.5 is black, x > 2.5 is white, ((x - 1.5) / 2 + 0.5) * 65535 between.
        assert shown(image) == [[0, 16384, 49151], [65535] * 3]

    def test_linear_exact_has_neither(self, read):
        image = read(
            options=DISPLAY, WindowCenter=2, WindowWidth=4, VOILUTFunction="LINEAR_EXACT",
            pixels=np.array([[0, 1, 2, 3, 4, 5]], np.uint16),
        )  # fmt: skip
        assert shown(image) == [[0, 16384, 32768, 49151, 65535, 65535]]

    def test_sigmoid_is_half_at_its_center(self, read):
        image = read(options=DISPLAY, VOILUTFunction="SIGMOID", **LINEAR)
        assert shown(image)[1][1] == 32768
        assert image.values.min() == np.rint(65535 / (1 + np.exp(2.0)))

    def test_one_of_several_windows_is_chosen_and_recorded(self, read):
        several = {"WindowCenter": [2000, 1], "WindowWidth": [4000, 1]}
        first = read(options=DISPLAY, **several)
        second = read(options={**DISPLAY, "voi_index": 1}, **several)
        assert "display values: window 0 of 2, LINEAR" in first.remarks
        assert "display values: window 1 of 2, LINEAR" in second.remarks
        assert shown(second) == [[0, 65535, 65535, 65535], [65535] * 4]
        with pytest.raises(errors.DatasetError, match="voi_index to at most 1"):
            read(options={**DISPLAY, "voi_index": 2}, **several)

    @pytest.mark.parametrize(
        ("elements", "message"),
        [
            ({"WindowCenter": 1, "WindowWidth": 0.5}, "at least 1"),
            ({"WindowCenter": 1, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "above 0"),
            ({"WindowCenter": [1, 2], "WindowWidth": 3}, "2 centers and 1 widths"),
            ({"WindowCenter": 1, "WindowWidth": 3, "VOILUTFunction": "CUBIC"}, "CUBIC"),
        ],
    )
    def test_a_window_that_is_none_is_refused(self, read, elements, message):
        with pytest.raises(errors.DatasetError, match=message):
            read(options=DISPLAY, **elements)

    def test_a_voi_lut_goes_before_windows_and_is_stretched_to_16_bits(self, read):
        lut = dicom_files.item(LUTDescriptor=[4096, 0, 12])
        lut.add_new("LUTData", "OW", np.arange(4095, -1, -1, dtype="<u2").tobytes())
        image = read(options=DISPLAY, VOILUTSequence=dicom_files.sequence(lut), **LINEAR)
        expected = np.rint((4095 - STORED.astype(float)) * 65535 / 4095)
        assert shown(image) == expected.tolist()

    def test_without_a_window_the_values_range_from_black_to_white(self, read):
        image = read(Modality="CR")
        assert (image.values.min(), image.values.max()) == (0, 65535)
        assert "display values: no window, smallest to largest value" in image.remarks

    def test_one_value_everywhere_is_black(self, read):
        assert shown(read(np.full((2, 2), 7, np.uint16), Modality="CR")) == [[0, 0], [0, 0]]

    def test_monochrome1_is_inverted_last(self, read):
        plain = read(options=DISPLAY, **LINEAR)
        inverted = read(options=DISPLAY, PhotometricInterpretation="MONOCHROME1", **LINEAR)
        assert (inverted.values == 65535 - plain.values).all()

    def test_a_negative_slope_and_monochrome1_together_are_not_undone(self, read):
        """OHIF 127: order matters, since the window stands in units, not in stored values."""
        elements = {"RescaleSlope": -1, "RescaleIntercept": 4095, **LINEAR}
        image = read(options=DISPLAY, PhotometricInterpretation="MONOCHROME1", **elements)
        units = 4095.0 - STORED
        inside = np.clip(((units - 1999.5) / 3999.0 + 0.5) * 65535, 0, 65535)
        assert shown(image) == (65535 - np.rint(inside)).tolist()

    def test_monochrome1_stays_as_it_is_in_units(self, read):
        image = read(PhotometricInterpretation="MONOCHROME1")
        assert shown(image) == STORED.tolist()

    def test_padding_is_black_and_not_counted_in_the_range(self, read):
        pixels = np.array([[60000, 10], [20, 30]], np.uint16)
        image = read(pixels, Modality="CR", PixelPaddingValue=60000)
        assert shown(image) == [[0, 0], [32768, 65535]]
        assert "pixel padding (0028,0120)" in image.remarks
        inverted = read(
            pixels, Modality="CR", PixelPaddingValue=60000, PhotometricInterpretation="MONOCHROME1"
        )
        assert shown(inverted) == [[0, 65535], [32767, 0]]

    def test_padding_stays_in_units_with_a_remark(self, read):
        image = read(PixelPaddingValue=4000, PixelPaddingRangeLimit=4095)
        assert shown(image) == STORED.tolist()
        assert "pixel padding (0028,0120)" in image.remarks


class TestColour:
    """Pitfall 6: RGB, whatever the file and the version of pydicom."""

    def test_rgb_stays(self, read):
        pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
        assert (read(pixels, Modality="US").values == pixels).all()

    def test_planes_become_pixels(self, read):
        pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
        planes = np.moveaxis(pixels, -1, 0).tobytes()
        image = read(pixels, PlanarConfiguration=1, PixelData=planes, Modality="US")
        assert (image.values == pixels).all()

    def test_ybr_full_by_the_standards_matrix(self, read):
        pixels = np.array([[[128, 128, 128], [81, 90, 240], [255, 0, 255]]], np.uint8)
        image = read(pixels, PhotometricInterpretation="YBR_FULL", Modality="US")
        y, cb, cr = (pixels.astype(float)[..., index] for index in range(3))
        red = y + 1.402 * (cr - 128)
        green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
        blue = y + 1.772 * (cb - 128)
        expected = np.clip(np.floor(np.stack([red, green, blue], -1) + 0.5), 0, 255)
        assert (image.values == expected).all()

    def test_a_palette_becomes_its_colours(self, tmp_path):
        (tmp_path / "palette.dcm").write_bytes(dicom_files.palette())
        image = folder.read_path(tmp_path / "palette.dcm", ImagesOptions())
        assert image.values[1, 1].tolist() == [300, 301, 302]

    def test_a_segmented_palette_is_refused_by_name(self, tmp_path):
        data = dicom_files.palette().replace(b"\x28\0\x01\x12", b"\x28\0\x21\x12")
        (tmp_path / "palette.dcm").write_bytes(data)
        with pytest.raises(errors.DatasetError, match="RedPaletteColorLookupTableData"):
            folder.read_path(tmp_path / "palette.dcm", ImagesOptions())

    def test_an_unknown_colour_space_is_refused_by_name(self, read):
        pixels = np.zeros((2, 2, 3), np.uint8)
        with pytest.raises(errors.DatasetError, match="YBR_PARTIAL_420"):
            read(pixels, PhotometricInterpretation="YBR_PARTIAL_420")


class TestRemarks:
    """What a report must say."""

    def test_lossy_files_and_burned_in_names_are_remarked_on(self, read):
        image = read(LossyImageCompression="01", BurnedInAnnotation="YES")
        assert "lossy compression" in image.remarks
        assert any("burned-in" in remark for remark in image.remarks)

    def test_the_decoder_and_the_files_digest_are_recorded(self, read, tmp_path):
        image = read()
        assert image.decoder.startswith("pydicom 3.")
        (file,) = image.files
        assert file.path == "x.dcm"
        assert file.size_bytes == (tmp_path / "x.dcm").stat().st_size

    def test_bytes_behind_the_pixels_are_remarked_on_and_too_few_refused(self, read):
        assert "more bytes than pixels" in read(PixelData=STORED.tobytes() + bytes(64)).remarks
        with pytest.raises(errors.DatasetError, match="less than expected"):
            read(PixelData=STORED.tobytes()[:-2])


class TestFlatGeometry:
    """Pitfall 11: rows come first; at the detector where the patient's spacing is unknown."""

    def test_spacing_is_between_rows_then_columns(self, read):
        image = read()
        assert image.spacing_mm == (0.5, 0.25)
        assert image.orientation == "PL"

    def test_a_radiograph_without_spacing_in_the_patient_has_that_at_the_detector(self, read):
        none = {"PixelSpacing": None, "ImageOrientationPatient": None, "ImagePositionPatient": None}
        image = read(Modality="DX", ImagerPixelSpacing=[0.2, 0.1], **none)
        assert image.spacing_mm == (0.2, 0.1)
        assert "spacing at the detector, not in the patient" in image.remarks
        assert read(Modality="DX", **none).spacing_mm == ()

    def test_patient_orientation_names_the_sides_of_a_radiograph(self, read):
        none = {"ImageOrientationPatient": None, "ImagePositionPatient": None}
        assert read(Modality="DX", PatientOrientation=["L", "F"], **none).orientation == "IL"
        assert read(Modality="MG", PatientOrientation=["A", "FR"], **none).orientation == "IA"
        assert read(Modality="DX", PatientOrientation=["L", "R"], **none).orientation == ""
        assert read(Modality="DX", **none).orientation == ""
