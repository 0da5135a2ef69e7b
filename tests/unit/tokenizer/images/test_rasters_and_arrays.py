# SPDX-License-Identifier: Apache-2.0
"""TIFF, BMP and arrays are read as they are or refused; folders list what they hold.

Not tested here: PNG and JPEG (tests/unit/tokenizer/test_image_folder.py, by the same decoder).
"""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
READERS = ImagesOptions()


def picture(pixels, form, **options):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, form, **options)
    return written.getvalue()


def read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return folder.read_path(tmp_path / name, READERS)


def npy(values, **options):
    written = io.BytesIO()
    np.save(written, values, **options)
    return written.getvalue()


class TestRasters:
    """Pitfall 20, and the same for TIFF."""

    @pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
    def test_gray_and_colour_with_8_bits(self, tmp_path, form):
        colour = np.stack([GRAY, GRAY + 1, GRAY + 2], axis=-1)
        assert (
            read(tmp_path, f"a.{form.lower()}", picture(GRAY, form)).values[..., 0] == GRAY
        ).all()
        assert (read(tmp_path, f"b.{form.lower()}", picture(colour, form)).values == colour).all()

    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_gray_with_16_bits_stays_16_bits(self, tmp_path, form):
        deep = GRAY.astype(np.uint16) * 257 + 3
        found = read(tmp_path, f"a.{form.lower()}", picture(deep, form))
        assert found.values.dtype == np.uint16
        assert (found.values[..., 0] == deep).all()
        assert found.decoder.startswith("Pillow ")

    def test_float_tiff_stays_float(self, tmp_path):
        found = read(tmp_path, "a.tif", picture(GRAY / np.float32(7), "TIFF"))
        assert found.values.dtype == np.float32

    def tiff(self, *, photometric, bits, samples, data, order="<"):
        """A TIFF written by hand."""
        entries = [
            (256, 4, 1, 2), (257, 4, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1),
            (262, 3, 1, photometric), (273, 4, 1, 8 + 2 + 12 * 9 + 4), (277, 3, 1, samples),
            (278, 4, 1, 1), (279, 4, 1, len(data)),
        ]  # fmt: skip
        if samples == 3:
            place = 8 + 2 + 12 * 9 + 4
            entries[2] = (258, 3, 3, place)
            entries[5] = (273, 4, 1, place + 6)
            data = struct.pack(order + "3H", bits, bits, bits) + data
        directory = b"".join(
            struct.pack(order + "HHI", tag, kind, count)
            + (
                struct.pack(order + "HH", value, 0)
                if kind == 3 and count == 1
                else struct.pack(order + "I", value)
            )
            for tag, kind, count, value in entries
        )
        start = b"II*\0" if order == "<" else b"MM\0*"
        return start + struct.pack(order + "IH", 8, 9) + directory + bytes(4) + data

    @pytest.mark.parametrize("order", "<>")
    def test_both_byte_orders(self, tmp_path, order):
        data = self.tiff(
            photometric=1, bits=16, samples=1, data=struct.pack(order + "2H", 258, 3), order=order
        )
        assert read(tmp_path, "a.tif", data).values[0, :, 0].tolist() == [258, 3]

    def test_deep_gray_in_which_0_is_white_is_refused(self, tmp_path):
        data = self.tiff(photometric=0, bits=16, samples=1, data=struct.pack("<2H", 258, 3))
        with pytest.raises(errors.DatasetError, match="0 is white"):
            read(tmp_path, "a.tif", data)

    def test_deep_colour_is_refused(self, tmp_path):
        data = self.tiff(photometric=2, bits=16, samples=3, data=struct.pack("<6H", *range(6)))
        with pytest.raises(errors.DatasetError):
            read(tmp_path, "a.tif", data)

    def test_several_pages_are_refused(self, tmp_path):
        pages = io.BytesIO()
        with TiffImagePlugin.AppendingTiffWriter(pages) as writer:
            for _ in range(2):
                Image.fromarray(GRAY).save(writer, "TIFF")
                writer.newFrame()
        with pytest.raises(errors.DatasetError, match="2 frames"):
            read(tmp_path, "a.tif", pages.getvalue())

    def test_jpeg_is_remarked_on_as_lossy(self, tmp_path):
        assert read(tmp_path, "a.jpg", picture(GRAY, "JPEG")).remarks == ("lossy compression",)


