# SPDX-License-Identifier: Apache-2.0
"""Files become images and volumes by series, orientation and position; or are refused, and why.

Not tested here: published series (tests/reference/test_dicom_against_peers.py).
"""

import io
from pathlib import Path

import dicom_files
import numpy as np
import pydicom
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder

SAGITTAL = [0, 1, 0, 0, 0, -1]


@pytest.fixture
def listing(tmp_path):
    """Lists a folder of these files."""

    def found(files, **options):
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        return folder.list_folder(tmp_path, ImagesOptions(dicom=DicomOptions(**options)))

    return found


def refused(listed):
    assert not listed.items
    return "; ".join(refusal.reason for refusal in listed.refusals)


class TestVolumes:
    """Pitfalls 10 to 12."""

    def test_slices_are_sorted_by_position_not_by_name_or_number(self, listing):
        files = dicom_files.stack([4, 0, 2, 6])
        for number, name in enumerate(list(files)):
            found = dicom_files.dataset(InstanceNumber=9 - number)
            assert found.InstanceNumber == 9 - number
            assert name in files
        (item,) = listing(files).items
        volume = item.read()
        assert volume.values[:, 0, 0, 0].tolist() == [1, 2, 0, 3]
        assert volume.spacing_mm == (2.0, 0.5, 0.25)
        assert volume.orientation == "SPL"
        assert [file.path for file in volume.files] == sorted(files)

    def test_steps_are_between_positions_whatever_the_slice_thickness(self, listing):
        (item,) = listing(dicom_files.stack([0, 3, 6], SliceThickness=1)).items
        assert item.read().spacing_mm[0] == 3.0
        assert item.facts["spacing_mm"] == "3 x 0.5 x 0.25"

    def test_sagittal_slices_along_their_own_normal(self, listing):
        places = [(x, 0, 0) for x in (2, 0, 1)]
        (item,) = listing(dicom_files.stack(places, ImageOrientationPatient=SAGITTAL)).items
        # The normal of (0 1 0) x (0 0 -1) is (-1 0 0): to the right.
        volume = item.read()
        assert volume.orientation == "RIP"
        assert volume.values[:, 0, 0, 0].tolist() == [0, 2, 1]

    def test_every_slice_has_its_own_slope(self, listing):
        files = dicom_files.stack([0, 1])
        files["002.dcm"] = dicom_files.make(
            dicom_files.RAMP, ImagePositionPatient=[0, 0, 2], RescaleSlope="0.5"
        )
        (item,) = listing(files).items
        values = item.read().values
        assert values.dtype == np.float32
        assert values[1, 0, 1, 0] == 11
        assert values[2, 0, 1, 0] == 5

    def test_two_series_are_two_volumes(self, listing):
        first = dicom_files.stack([0, 1, 2])
        second = dicom_files.stack([0, 1, 2], SeriesInstanceUID="1.9")
        both = {
            **{f"a/{n}": d for n, d in first.items()},
            **{f"b/{n}": d for n, d in second.items()},
        }
        assert [item.key for item in listing(both).items] == ["a/000.dcm", "b/000.dcm"]

    def test_two_orientations_of_one_series_are_two_volumes(self, listing):
        first = dicom_files.stack([0, 1, 2])
        second = dicom_files.stack([(x, 0, 0) for x in range(3)], ImageOrientationPatient=SAGITTAL)
        both = {
            **{f"a/{n}": d for n, d in first.items()},
            **{f"b/{n}": d for n, d in second.items()},
        }
        assert [item.facts["orientation"] for item in listing(both).items] == ["SPL", "RIP"]

    def test_radiographs_of_one_series_are_images_of_their_own(self, listing):
        assert len(listing(dicom_files.stack([0, 1, 2], Modality="DX")).items) == 3

    def test_volumes_never_makes_images_and_always_makes_volumes(self, listing):
        files = dicom_files.stack([0, 1, 2])
        assert len(listing(files, volumes="never").items) == 3
        files = dicom_files.stack([0, 1, 2], Modality="OT")
        (item,) = listing(files, volumes="always").items
        assert item.read().values.shape == (3, 3, 4, 1)

    def test_a_volume_that_is_shown_has_one_range(self, listing):
        (item,) = listing(dicom_files.stack([0, 1, 2]), intensity="display").items
        values = item.read().values
        assert (values[0].min(), values[-1].max()) == (0, 65535)
        assert values[0].max() < 65535

    def test_names_are_the_datas_own_and_a_volume_has_no_instance(self, listing):
        (item,) = listing(dicom_files.stack([0, 1])).items
        assert item.names["patient_id"] == "p1"
        assert item.names["study_uid"] == dicom_files.STUDY
        assert item.names["sop_uid"] == ""
        assert not {"p1", dicom_files.STUDY} & set(item.facts.values())


