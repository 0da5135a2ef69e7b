# SPDX-License-Identifier: Apache-2.0
"""A folder of images is read whole, or refused with the file or the line that is wrong.

Not tested here: every way in which Pillow can be asked to decode a damaged file.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.config.data import ImageFolderOptions
from tiny_agent_trainer.config.splits import LinkedSplitOptions
from tiny_agent_trainer.tokenizer.image_folder import ImageFolderReader

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def png(pixels, mode=None, **options):
    written = io.BytesIO()
    Image.fromarray(pixels, mode).save(written, "PNG", **options)
    return written.getvalue()


def gray(value):
    return png(np.full((2, 2), value, np.uint8))


def raw_png(width, height, depth, color, rows, *more):
    """A PNG with any header, written by hand."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    middle = b"".join(chunk(kind, data) for kind, data in more)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.fixture
def fill(tmp_path):
    """Writes files below an empty root and reads them."""

    def write(files):
        for path, data in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data if isinstance(data, bytes) else data.encode())
        return tmp_path

    return write


def read(root, **options):
    section = ImageFolderOptions(reader="image_folder", root=str(root), **options)
    return ImageFolderReader(section).read()


def refused(root, **options):
    with pytest.raises(errors.DatasetError) as caught:
        read(root, **options)
    return str(caught.value)


def class_folders(count=10):
    return {f"{'ill' if i % 2 else 'well'}/{i:02d}.png": gray(i) for i in range(count)}


def table(*lines, header="file,label,patient,split"):
    return "\n".join([header, *lines]) + "\n"


def one_image(fill, data, name="ill/x.png"):
    """The only image of a folder that is sound otherwise."""
    dataset = read(fill({**class_folders(), name: data}))
    return dataset.images[[sample.key for sample in dataset.samples].index(name)]


class TestFolders:
    """Classes and splits by folder."""

    def test_each_folder_is_a_class_and_each_image_a_patient(self, fill):
        dataset = read(fill(class_folders()))
        assert (dataset.classes, dataset.dims, dataset.task) == (("ill", "well"), 2, "multiclass")
        for sample in dataset.samples:
            assert dataset.classes[sample.label[0]] == sample.key.split("/")[0]
            assert sample.patient == sample.key
        assert {sample.split for sample in dataset.samples} == {"train", "val", "test"}

    def test_files_are_listed_with_size_and_digest(self, fill):
        root = fill(class_folders())
        for file in read(root).files:
            data = (root / file.path).read_bytes()
            assert (file.size_bytes, file.sha256) == (len(data), digests.sha256_hex(data))

    def test_split_folders_say_the_splits(self, fill):
        files = {
            f"{split}/{label}/{i}.png": gray(i)
            for i, (split, label) in enumerate(
                (s, c) for s in ("train", "val", "test") for c in ("ill", "well")
            )
        }
        dataset = read(fill(files))
        assert dataset.classes == ("ill", "well")
        assert {(s.key.split("/")[0], s.split) for s in dataset.samples} == {
            ("train", "train"),
            ("val", "val"),
            ("test", "test"),
        }

    def test_other_files_are_left_alone_and_endings_may_be_capital(self, fill):
        files = {**class_folders(), "ill/notes.txt": b"x", "LICENSE": b"x", "ill/Z.PNG": gray(99)}
        assert len(read(fill(files)).samples) == 11

    def test_a_seed_divides_and_another_divides_otherwise(self, fill):
        root = fill(class_folders(40))
        divisions = [
            tuple(s.split for s in read(root, split=LinkedSplitOptions(seed=seed)).samples)
            for seed in (0, 0, 1)
        ]
        assert divisions[0] == divisions[1] != divisions[2]

    def test_an_image_outside_of_a_class_is_refused(self, fill):
        assert "x.png directly in the folder" in refused(fill({"x.png": gray(0)}))

    def test_some_images_in_split_folders_and_some_not_are_refused(self, fill):
        files = {**class_folders(), "train/ill/a.png": gray(70)}
        assert "expected train, val or test; found split ''" in refused(fill(files))

    def test_a_folder_without_images_is_refused(self, fill):
        assert "found none" in refused(fill({"a/readme.txt": b"x"}))

    def test_a_folder_that_is_absent_is_missing(self, tmp_path):
        with pytest.raises(errors.DatasetMissingError, match="no directory"):
            read(tmp_path / "absent")

    def test_a_directory_with_the_name_of_an_image_is_refused(self, fill):
        root = fill(class_folders())
        (root / "ill" / "dir.png").mkdir()
        assert "dir.png" in refused(root)