class TestArrays:
    """npy and npz: numbers only, of known shape."""

    @pytest.mark.parametrize(
        ("shape", "found"),
        [((3, 4), (3, 4, 1)), ((3, 4, 3), (3, 4, 3)), ((3, 4, 1), (3, 4, 1)),
         ((5, 3, 4), (5, 3, 4, 1)), ((5, 3, 4, 3), (5, 3, 4, 3))],
    )  # fmt: skip
    def test_shapes(self, tmp_path, shape, found):
        values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        image = read(tmp_path, "a.npy", npy(values))
        assert image.values.shape == found
        assert (image.values.ravel() == values.ravel()).all()

    @pytest.mark.parametrize("shape", [(), (4,), (0, 4), (2, 2, 2, 2), (2, 2, 2, 2, 3)])
    def test_other_shapes_are_refused(self, tmp_path, shape):
        with pytest.raises(errors.DatasetError):
            read(tmp_path, "a.npy", npy(np.zeros(shape, np.uint8)))

    def test_columns_first_and_big_endian_are_the_same_values(self, tmp_path):
        plain = read(tmp_path, "a.npy", npy(GRAY.astype(np.int16)))
        other = read(tmp_path, "b.npy", npy(np.asfortranarray(GRAY.astype(">i2"))))
        assert (plain.values == other.values).all()
        assert other.values.dtype == plain.values.dtype
        assert other.values.flags.c_contiguous

    def test_float64_is_rounded_once_and_what_is_not_finite_refused(self, tmp_path):
        found = read(tmp_path, "a.npy", npy(GRAY / 7))
        assert (found.values[..., 0] == (GRAY / 7).astype(np.float32)).all()
        for bad in (np.nan, np.inf, 1e300):
            with pytest.raises(errors.DatasetError, match="not finite"):
                read(tmp_path, "b.npy", npy(np.full((2, 2), bad)))

    def test_an_npz_with_one_array(self, tmp_path):
        written = io.BytesIO()
        np.savez_compressed(written, image=GRAY)
        assert (read(tmp_path, "a.npz", written.getvalue()).values[..., 0] == GRAY).all()

    def test_an_npz_with_two_is_refused(self, tmp_path):
        written = io.BytesIO()
        np.savez(written, image=GRAY, label=GRAY)
        with pytest.raises(errors.DatasetError, match="2 arrays"):
            read(tmp_path, "a.npz", written.getvalue())

    def test_pickles_are_never_loaded(self, tmp_path):
        class Harm:
            def __reduce__(self):
                return (open, (str(tmp_path / "harm"), "w"))

        for name, data in {
            "a.npy": npy(np.array([Harm(), None], object), allow_pickle=True),
            "b.npy": pickle.dumps(Harm()),
        }.items():
            with pytest.raises(errors.DatasetError):
                read(tmp_path, name, data)
        assert not (tmp_path / "harm").exists()

    def test_a_header_that_asks_for_too_much_is_refused(self, tmp_path):
        huge = npy(np.zeros((2, 2), np.uint8)).replace(
            b"'shape': (2, 2), }            ", b"'shape': (1048576, 1048576), }"
        )
        assert b"1048576" in huge
        with pytest.raises(errors.DatasetError, match="1099511627776 values"):
            read(tmp_path, "a.npy", huge)

    def test_a_header_that_is_no_header_is_refused(self, tmp_path):
        data = npy(np.zeros((2, 2), np.uint8)).replace(b"(2, 2)", b"(99999")
        with pytest.raises(errors.DatasetError, match="npy file of numbers"):
            read(tmp_path, "a.npy", data)

    def test_a_file_that_is_cut_is_refused(self, tmp_path):
        data = npy(GRAY)
        for length in range(0, len(data), 7):
            with pytest.raises(errors.DatasetError):
                read(tmp_path, "a.npy", data[:length])

    def test_an_npz_that_lies_of_its_size_is_refused(self, tmp_path):
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", npy(np.zeros((1000, 1000), np.uint8)))
        data = bytearray(written.getvalue())
        for mark, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
            start = data.index(mark) + place
            data[start : start + 4] = struct.pack("<I", 200)
        with pytest.raises(errors.DatasetError):
            read(tmp_path, "a.npz", bytes(data))


