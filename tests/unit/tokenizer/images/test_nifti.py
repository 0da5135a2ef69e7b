# SPDX-License-Identifier: Apache-2.0
"""NIfTI is turned to R, A, S by moving data, scaled in two operations, or refused.

Not tested here: published volumes (tests/reference/test_nifti_against_nibabel.py).
"""

import gzip
import zlib

import nibabel
import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions, NiftiOptions
from tiny_agent_trainer.tokenizer.images import folder, image, nifti, pairing

CUBE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
LAS = np.diag([-1.5, 2.0, 2.5, 1.0])


@pytest.fixture
def read(tmp_path):
    """Reads a volume that nibabel wrote, after a change of its header or its bytes."""

    def reading(
        values=CUBE, affine=LAS, *, kind=nibabel.Nifti1Image, change=None, name="x.nii", index=None,
        damage=None,
    ):  # fmt: skip
        made = kind(values, affine)
        made.header.set_xyzt_units("mm")
        if change:
            change(made)
        data = made.to_bytes()
        (tmp_path / name).write_bytes(damage(data) if damage else data)
        options = ImagesOptions(nifti=NiftiOptions(index=index))
        return folder.read_path(tmp_path / name, options)

    return reading


class TestOrientation:
    """Pitfalls 12, 13 and 15."""

    def test_dims_are_turned_to_right_front_and_head(self, read):
        volume = read()
        assert volume.orientation == "RAS"
        assert volume.spacing_mm == (1.5, 2.0, 2.5)
        assert (volume.values[..., 0] == CUBE[::-1]).all()

    def test_dims_are_exchanged(self, read):
        affine = np.array([[0, 0, 3.0, 0], [-1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
        volume = read(affine=affine)
        assert volume.spacing_mm == (3.0, 1.0, 2.0)
        assert (volume.values[..., 0] == CUBE[::-1].transpose(2, 0, 1)).all()

    def test_an_oblique_grid_keeps_the_lengths_of_its_steps(self, read):
        turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3] = turn * [1.0, 2.0, 3.0]
        volume = read(affine=affine)
        assert volume.orientation == "RAS"
        assert np.allclose(volume.spacing_mm, (1, 2, 3), atol=1e-6)

    def test_the_sform_goes_before_the_qform(self, read):
        def only_qform(made):
            made.set_sform(np.diag([9.0, 9, 9, 1]), 0)
            made.set_qform(LAS, 1)

        assert read(change=only_qform).spacing_mm == (1.5, 2.0, 2.5)

    def test_a_sform_that_differs_from_the_qform_is_refused(self, read):
        def differ(made):
            made.set_qform(np.diag([1.5, 2.0, 2.5, 1.0]), 1)
            made.set_sform(LAS, 2)

        with pytest.raises(errors.DatasetError, match=r"sform and qform up to 3 mm apart"):
            read(change=differ)

    def test_without_either_nothing_is_assumed(self, read):
        def unset(made):
            made.set_sform(None, 0)
            made.set_qform(None, 0)

        volume = read(change=unset)
        assert volume.orientation == ""
        assert (volume.values[..., 0] == CUBE).all()
        assert volume.spacing_mm == (1.5, 2.0, 2.5)
        assert "neither sform nor qform: orientation unknown" in volume.remarks

    def test_microns_are_a_thousandth(self, read):
        volume = read(change=lambda made: made.header.set_xyzt_units("micron"))
        assert np.allclose(volume.spacing_mm, (0.0015, 0.002, 0.0025))

    def test_an_affine_without_three_directions_is_refused(self, read):
        def flat(data):
            return data[:252] + bytes(2) + data[254:296] + data[280:296] + data[312:]

        with pytest.raises(errors.DatasetError, match="three directions"):
            read(damage=flat)


class TestValues:
    """Pitfall 14."""

    @pytest.mark.parametrize(
        ("stored", "found"),
        [("u1", "uint8"), ("i1", "int16"), ("u2", "uint16"), ("i2", "int16"), ("i4", "int32"),
         ("u4", "int32"), ("f4", "float32"), ("f8", "float32")],
    )  # fmt: skip
    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    def test_types_and_byte_orders(self, read, tmp_path, stored, found, order, kind):
        values = CUBE.astype(stored)
        header = kind.header_class(endianness=order)
        header.set_data_dtype(values.dtype)
        made = kind(values, np.eye(4), header)
        (tmp_path / "y.nii").write_bytes(made.to_bytes())
        volume = folder.read_path(tmp_path / "y.nii", ImagesOptions())
        assert volume.values.dtype == found
        assert (volume.values[..., 0] == CUBE).all()

    def test_scaling_is_two_operations_of_float64_rounded_once(self, read):
        volume = read(affine=np.eye(4), damage=lambda data: self.with_scaling(data, 0.1, 7.3))
        slope, inter = float(np.float32(0.1)), float(np.float32(7.3))
        expected = (CUBE.astype(np.float64) * slope + inter).astype(np.float32)
        assert volume.values.dtype == np.float32
        assert volume.values[..., 0].tolist() == expected.tolist()

    @staticmethod
    def with_scaling(data, slope, inter):
        return data[:112] + np.array([slope, inter], "<f4").tobytes() + data[120:]

    @pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
    def test_a_slope_that_is_none_scales_nothing(self, read, slope):
        volume = read(damage=lambda data: self.with_scaling(data, slope, 5.0))
        assert volume.values.dtype == np.int16

    def test_an_inter_that_is_none_is_refused(self, read):
        with pytest.raises(errors.DatasetError, match="finite scl_inter"):
            read(damage=lambda data: self.with_scaling(data, 2.0, np.nan))

    def test_values_that_are_not_finite_are_refused(self, read):
        values = CUBE.astype(np.float32)
        values[0, 0, 0] = np.nan
        with pytest.raises(errors.DatasetError, match="1 that are not finite"):
            read(values)

    def test_integers_beyond_32_bits_are_refused(self, read):
        with pytest.raises(errors.DatasetError, match="2147483648"):
            read(CUBE.astype(np.uint32) + (1 << 31))

    def test_colour(self, read):
        colour = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
        colour["G"] = CUBE
        volume = read(colour, np.eye(4))
        assert volume.values.shape == (2, 3, 4, 3)
        assert (volume.values[..., 1] == CUBE).all()
        assert not volume.values[..., [0, 2]].any()

    def test_complex_numbers_are_refused(self, read):
        with pytest.raises(errors.DatasetError, match="datatype 32"):
            read(CUBE.astype(np.complex64))


class TestDims:
    """Pitfall 15: time or channels are chosen, never guessed."""

    SERIES = np.stack([CUBE, CUBE + 100], axis=-1)

    def test_four_dims_are_refused(self, read):
        with pytest.raises(errors.DatasetError, match="choose a volume from 0 to 1"):
            read(self.SERIES)

    def test_and_are_refusals_of_a_listing(self, tmp_path):
        (tmp_path / "x.nii").write_bytes(nibabel.Nifti1Image(self.SERIES, LAS).to_bytes())
        (refusal,) = folder.list_folder(tmp_path, ImagesOptions()).refusals
        assert "4-D data with 2 volumes" in refusal.reason
        chosen = ImagesOptions(nifti=NiftiOptions(index=0))
        assert len(folder.list_folder(tmp_path, chosen).items) == 1

    def test_or_indexed(self, read):
        volume = read(self.SERIES, np.eye(4), index=1)
        assert (volume.values[..., 0] == CUBE + 100).all()

    def test_an_index_that_is_not_there_is_refused(self, read):
        with pytest.raises(errors.DatasetError, match="none of which is 2"):
            read(self.SERIES, index=2)

    def test_a_fourth_dim_of_one_is_none(self, read):
        assert read(CUBE[..., None], np.eye(4)).values.shape == (2, 3, 4, 1)

    def test_more_are_refused(self, read):
        with pytest.raises(errors.DatasetError, match="at most 4 dims"):
            read(self.SERIES[:, :, :, None])

    def test_two_dims(self, read):
        picture = read(CUBE[0], np.eye(4))
        assert picture.values.shape == (3, 4, 1)
        assert picture.orientation == "RA"


class TestFiles:
    """Pitfall 16, and files that are cut, longer, or larger than they look."""

    def test_the_time_in_a_gzip_file_is_no_part_of_the_values(self, read):
        first = read(name="a.nii.gz", damage=lambda data: gzip.compress(data, mtime=1))
        second = read(name="b.nii.gz", damage=lambda data: gzip.compress(data, mtime=2))
        assert (first.values == second.values).all()
        assert first.files[0].sha256 != second.files[0].sha256

    def test_several_gzip_members_are_one_file(self, read):
        def in_two(data):
            return gzip.compress(data[:500]) + gzip.compress(data[500:])

        values = np.zeros((10, 10, 10), np.int16) + 3
        assert (read(values, name="x.nii.gz", damage=in_two).values == 3).all()

    @pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
    def test_a_file_that_is_cut_or_longer_is_refused(self, read, name):
        def packed(data):
            return gzip.compress(data) if name.endswith(".gz") else data

        for damage in (lambda data: packed(data[:-1]), lambda data: packed(data + b"\0")):
            with pytest.raises(errors.DatasetError, match="bytes, as shape"):
                read(name=name, damage=damage)

    def test_a_gzip_file_with_a_wrong_checksum_is_refused(self, read):
        def damage(data):
            packed = gzip.compress(data)
            return packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]

        with pytest.raises(errors.DatasetError, match="whole gzip file"):
            read(name="x.nii.gz", damage=damage)

    def test_a_bomb_is_inflated_to_what_its_header_says(self, read):
        def bomb(data):
            packer = zlib.compressobj(wbits=31)
            return packer.compress(data + bytes(100_000_000)) + packer.flush()

        with pytest.raises(errors.DatasetError, match="found more"):
            read(name="x.nii.gz", damage=bomb)

    def test_a_header_that_asks_for_too_much_is_refused_before_it_is_read(self, read):
        def huge(data):
            return data[:40] + np.array([3, 30000, 30000, 30000], "<i2").tobytes() + data[48:]

        with pytest.raises(errors.DatasetError, match="27000000000000 values"):
            read(damage=huge)

    def test_header_and_image_in_two_files_are_refused(self, read):
        with pytest.raises(errors.DatasetError, match="one file"):
            read(damage=lambda data: data.replace(b"n+1\0", b"ni1\0"))


class TestLabelMaps:
    """Whole class numbers with slope 1, turned as their images."""

    def label(self, tmp_path, values, damage=None):
        data = nibabel.Nifti1Image(values, LAS).to_bytes()
        (tmp_path / "l.nii").write_bytes(damage(data) if damage else data)
        return nifti.read_label_map(tmp_path, "l.nii", NiftiOptions())

    def test_integers_stay_and_are_turned(self, tmp_path):
        found = self.label(tmp_path, CUBE.astype(np.uint8))
        assert (found.values[..., 0] == CUBE[::-1]).all()
        assert found.values.dtype == np.uint8

    def test_whole_floats_become_integers(self, tmp_path):
        found = self.label(tmp_path, CUBE.astype(np.float32))
        assert found.values.dtype == np.int32

    def test_fractions_negative_numbers_and_slopes_are_refused(self, tmp_path):
        with pytest.raises(errors.DatasetError, match="fractions"):
            self.label(tmp_path, CUBE + np.float32(0.5))
        with pytest.raises(errors.DatasetError, match="class numbers from 0"):
            self.label(tmp_path, CUBE - np.int16(1))
        with pytest.raises(errors.DatasetError, match="slope 1"):
            self.label(tmp_path, CUBE, lambda data: TestValues.with_scaling(data, 2.0, 0.0))


class TestPairing:
    """Images and label maps by name, shape and place."""

    def listing(self, root, volumes):
        root.mkdir()
        for name, (shape, affine) in volumes.items():
            made = nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine)
            (root / f"{name}.nii").write_bytes(made.to_bytes())
        return folder.list_folder(root, ImagesOptions())

    def test_every_fault_is_named(self, tmp_path):
        moved = LAS.copy()
        moved[0, 3] = 4.0
        good = ((2, 3, 4), LAS)
        images = {"a": good, "b": good, "c": good, "d": good, "turned": ((2, 3, 4), LAS)}
        labels = {"a": good, "b": ((2, 3, 5), LAS), "c": ((2, 3, 4), moved), "e": good}
        labels["turned"] = ((2, 3, 4), np.diag([1.5, 2.0, 2.5, 1.0]))
        found = pairing.pair_label_maps(
            self.listing(tmp_path / "i", images), self.listing(tmp_path / "l", labels)
        )
        assert [scan.names["stem"] for scan, _ in found.pairs] == ["a"]
        reasons = {fault.key: fault.reason for fault in found.faults}
        assert (
            reasons["b.nii"] == "shape 2 x 3 x 4, but 2 x 3 x 5 in the label map (label map b.nii)"
        )
        assert reasons["c.nii"] == "affines up to 4 mm apart (label map c.nii)"
        assert reasons["d.nii"] == "no label map of this name"
        assert reasons["e.nii"] == "a label map without an image of this name"
        assert "mm apart" in reasons["turned.nii"]

    def test_a_refused_file_is_a_fault_too(self, tmp_path):
        refusal = image.Refusal(key="x.nii", reason="damaged")
        empty = image.Listing(items=(), refusals=())
        found = pairing.pair_label_maps(image.Listing(items=(), refusals=(refusal,)), empty)
        assert found.faults == (refusal,)