class TestRefusals:
    """Refused with figures, never warned of."""

    def test_irregular_spacing(self, listing):
        found = refused(listing(dicom_files.stack([0, 2, 3.5, 5.5, 7.5])))
        assert "irregular spacing: steps of 2.00, 1.50 mm" in found
        assert "on_irregular" in found
        assert "missing" not in found

    def test_one_long_step_tells_of_a_missing_slice(self, listing):
        found = refused(listing(dicom_files.stack([0, 2, 4, 8, 10])))
        assert "steps of 2.00, 4.00 mm along the normal, as where a slice is missing" in found

    def test_a_reason_is_part_of_a_sentence(self, listing):
        found = refused(listing(dicom_files.stack([0, 2, 2, 4])))
        assert found.endswith("(mend or remove what is named here, then run again)")
        assert "To go on" not in found

    def test_a_gap_even_where_resampling_is_allowed(self, listing):
        for option in ("refuse", "resample"):
            found = refused(listing(dicom_files.stack([0, 2, 4, 14]), on_irregular=option))
            assert "a gap of 10.00 mm between slices that are 2.00 mm apart" in found

    def test_duplicate_positions(self, listing):
        found = refused(listing(dicom_files.stack([0, 2, 2, 4])))
        assert "1 of 4 slices at the position of another" in found

    def test_mixed_orientation(self, listing):
        files = dicom_files.stack([0, 2])
        files["x.dcm"] = dicom_files.make(ImageOrientationPatient=SAGITTAL)
        assert "mixed orientation or size: 3 files in 2 directions" in refused(listing(files))

    def test_gantry_tilt(self, listing):
        places = [(0, 0.4 * z, z) for z in range(5)]
        found = refused(listing(dicom_files.stack(places)))
        assert (
            "gantry tilt or shear: slices shifted in their plane by up to 1.60 mm over 4.00 mm"
            in found
        )

    def test_localisers(self, listing):
        files = dicom_files.stack([0, 2], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        assert "a localiser" in refused(listing(files))
        assert len(listing(files, volumes="never").items) == 2

    @pytest.mark.parametrize(
        "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    )
    def test_missing_tags_are_named(self, listing, keyword):
        found = refused(listing(dicom_files.stack([0, 1], **{keyword: None})))
        assert f") {keyword}" in found
        assert "2 of them without a place" in found

    def test_directions_that_are_no_unit_vectors(self, listing):
        files = dicom_files.stack([0, 1], ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
        assert "perpendicular unit vectors" in refused(listing(files))

    def test_pixel_spacings_that_differ(self, listing):
        files = dicom_files.stack([0, 1, 2])
        files["003.dcm"] = dicom_files.make(
            ImagePositionPatient=[0, 0, 3], PixelSpacing=[0.6, 0.25]
        )
        assert "pixel spacings differ" in refused(listing(files))

    def test_files_that_hold_no_image_are_named_with_what_they_are(self, listing):
        files = {
            "seg.dcm": dicom_files.make(Modality="SEG"),
            "sr.dcm": dicom_files.make(Modality="SR", Rows=None),
            "text.dcm": b"no DICOM at all",
        }
        found = {refusal.key: refusal.reason for refusal in listing(files).refusals}
        assert "a segmentation" in found["seg.dcm"]
        assert "modality SR" in found["sr.dcm"]
        assert "no DICOM file" in found["text.dcm"]


class TestResampling:
    """`on_irregular = "resample"`: linear, in integers, to the step that most slices have."""

    def resampled(self, listing, files):
        (item,) = listing(files, on_irregular="resample").items
        return item.read()

    def test_a_ramp_along_the_normal_stays_a_ramp(self, listing):
        places = [0, 2, 3, 4, 6, 8]
        files = {}
        for number, place in enumerate(places):
            pixels = np.full((3, 4), 100 * place, np.int16)
            files[f"{number}.dcm"] = dicom_files.make(pixels, ImagePositionPatient=[0, 0, place])
        volume = self.resampled(listing, files)
        assert volume.values[:, 1, 1, 0].tolist() == [0, 200, 400, 600, 800]
        assert volume.spacing_mm == (2.0, 0.5, 0.25)
        assert any(remark.startswith("resampled to slices 2.000 mm") for remark in volume.remarks)

    def test_values_between_slices_are_rounded_half_up_once(self, listing):
        files = {}
        for number, (place, value) in enumerate([(0, 0), (2, 10), (3, 13), (5, 14), (7, 16)]):
            pixels = np.full((2, 2), value, np.int16)
            files[f"{number}.dcm"] = dicom_files.make(pixels, ImagePositionPatient=[0, 0, place])
        volume = self.resampled(listing, files)
        # At 4 mm: half between 13 and 14; at 6 mm: half between 14 and 16.
        assert volume.values[:, 0, 0, 0].tolist() == [0, 10, 14, 15]

    def test_a_sheared_block_becomes_straight(self, listing):
        """A block that stands still in the patient moves in slices whose first pixel moves."""
        files = {}
        for z in range(4):
            pixels = np.zeros((14, 6), np.int16)
            pixels[7 - 2 * z : 9 - 2 * z, 2:4] = 100
            place = [0, 2 * 0.5 * z, z]
            files[f"{z}.dcm"] = dicom_files.make(pixels, ImagePositionPatient=place)
        values = self.resampled(listing, files).values[..., 0]
        assert (values == values[0]).all()
        assert values[0, 7:9, 2:4].tolist() == [[100, 100], [100, 100]]

    def test_a_shift_by_half_a_pixel_is_the_mean_of_two(self, listing):
        pixels = np.array([[0, 100, 0, 0]] * 4, np.int16)
        files = {
            f"{z}.dcm": dicom_files.make(pixels, ImagePositionPatient=[0.125 * z, 0, z])
            for z in range(2)
        }
        values = self.resampled(listing, files).values[1, 0, :, 0]
        assert values.tolist() == [0, 50, 50, 0]

    def test_floats_too(self, listing):
        files = {}
        for number, place in enumerate([0, 2, 3, 5, 7]):
            pixels = np.full((2, 2), 100 * place, np.int16)
            files[f"{number}.dcm"] = dicom_files.make(
                pixels, ImagePositionPatient=[0, 0, place], RescaleSlope="0.25"
            )
        volume = self.resampled(listing, files)
        assert volume.values.dtype == np.float32
        assert volume.values[:, 0, 0, 0].tolist() == [0, 50, 100, 150]
        assert volume.spacing_mm[0] == 2.0


class TestMultiFrame:
    """Pitfalls 4 and 9: geometry and slope of each frame stand in its functional groups."""

    def test_frames_are_sorted_and_scaled_each_by_its_own_group(self, listing):
        (item,) = listing({"x.dcm": dicom_files.enhanced([4, 0, 2], [1, 2, 3])}).items
        volume = item.read()
        assert volume.spacing_mm == (2.0, 0.5, 0.25)
        assert volume.orientation == "SPL"
        assert volume.values[:, 0, 1, 0].tolist() == [22, 36, 10]

    @pytest.mark.parametrize(
        ("macro", "values", "reason"),
        [
            ("PlaneOrientation", {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, "mixed orient"),
            ("PixelMeasures", {"PixelSpacing": [0.5, 0.3]}, "spacings differ within the series"),
        ],
    )
    def test_a_frame_of_another_grid_is_refused(self, listing, macro, values, reason):
        found = pydicom.dcmread(io.BytesIO(dicom_files.enhanced([0, 2, 4], [1, 1, 1])))
        group = found.PerFrameFunctionalGroupsSequence[2]
        setattr(group, f"{macro}Sequence", dicom_files.sequence(dicom_files.item(**values)))
        assert reason in refused(listing({"x.dcm": dicom_files.encode(found)}))

    @pytest.mark.parametrize("modality", ["CT", "MR"])
    def test_fractional_slopes_are_each_frames_own(self, listing, modality):
        data = dicom_files.enhanced([4, 0, 2], [0.5, 0.25, 1], Modality=modality)
        (item,) = listing({"x.dcm": data}).items
        assert item.read().values[:, 0, 1, 0].tolist() == [2.75, 12, 5]

    def test_irregular_frames_are_refused_with_figures(self, listing):
        files = {"x.dcm": dicom_files.enhanced([0, 2, 3.5, 5.5], [1] * 4)}
        assert "steps of 2.00, 1.50 mm" in refused(listing(files))

    def test_facts_of_a_multi_frame_volume_are_known_without_decoding(self, listing):
        (item,) = listing({"x.dcm": dicom_files.enhanced([4, 0, 2], [1, 2, 3])}).items
        assert item.facts["slices"] == "3"
        assert item.facts["spacing_mm"] == "2 x 0.5 x 0.25"
        assert item.facts["orientation"] == "SPL"

    def test_another_number_of_groups_than_of_frames_is_refused(self, listing):
        found = refused(
            listing({"x.dcm": dicom_files.enhanced([0, 2, 4], [1] * 3, NumberOfFrames=2)})
        )
        assert "2 frames, each with its group" in found

    def test_a_loop_is_refused_unless_a_frame_is_chosen(self, listing):
        pixels = np.stack([dicom_files.RAMP, dicom_files.RAMP + 7])
        loop = dicom_files.make(
            pixels, NumberOfFrames=2, Modality="US", ImagePositionPatient=None,
        )  # fmt: skip
        assert "choose a frame from 0 to 1" in refused(listing({"x.dcm": loop}))
        (item,) = listing({"x.dcm": loop}, frame=1, intensity="quantitative").items
        assert item.read().values[0, 0, 0] == 7

    def test_frames_at_one_place_are_no_volume(self, listing):
        pixels = np.stack([dicom_files.RAMP, dicom_files.RAMP + 7])
        found = refused(listing({"x.dcm": dicom_files.make(pixels, NumberOfFrames=2)}))
        assert "2 frames that make no volume (all frames are at one place)" in found

    @pytest.mark.parametrize("count", [0, 1 << 20])
    def test_an_impossible_number_of_frames_is_refused(self, listing, count):
        found = refused(listing({"x.dcm": dicom_files.make(NumberOfFrames=count)}))
        assert "(0028,0008) NumberOfFrames" in found

    def test_frames_that_are_not_there_are_refused(self, listing):
        loop = dicom_files.make(NumberOfFrames=2, Modality="US")
        (item,) = listing({"x.dcm": loop}, frame=1).items
        with pytest.raises(errors.DatasetError, match="pydicom decodes"):
            item.read()


class TestDirectory:
    """A DICOMDIR is no image; what it lists must be there."""

    def directory(self, *names):
        records = [
            dicom_files.item(
                OffsetOfTheNextDirectoryRecord=0, RecordInUseFlag=0xFFFF,
                OffsetOfReferencedLowerLevelDirectoryEntity=0, DirectoryRecordType="IMAGE",
                ReferencedFileID=name.split("/"),
            )
            for name in names
        ]  # fmt: skip
        found = dicom_files.dataset(SOPClassUID=pydicom.uid.MediaStorageDirectoryStorage)
        found.DirectoryRecordSequence = dicom_files.sequence(*records)
        return dicom_files.encode(found)

    def test_files_that_are_there_are_found_by_themselves(self, listing):
        files = {"DICOMDIR": self.directory("A/IM1"), "A/IM1": dicom_files.make()}
        listed = listing(files)
        assert [item.key for item in listed.items] == ["A/IM1"]
        assert not listed.refusals

    def test_a_file_that_is_missing_is_a_refusal(self, listing):
        files = {"DICOMDIR": self.directory("A/IM1", "A/IM2"), "A/IM1": dicom_files.make()}
        (refusal,) = listing(files).refusals
        assert refusal.key == "DICOMDIR"
        assert "lists 2 files, of which 1 are missing: A/IM2" in refusal.reason

    def test_small_letters_are_the_same_name(self, listing):
        assert not listing(
            {"DICOMDIR": self.directory("A/IM1"), "a/im1": dicom_files.make()}
        ).refusals

    def test_a_folder_of_these_very_letters_comes_first(self, listing):
        one, other = (dicom_files.make(Modality="DX", SeriesInstanceUID=f"1.{n}") for n in (1, 2))
        files = {"DICOMDIR": self.directory("a/IM1", "A/IM1"), "A/IM1": one, "a/other": other}
        (refusal,) = listing(files).refusals
        assert refusal.reason.endswith("lists 2 files, of which 1 are missing: a/IM1")

    def test_a_folder_is_looked_at_once_for_all_its_files(self, listing, monkeypatch):
        names = [f"A/IM{number}" for number in range(40)]
        seen, plain = [], Path.iterdir

        def counted(path):
            seen.append(path.name)
            return plain(path)

        monkeypatch.setattr(Path, "iterdir", counted)
        files = {"DICOMDIR": self.directory(*names)}
        files |= {name: dicom_files.make(Modality="DX") for name in names}
        assert not listing(files).refusals
        assert seen.count("A") == 1

    def test_a_name_that_leads_out_is_missing(self, listing, tmp_path):
        (tmp_path.parent / "secret").write_bytes(b"x")
        (refusal,) = listing({"DICOMDIR": self.directory("../secret")}).refusals
        assert "1 are missing" in refusal.reason