class TestFolders:
    """What is below a root, in byte order; nothing outside of it."""

    def listing(self, root):
        return folder.list_folder(root, READERS)

    @pytest.fixture
    def tree(self, tmp_path):
        root = tmp_path / "root"
        for key in ("b/x.png", "a/y.png", "a.png", ".hidden/z.png", "a/.z.png", "notes.txt"):
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(picture(GRAY, "PNG"))
        return root

    def test_keys_are_in_byte_order_and_hidden_and_other_files_left_out(self, tree):
        assert [item.key for item in self.listing(tree).items] == ["a.png", "a/y.png", "b/x.png"]

    def test_facts_and_names_are_known_without_decoding(self, tree):
        item = self.listing(tree).items[1]
        assert item.names == {"file": "a/y.png", "stem": "y"}
        assert item.facts == {"format": "PNG", "rows": "3", "columns": "4"}
        assert (item.read().values[..., 0] == GRAY).all()
        assert folder.stem_of("a/b.nii.gz") == "b"

    def test_a_file_that_is_no_image_is_a_refusal(self, tree):
        (tree / "c.png").write_bytes(b"nothing")
        (refusal,) = self.listing(tree).refusals
        assert refusal.key == "c.png"
        assert "PNG" in refusal.reason

    def test_links_that_lead_out_and_links_to_folders_are_refusals(self, tree, tmp_path):
        (tmp_path / "secret.png").write_bytes(picture(GRAY, "PNG"))
        (tree / "out.png").symlink_to(tmp_path / "secret.png")
        (tree / "loop").symlink_to(tree)
        (tree / "nowhere.png").symlink_to(tree / "absent")
        reasons = {refusal.key: refusal.reason for refusal in self.listing(tree).refusals}
        assert "leads out" in reasons["out.png"]
        assert "not followed" in reasons["loop"]
        assert "not followed" in reasons["nowhere.png"]
        assert len(self.listing(tree).items) == 3

    def test_a_file_that_changes_into_a_link_is_refused_when_it_is_read(self, tree, tmp_path):
        (tmp_path / "secret.png").write_bytes(picture(GRAY, "PNG"))
        item = self.listing(tree).items[0]
        (tree / "a.png").unlink()
        (tree / "a.png").symlink_to(tmp_path / "secret.png")
        with pytest.raises(errors.DatasetError, match="leads out"):
            item.read()

    def test_a_folder_that_is_absent_is_missing(self, tmp_path):
        with pytest.raises(errors.DatasetMissingError):
            self.listing(tmp_path / "absent")
        with pytest.raises(errors.DatasetMissingError):
            folder.read_path(tmp_path / "absent", READERS)

    def test_a_path_is_one_image_or_a_folder_with_one(self, tree):
        assert folder.read_path(tree / "b", READERS).values.shape == (3, 4, 1)
        with pytest.raises(errors.DatasetError, match="3 images"):
            folder.read_path(tree, READERS)
        (tree / "c.txt").write_text("hello")
        with pytest.raises(errors.DatasetError, match="another kind of file"):
            folder.read_path(tree / "c.txt", READERS)

    def test_progress_is_told(self, tree):
        told = []
        folder.list_folder(tree, READERS, lambda *said: told.append(said))
        assert told[-1][0] == "looking at files"
        assert [done for _, done, _ in told] == list(range(1, len(told) + 1))