class TestTable:
    """Labels, patients and splits by CSV."""

    images = {f"{i}.png": gray(i) for i in range(10)}  # noqa: RUF012

    def lines(self):
        return [
            f"{i}.png,{'yes' if i % 2 else 'no'},p{i // 2},{('train', 'val', 'test')[i // 2 % 3]}"
            for i in range(10)
        ]

    def test_columns_say_file_label_patient_and_split(self, fill):
        root = fill({**self.images, "labels.csv": table(*self.lines())})
        dataset = read(root, labels="labels.csv", patient_column="patient", split_column="split")
        assert dataset.classes == ("no", "yes")
        assert [
            f"{s.key},{dataset.classes[s.label[0]]},{s.patient},{s.split}"
            for s in dataset.samples
        ] == self.lines()  # fmt: skip

    def test_columns_may_have_other_names(self, fill):
        text = table(*self.lines(), header="image,dx,who,part")
        root = fill({**self.images, "t.csv": text})
        named = {"labels": "t.csv", "file_column": "image", "label_column": "dx"}
        dataset = read(root, **named, patient_column="who", split_column="part")
        assert [s.patient for s in dataset.samples] == [f"p{i // 2}" for i in range(10)]

    def test_patients_are_never_divided(self, fill):
        lines = [f"{i}.png,{i % 2},p{i // 3},-" for i in range(60)]
        root = fill({**{f"{i}.png": gray(i) for i in range(60)}, "t.csv": table(*lines)})
        splits = {}
        for sample in read(root, labels="t.csv", patient_column="patient").samples:
            assert splits.setdefault(sample.patient, sample.split) == sample.split
        assert set(splits.values()) == {"train", "val", "test"}

    def test_a_byte_order_mark_and_windows_lines_are_no_fault(self, fill):
        text = "\ufeff" + table(*self.lines()).replace("\n", "\r\n")
        root = fill({**self.images, "t.csv": text})
        assert len(read(root, labels="t.csv", split_column="split").samples) == 10

    def test_the_unnamed_index_that_pandas_writes_is_no_column(self, fill):
        lines = [f"{i},{line}" for i, line in enumerate(self.lines())]
        root = fill({**self.images, "t.csv": table(*lines, header=",file,label,patient,split")})
        dataset = read(root, labels="t.csv")
        assert {s.split for s in dataset.samples} == {"train", "val", "test"}
        assert all(s.patient == s.key for s in dataset.samples)

    def test_every_line_that_is_wrong_is_listed_with_its_number(self, fill):
        lines = ["0.png,no,p,train", "absent.png,no,p,train", ",no,p,train", "1.png,,p,train"]
        message = refused(fill({**self.images, "t.csv": table(*lines)}), labels="t.csv")
        assert "line 3: no file 'absent.png'; line 4: no file ''; line 5: no label" in message

    @pytest.mark.parametrize("path", ["../out.png", "/etc/hostname", "a/../../out.png"])
    def test_a_path_that_leads_out_of_the_folder_is_refused(self, fill, tmp_path, path):
        (tmp_path.parent / "out.png").write_bytes(gray(0))
        message = refused(fill({"t.csv": table(f"{path},no,p,train")}), labels="t.csv")
        assert "leads out" in message
        assert path in message

    def test_a_table_outside_of_the_folder_is_refused(self, fill):
        assert "leads out" in refused(fill(self.images), labels="../t.csv")

    def test_a_link_that_leads_out_of_the_folder_is_refused(self, fill, tmp_path):
        root = fill({**class_folders(), "t.csv": table("link.png,no,p,train")})
        outside = tmp_path.parent / "outside.png"
        outside.write_bytes(gray(0))
        (root / "link.png").symlink_to(outside)
        assert "leads out" in refused(root, labels="t.csv")
        (root / "link.png").rename(root / "ill" / "link.png")
        assert "leads out" in refused(root)

    def test_an_absent_table_is_missing(self, fill):
        with pytest.raises(errors.DatasetMissingError, match=r"CSV file t\.csv"):
            read(fill(self.images), labels="t.csv")

    def test_a_table_without_lines_is_refused_and_folders_are_not_taken_instead(self, fill):
        root = fill({**class_folders(), "t.csv": table()})
        assert "found none" in refused(root, labels="t.csv")

    def test_a_column_that_is_not_there_is_named_with_those_that_are(self, fill):
        root = fill({**self.images, "t.csv": table("0.png,no", header="file,class")})
        message = refused(root, labels="t.csv", patient_column="who")
        assert "no label, who among file, class" in message

    def test_a_table_that_is_not_utf_8_is_refused(self, fill):
        root = fill({**self.images, "t.csv": table("0.png,Gr\xf6\xdfe,p,train").encode("latin-1")})
        assert "CSV file in UTF-8" in refused(root, labels="t.csv")

    def test_a_table_with_an_open_quote_is_refused(self, fill):
        root = fill({**self.images, "t.csv": table('"0.png,no,p,train')})
        assert "CSV file in UTF-8" in refused(root, labels="t.csv")

    def test_a_short_line_has_no_label(self, fill):
        assert "line 2: no label" in refused(
            fill({**self.images, "t.csv": table("0.png")}), labels="t.csv"
        )

    def test_an_image_that_stands_twice_is_refused(self, fill):
        lines = [*self.lines(), "3.png,no,p1,train", "./4.png,no,p2,train"]
        root = fill({**self.images, "t.csv": table(*lines)})
        assert "more than once: 3.png, 4.png" in refused(root, labels="t.csv")

    def test_an_unknown_split_is_refused_by_name(self, fill):
        root = fill({**self.images, "t.csv": table(*self.lines()[:-1], "9.png,yes,p4,holdout")})
        message = refused(root, labels="t.csv", split_column="split")
        assert "9.png: expected train, val or test; found split 'holdout'" in message


