# SPDX-License-Identifier: Apache-2.0
"""Standardised uptake values of PET: against arithmetic of 50 digits, or a refusal that names why.

Not tested here: files of scanners; the volumes that slices make (test_series.py).
"""

import copy

import dicom_files
import mpmath
import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder

STORED = np.array([[0, 1, 2], [1000, 30000, 32767]], np.int16)
HALF_LIFE_S = "6586.2"
DOSE_BQ = "370000000"
NUCLIDE = {
    "RadionuclideTotalDose": DOSE_BQ, "RadionuclideHalfLife": HALF_LIFE_S,
    "RadiopharmaceuticalStartTime": "090000.000000",
}  # fmt: skip
PET = {
    "Modality": "PT", "Units": "BQML", "DecayCorrection": "START", "PatientWeight": "72.5",
    "CorrectedImage": ["DECY", "DECAY", "ATTN", "SCAT"], "SeriesDate": "20260301",
    "SeriesTime": "100130.500000", "AcquisitionDate": "20260301", "AcquisitionTime": "100500",
    "RescaleSlope": "0.875", "RescaleIntercept": "0",
}  # fmt: skip
WAITED_S = "3690.5"


def pet(nuclide=None, **elements):
    """The bytes of a PET slice; None leaves an element out."""
    chosen = {k: v for k, v in {**NUCLIDE, **(nuclide or {})}.items() if v is not None}
    item = dicom_files.sequence(dicom_files.item(**chosen))
    values = {"RadiopharmaceuticalInformationSequence": item, **PET, **elements}
    return dicom_files.make(values.pop("pixels", STORED), **values)


def expected_suv(waited_s, *, slope="0.875", half_life_s=HALF_LIFE_S, weight_kg="72.5"):
    """Values by the definition, in 50 digits."""
    with mpmath.workdps(50):
        left = mpmath.mpf(2) ** (-mpmath.mpf(waited_s) / mpmath.mpf(half_life_s))
        factor = mpmath.mpf(weight_kg) * 1000 / (mpmath.mpf(DOSE_BQ) * left)
        return [float(int(value) * mpmath.mpf(slope) * factor) for value in STORED.flat]


@pytest.fixture
def read(tmp_path):
    """Reads one file."""

    def reading(data, **options):
        (tmp_path / "x.dcm").write_bytes(data)
        return folder.read_path(tmp_path / "x.dcm", ImagesOptions(dicom=DicomOptions(**options)))

    return reading


def is_near(image, expected):
    """Equal to one unit in the last place of float32."""
    found = image.values.reshape(-1)
    wanted = np.array(expected, np.float64).astype(np.float32)
    return found.dtype == np.float32 and bool(
        (np.abs(found - wanted) <= np.spacing(wanted)).all() and found[0] == 0
    )