class TestDecoding:
    """Pixels as stored, or a refusal; nothing is changed without a word."""

    def test_gray_with_8_bits(self, fill):
        assert (one_image(fill, png(GRAY))[..., 0] == GRAY).all()

    def test_gray_with_16_bits_stays_16_bits(self, fill):
        deep = GRAY.astype(np.uint16) * 257 + 3
        found = one_image(fill, png(deep))
        assert found.dtype == np.uint16
        assert (found[..., 0] == deep).all()

    def test_colour_with_16_bits_is_refused_because_it_would_be_cut_to_8(self, fill):
        data = raw_png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
        message = refused(fill({**class_folders(), "ill/x.png": data}))
        assert "ill/x.png" in message
        assert "colour with 16 bits" in message

    def test_colour(self, fill):
        colour = np.stack([GRAY, GRAY + 1, GRAY + 2], axis=-1)
        assert (one_image(fill, png(colour)) == colour).all()

    def test_a_palette_becomes_its_colours(self, fill):
        colour = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)
        written = io.BytesIO()
        Image.fromarray(colour).quantize(256).save(written, "PNG")
        expected = np.asarray(Image.open(written).convert("RGB"))
        assert (one_image(fill, written.getvalue()) == expected).all()

    def test_one_bit_becomes_0_and_255(self, fill):
        data = raw_png(8, 1, 1, 0, b"\0\xaa")
        assert one_image(fill, data)[0, :, 0].tolist() == [255, 0] * 4

    @pytest.mark.parametrize("channels", [1, 3])
    def test_an_opaque_alpha_channel_is_left_out(self, fill, channels):
        pixels = np.stack([GRAY] * channels + [np.full_like(GRAY, 255)], axis=-1)
        found = one_image(fill, png(pixels))
        assert (found == pixels[..., :-1]).all()

    @pytest.mark.parametrize("channels", [1, 3])
    def test_transparent_pixels_are_refused(self, fill, channels):
        alpha = np.full_like(GRAY, 255)
        alpha[1, 1] = 254
        pixels = np.stack([GRAY] * channels + [alpha], axis=-1)
        message = refused(fill({**class_folders(), "ill/x.png": png(pixels)}))
        assert "ill/x.png" in message
        assert "transparent pixels" in message

    @pytest.mark.parametrize(
        ("color", "row", "key"),
        [(0, b"\0\x01\x02", b"\0\x01"), (2, b"\0" + bytes(range(6)), bytes([0, 0, 0, 1, 0, 2]))],
    )
    def test_a_colour_that_counts_as_transparent_is_refused_where_it_occurs(
        self, fill, color, row, key
    ):
        data = raw_png(2, 1, 8, color, row, (b"tRNS", key))
        assert "transparent pixels" in refused(fill({**class_folders(), "ill/x.png": data}))
        unused = raw_png(2, 1, 8, color, row, (b"tRNS", b"\0\x09" * (len(key) // 2)))
        assert one_image(fill, unused, "ill/x.png").shape[-1] in (1, 3)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_orientation_that_a_camera_wrote_down_is_applied(self, fill, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = one_image(fill, png(GRAY, exif=exif.tobytes()))[..., 0]
        expected = {
            1: GRAY, 2: np.fliplr(GRAY), 3: np.rot90(GRAY, 2), 4: np.flipud(GRAY), 5: GRAY.T,
            6: np.rot90(GRAY, -1), 7: np.rot90(GRAY, 2).T, 8: np.rot90(GRAY),
        }  # fmt: skip
        assert found.tolist() == expected[orientation].tolist()

    def test_jpeg_is_read_as_pillow_decodes_it(self, fill):
        written = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(written, "JPEG")
        found = one_image(fill, written.getvalue(), "ill/x.jpeg")
        assert found.shape == (8, 8, 3)

    def test_cmyk_is_refused(self, fill):
        written = io.BytesIO()
        Image.new("CMYK", (2, 2)).save(written, "JPEG")
        assert "mode CMYK" in refused(fill({**class_folders(), "ill/x.jpg": written.getvalue()}))

    def test_a_size_that_would_fill_the_memory_is_refused_before_decoding(self, fill):
        data = raw_png(1 << 20, 1 << 20, 8, 0, b"")
        message = refused(fill({**class_folders(), "ill/bomb.png": data}))
        assert "ill/bomb.png" in message

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_an_image_cut_before_its_last_pixels_is_refused_by_name(self, fill, kind):
        """Behind the last pixels of a PNG come 16 bytes that only repeat what is known."""
        written = io.BytesIO()
        Image.fromarray(GRAY.repeat(4, 0).repeat(4, 1)).save(written, kind)
        data = written.getvalue()
        last = len(data) - 24
        for length in [*range(0, last, 37), last]:
            root = fill({**class_folders(), "ill/cut.png": data[:length]})
            assert "ill/cut.png" in refused(root), length

    @settings(max_examples=150)
    @given(st.data())
    def test_a_damaged_image_is_decoded_or_refused(self, tmp_path_factory, data):
        root = tmp_path_factory.mktemp("damaged")
        source = data.draw(st.sampled_from(SOURCES))
        damaged = bytearray(source)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(source) - 1))
            damaged[place] = data.draw(st.integers(0, 255))
        (root / "a").mkdir()
        (root / "a" / "x.png").write_bytes(damaged)
        with pytest.raises(errors.DatasetError):
            read(root)  # at best: no patient is left for val and test


def jpeg_with_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    written = io.BytesIO()
    Image.fromarray(GRAY).save(written, "JPEG", exif=exif.tobytes())
    return written.getvalue()


SOURCES = [png(GRAY), png(np.stack([GRAY] * 4, axis=-1)), jpeg_with_exif()]


class TestStrictness:
    """What a careless reader would take without a word."""

    @pytest.mark.parametrize("name", ["training", "Testing", "validation"])
    def test_folders_that_look_like_splits_are_not_taken_for_classes(self, fill, name):
        root = fill({**class_folders(), f"{name}/ill/x.png": gray(77)})
        assert f"{name}, which would be taken for classes" in refused(root)

    def test_hidden_files_and_folders_are_left_out(self, fill):
        hidden = {".thumbs/x.png": gray(77), "ill/.checkpoints/01.png": gray(1)}
        dataset = read(fill({**class_folders(), **hidden}))
        assert dataset.classes == ("ill", "well")
        assert len(dataset.samples) == len(class_folders())

    @pytest.mark.parametrize("form", ["BMP", "GIF", "TIFF"])
    def test_other_formats_under_a_png_name_are_refused(self, fill, form):
        file = io.BytesIO()
        Image.new("L", (4, 4)).save(file, form)
        root = fill({**class_folders(), "ill/x.png": file.getvalue()})
        assert "a whole PNG or JPEG image" in refused(root)

    def test_an_empty_patient_cell_is_refused_with_its_line(self, fill):
        images = {f"{i}.png": gray(i) for i in range(10)}
        lines = [f"{i}.png,{'yes' if i % 2 else 'no'},p{i},train" for i in range(9)]
        root = fill({**images, "t.csv": table(*lines, "9.png,yes,,test")})
        assert "line 11: no patient" in refused(root, labels="t.csv", patient_column="patient")

    def test_a_path_that_goes_up_again_is_refused(self, fill):
        root = fill({**class_folders(), "t.csv": table("ill/../ill/01.png,yes,p,train")})
        assert "goes up again" in refused(root, labels="t.csv")

    def test_the_table_of_labels_is_among_the_files(self, fill):
        images = {f"{i}.png": gray(i) for i in range(20)}
        lines = [f"{i}.png,{'yes' if i % 2 else 'no'},p{i},train" for i in range(20)]
        dataset = read(fill({**images, "t.csv": table(*lines)}), labels="t.csv")
        assert "t.csv" in {file.path for file in dataset.files}