class TestSuv:
    """SUVbw = activity * weight / dose that is left at the time that values are corrected to."""

    def test_by_hand_one_half_life_after_injection(self, read):
        nuclide = {"RadionuclideHalfLife": "3600", "RadionuclideTotalDose": "145000000"}
        image = read(pet(nuclide, SeriesTime="100000", AcquisitionTime="100000", RescaleSlope="2"))
        # 72.5 kg * 1000 g/kg / (145 MBq / 2) = 0.001 g/Bq: 1000 is 2000 Bq/ml is SUV 2.
        wanted = (np.float64(0.001) * 2 * STORED).astype(np.float32)
        assert image.values[..., 0].tolist() == wanted.tolist()
        assert image.values[1, 0, 0] == 2

    def test_corrected_to_the_start_of_the_series(self, read):
        image = read(pet())
        assert is_near(image, expected_suv(WAITED_S))
        assert "standardised uptake values by body weight, in g/ml" in image.remarks

    def test_corrected_to_the_injection(self, read):
        absent = {"SeriesDate": None, "AcquisitionTime": None}
        nuclide = {"RadiopharmaceuticalStartTime": None}
        image = read(pet(nuclide, DecayCorrection="ADMIN", **absent))
        assert is_near(image, expected_suv("0"))

    def test_every_slope_is_its_own(self, tmp_path):
        nuclide = dicom_files.sequence(dicom_files.item(**NUCLIDE))
        for number, slope in enumerate(("0.875", "0.5", "3")):
            values = {
                **PET, "RescaleSlope": slope, "ImagePositionPatient": [0, 0, 3 * number],
                "SOPInstanceUID": f"1.2.3.{number}",
                "RadiopharmaceuticalInformationSequence": copy.deepcopy(nuclide),
            }  # fmt: skip
            (tmp_path / f"{number}.dcm").write_bytes(dicom_files.make(STORED, **values))
        volume = folder.read_path(tmp_path, ImagesOptions()).values
        for slices, slope in zip(volume, ("0.875", "0.5", "3"), strict=True):
            wanted = np.array(expected_suv(WAITED_S, slope=slope))
            assert np.allclose(slices.reshape(-1), wanted, rtol=2e-7, atol=0)

    def test_over_midnight(self, read):
        nuclide = {"RadiopharmaceuticalStartTime": "233000"}
        times = {"SeriesTime": "003000", "AcquisitionTime": "003100"}
        assert is_near(read(pet(nuclide, **times)), expected_suv("3600"))

    def test_a_date_of_injection_goes_before_midnight(self, read):
        nuclide = {
            "RadiopharmaceuticalStartTime": None, "RadionuclideHalfLife": "282240",
            "RadiopharmaceuticalStartDateTime": "20260226100130.5",
        }  # fmt: skip
        wanted = expected_suv(3 * 86400, half_life_s="282240")
        assert is_near(read(pet(nuclide)), wanted)

    def test_a_series_written_anew_is_timed_by_the_counts_of_its_frame(self, read):
        times = {
            "SeriesTime": "150000", "AcquisitionTime": "100500", "FrameReferenceTime": "300000",
            "ActualFrameDuration": "180000",
        }  # fmt: skip
        with mpmath.workdps(50):
            decays = mpmath.log(2) / mpmath.mpf(HALF_LIFE_S)
            lost = decays * 180
            middle = mpmath.log(lost / (1 - mpmath.exp(-lost))) / decays
            assert 89 < middle < 90  # just before the middle of the 180 s
            waited = 3900 - 300 + middle
        assert is_near(read(pet(**times)), expected_suv(waited))

    def test_grams_per_millilitre_are_suv(self, read):
        image = read(pet(Units="GML", PatientWeight=None, RescaleSlope="0.5"))
        assert image.values.reshape(-1).tolist() == (STORED.reshape(-1) * 0.5).tolist()
        assert any("standardised" in remark for remark in image.remarks)

    def test_counts_with_the_factor_of_philips(self, read):
        found = dicom_files.dataset(STORED, **{**PET, "Units": "CNTS", "RescaleSlope": "2"})
        block = found.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.25")
        image = read(dicom_files.encode(found))
        assert image.values.reshape(-1).tolist() == (STORED.reshape(-1) * 0.5).tolist()


MISSING = [
    ("Units", "Units"), ("PatientWeight", "PatientWeight"), ("CorrectedImage", "CorrectedImage"),
    ("DecayCorrection", "DecayCorrection"), ("SeriesDate", "SeriesDate"),
    ("SeriesTime", "SeriesTime"), ("AcquisitionDate", "AcquisitionDate"),
    ("AcquisitionTime", "AcquisitionTime"),
    ("RadiopharmaceuticalInformationSequence", "RadiopharmaceuticalInformationSequence"),
]  # fmt: skip
WRONG = [
    ({"Units": "PROPCPS"}, "Units.*found PROPCPS"),
    ({"Units": "CNTS"}, "7053,1000"),
    ({"Units": "GML", "SUVType": "LBM"}, "SUVType.*found LBM"),
    ({"DecayCorrection": "NONE"}, "DecayCorrection.*found NONE"),
    ({"DecayCorrection": "SOMEDAY"}, "DecayCorrection.*found SOMEDAY"),
    ({"CorrectedImage": ["DECAY"]}, "CorrectedImage.*ATTN"),
    ({"PatientWeight": "0"}, "PatientWeight"),
    ({"PatientWeight": "72500"}, "PatientWeight"),
    ({"SeriesTime": "10"}, "SeriesTime"),
    ({"SeriesDate": "20260231"}, "SeriesDate"),
    ({"SeriesTime": "150000"}, "SeriesTime.*FrameReferenceTime"),
]
WRONG_NUCLIDE = [
    ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose"),
    ({"RadionuclideTotalDose": "370"}, "RadionuclideTotalDose"),
    ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife"),
    ({"RadionuclideHalfLife": "0"}, "RadionuclideHalfLife"),
    ({"RadiopharmaceuticalStartTime": None}, "RadiopharmaceuticalStartDateTime.*neither"),
    ({"RadiopharmaceuticalStartTime": "110000"}, "half-lives before the scan"),
    ({"RadiopharmaceuticalStartDateTime": "20260228090000"}, "half-lives before the scan"),
    ({"RadiopharmaceuticalStartDateTime": "20260301091000"}, "another one"),
    ({"RadiopharmaceuticalStartDateTime": "20260301090000+0100"}, "zone"),
    ({"RadionuclideHalfLife": "282240"}, "a time of day alone"),
]


class TestRefusals:
    """What cannot be made SUV is refused by its tag, with the way out."""

    @pytest.mark.parametrize(("absent", "named"), MISSING)
    def test_a_tag_that_is_missing(self, read, absent, named):
        with pytest.raises(errors.DatasetError, match=named) as caught:
            read(pet(**{absent: None}))
        assert 'pet = "file"' in caught.value.remedy

    @pytest.mark.parametrize(("elements", "message"), WRONG)
    def test_a_tag_that_says_something_else(self, read, elements, message):
        with pytest.raises(errors.DatasetError, match=message):
            read(pet(**elements))

    @pytest.mark.parametrize(("nuclide", "message"), WRONG_NUCLIDE)
    def test_an_injection_that_cannot_be(self, read, nuclide, message):
        with pytest.raises(errors.DatasetError, match=message):
            read(pet(nuclide))

    def test_slices_whose_times_contradict_each_other(self, tmp_path):
        for number, time in enumerate(("100130", "101030")):
            values = {"SeriesTime": time, "AcquisitionTime": "102000"}
            place = {"ImagePositionPatient": [0, 0, number], "SOPInstanceUID": f"1.2.{number}"}
            (tmp_path / f"{number}.dcm").write_bytes(pet(**values, **place))
        with pytest.raises(errors.DatasetError, match="one factor for SUV"):
            folder.read_path(tmp_path, ImagesOptions())

    def test_values_in_the_unit_of_the_file_are_asked_for_and_recorded(self, read):
        image = read(pet(PatientWeight=None), pet="file")
        wanted = (STORED.astype(np.float64) * 0.875).astype(np.float32)
        assert image.values[..., 0].tolist() == wanted.tolist()
        assert "values in BQML, not made SUV" in image.remarks

    def test_a_display_needs_no_suv(self, read):
        window = {"WindowCenter": 500, "WindowWidth": 1000}
        image = read(pet(PatientWeight=None, **window), intensity="display")
        assert image.values.dtype == np.uint16


class TestEnhanced:
    """Enhanced PET leaves unit and dose open (record 0044): no SUV, values of the file if asked."""

    @pytest.mark.parametrize("ending", ["130", "128.1"])
    def test_suv_are_refused_by_the_class(self, read, ending):
        data = dicom_files.enhanced(
            [0, 2, 4], [0.5, 0.25, 1], Modality="PT", Units="BQML",
            SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{ending}",
        )  # fmt: skip
        with pytest.raises(errors.DatasetError, match="enhanced multi-frame PET") as caught:
            read(data)
        assert "(0008,0016) SOPClassUID" in str(caught.value)
        assert 'pet = "file"' in caught.value.remedy
        image = read(data, pet="file")
        assert image.values[:, 0, 1, 0].tolist() == [5, 2.75, 12]
        assert "values in BQML, not made SUV" in image.remarks
