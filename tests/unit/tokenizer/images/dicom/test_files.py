# SPDX-License-Identifier: Apache-2.0
"""DICOM is recognised by content, parsed within limits, and only where it is allowed to look.

Not tested here: damaged files at random (tests/property/test_mutated_images.py).
"""

import importlib.util
import logging
import struct
import zlib

import dicom_files
import numpy as np
import pydicom
import pytest
from pydicom import encaps

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder
from tiny_agent_trainer.tokenizer.images.dicom import codestream, files, privacy

READERS = ImagesOptions()


def read(tmp_path, data, name="x.dcm"):
    (tmp_path / name).write_bytes(data)
    return folder.read_path(tmp_path / name, READERS)


def without_meta(data):
    """A file as old archives write it: the data set alone."""
    (length,) = struct.unpack("<I", data[140:144])
    return data[144 + length :]


class TestRecognition:
    """With the magic word or without, whatever the name."""

    def test_a_file_without_ending_is_read(self, tmp_path):
        assert read(tmp_path, dicom_files.make(), "IM0001").values.shape == (3, 4, 1)

    @pytest.mark.parametrize(
        "syntax", [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian]
    )
    def test_a_data_set_alone_is_read(self, tmp_path, syntax):
        data = without_meta(dicom_files.make(syntax=syntax))
        assert not data.startswith(b"\0" * 100)
        image = read(tmp_path, data)
        assert (image.values[..., 0] == dicom_files.RAMP).all()

    @pytest.mark.parametrize(
        "start", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 20, b"\x1f\x8b" * 8, b"\0" * 200]
    )
    def test_other_files_are_none(self, start):
        assert not files.is_dicom(start)

    def test_deflated_files_are_read(self, tmp_path):
        data = dicom_files.make(syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
        assert (read(tmp_path, data).values[..., 0] == dicom_files.RAMP).all()

    def test_a_deflated_bomb_is_refused_at_its_limit(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "_INFLATED_LIMIT_BYTES", 1000)
        data = dicom_files.make(syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
        (length,) = struct.unpack("<I", data[140:144])
        packer = zlib.compressobj(wbits=-15)
        bomb = data[: 144 + length] + packer.compress(bytes(10_000_000)) + packer.flush()
        with pytest.raises(errors.DatasetError, match="more than 1000 bytes"):
            read(tmp_path, bomb)


class TestSyntaxes:
    """Pitfall 8: one decoder each; others are refused by name."""

    def test_jpeg_lossless_without_its_decoder_names_the_extra(self, shared_data, monkeypatch):
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name == "gdcm" else real(name, *rest),
        )
        place = shared_data / "dicom" / "cornerstone_ct_transfer_syntaxes"
        for ending in ("57", "70"):
            (path,) = place.glob(f"*1.2.840.10008.1.2.4.{ending}.dcm")
            with pytest.raises(
                errors.DatasetError, match=r"JPEG Lossless.*install the extra \[gdcm\]"
            ):
                folder.read_path(path, READERS)

    def test_a_syntax_without_decoder_is_refused_by_name(self, tmp_path):
        found = dicom_files.dataset()
        data = dicom_files.encode(found)
        place = data.index(b"1.2.840.10008.1.2.1\0")
        changed = data[:place] + b"1.2.840.10008.9.9.9\0" + data[place + 20 :]
        with pytest.raises(
            errors.DatasetError, match=r"transfer syntax '1\.2\.840\.10008\.9\.9\.9'"
        ):
            read(tmp_path, changed)

    def test_rle_is_lossless_and_names_its_decoder(self, tmp_path):
        found = dicom_files.dataset(np.arange(64, dtype=np.int16).reshape(8, 8))
        found.compress(pydicom.uid.RLELossless)
        image = read(tmp_path, dicom_files.encode(found))
        assert image.values[..., 0].ravel().tolist() == list(range(64))
        assert image.decoder.startswith("pylibjpeg-rle 2.")


class TestCodestreams:
    """A compressed frame may not claim another size than its data set."""

    def test_a_jpeg2000_that_claims_more_is_refused_before_it_is_decoded(self, tmp_path):
        found = dicom_files.dataset(np.zeros((64, 64), np.uint8))
        found.compress(pydicom.uid.JPEG2000Lossless)
        data = dicom_files.encode(found)
        place = data.index(b"\xff\x4f\xff\x51") + 8
        bomb = data[:place] + struct.pack(">II", 60000, 60000) + data[place + 8 :]
        with pytest.raises(errors.DatasetError, match="frame of 64 x 64 pixels"):
            read(tmp_path, bomb)

    def test_sizes_of_jpeg_are_found_behind_other_markers(self):
        frame = b"\xff\xd8\xff\xee\0\x0eAdobe\0d\0\0\0\0\1\xff\xc0\0\x11\x08\0\x05\0\x07\3"
        assert codestream.jpeg_size(frame + b"\0" * 20) == (5, 7)
        assert codestream.is_transformed_by_pillow(frame + b"\0" * 20)

    @pytest.mark.parametrize("frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0", b"\xff\xd8" * 50])
    def test_what_has_no_size_has_none(self, frame):
        assert codestream.jpeg_size(frame) is None

    SIZ = b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIIIH", 41, 0, 7, 5, 0, 0, 7, 5, 0, 0, 1)
    JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"

    def test_a_codestream_of_jpeg_2000_is_found_behind_the_boxes_of_its_file(self):
        boxes = struct.pack(">I4s2x", 10, b"ftyp") + struct.pack(">I4s", 0, b"jp2c")
        assert codestream.jpeg2000_size(self.SIZ) == (5, 7)
        assert codestream.jpeg2000_size(self.JP2 + boxes + self.SIZ) == (5, 7)

    @pytest.mark.parametrize("length", [0, 1, 7, 9, 2**32 - 1])
    def test_boxes_that_do_not_lead_to_the_codestream_are_no_file(self, length):
        boxes = struct.pack(">I4s", length, b"ftyp") + struct.pack(">I4s", 0, b"jp2c")
        assert codestream.jpeg2000_size(self.JP2 + boxes + self.SIZ) is None


class TestUnknownTypes:
    """An element of a type that there is not is refused by its tag, wherever it stands."""

    @pytest.mark.parametrize(
        ("plain", "damaged", "tag"),
        [
            (b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x10\0OZ", r"\(7FE0,0010\) PixelData"),
            (b"\x08\0\x60\0CS\2\0CT", b"\x08\0\x60\0C\0\0\0", r"\(0008,0060\) Modality"),
        ],
    )
    def test_it_is_named(self, tmp_path, plain, damaged, tag):
        data = dicom_files.make()
        assert data.count(plain) == 1
        with pytest.raises(errors.DatasetError, match=f"{tag}.*Unknown Value Representation"):
            read(tmp_path, data.replace(plain, damaged))


class TestEndOfJpegLs:
    """A frame that is cut is refused before its decoder reads 2^31 bits behind its end."""

    NOISE = np.random.default_rng(0).integers(0, 4096, (128, 128)).astype(np.int16)

    def compressed(self):
        found = dicom_files.dataset(self.NOISE)
        found.compress(pydicom.uid.JPEGLSLossless)
        return found, encaps.get_frame(found.PixelData, 0, number_of_frames=1)

    def changed(self, frame):
        found, _ = self.compressed()
        found.PixelData = encaps.encapsulate([frame])
        return dicom_files.encode(found)

    def test_whole_frames_are_read_with_padding_and_bytes_behind_them(self, tmp_path):
        _, frame = self.compressed()
        for more in (b"", b"\0\0", b"more bytes"):
            found = read(tmp_path, self.changed(frame + more))
            assert (found.values[..., 0] == self.NOISE).all()

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_cut_frames_are_refused(self, tmp_path, share):
        _, frame = self.compressed()
        with pytest.raises(errors.DatasetError, match="up to its end-of-image marker"):
            read(tmp_path, self.changed(frame[: int(share * len(frame))]))

    def test_a_marker_before_the_scan_or_in_its_header_is_no_end(self):
        _, frame = self.compressed()
        codestream.require_end(frame, "k")
        scan = frame.index(b"\xff\xda")
        body = frame[:-2].removesuffix(b"\xff\xd9")
        comment = b"\xff\xfe\0\4\xff\xd9"
        in_header = body[: scan + 7] + b"\xff\xd9" + body[scan + 9 :]
        for damaged in (frame[:2] + comment + body[2:], in_header, b"", b"\xff\xda", b"\xff\xd9"):
            with pytest.raises(errors.DatasetError, match="cut"):
                codestream.require_end(damaged, "k")


class TestPrivacy:
    """Pitfall 17: elements outside of the list are never in memory."""

    PLANTED = "Doe^Jane"

    def planted(self):
        found = dicom_files.dataset(Modality="CT")
        for keyword in (
            "PatientName", "ReferringPhysicianName", "InstitutionName", "PatientComments",
            "StudyDescription", "SeriesDescription", "AccessionNumber",
        ):  # fmt: skip
            setattr(found, keyword, self.PLANTED)
        found.PatientBirthDate = "19010101"
        found.StudyDate = "19020202"
        found.add_new((0x0009, 0x0010), "LO", self.PLANTED)
        return dicom_files.encode(found)

    def test_only_listed_elements_are_parsed(self):
        found = files.decode(self.planted(), "x.dcm")
        keywords = {element.keyword for element in found}
        assert keywords <= {*privacy.HEADER, *privacy.DATA}
        assert self.PLANTED not in str(found)

    def test_no_name_or_date_is_in_what_is_listed_or_read(self, tmp_path):
        (tmp_path / "x.dcm").write_bytes(self.planted())
        listing = folder.list_folder(tmp_path, READERS)
        (item,) = listing.items
        said = f"{listing} {item.facts} {item.names} {item.read()}"
        for planted in (self.PLANTED, "19010101", "19020202"):
            assert planted not in said

    def test_identities_are_names_and_never_facts_or_remarks(self, tmp_path):
        (tmp_path / "x.dcm").write_bytes(dicom_files.make(PatientID="Secret1"))
        (item,) = folder.list_folder(tmp_path, READERS).items
        assert item.names["patient_id"] == "Secret1"
        assert "Secret1" not in f"{item.facts} {item.read()}"

    def test_a_modality_that_is_no_term_is_not_repeated(self, tmp_path):
        found = dicom_files.dataset(Modality="CT")
        data = dicom_files.encode(found).replace(b"CS\x02\0CT", b"CS\x08\0Doe^Jane")
        image = read(tmp_path, data)
        assert image.modality == ""
        assert "Doe" not in str(image)

    def test_pydicom_neither_logs_nor_warns(self, tmp_path, caplog, recwarn):
        found = dicom_files.dataset(PixelData=dicom_files.RAMP.tobytes() + bytes(100))
        data = dicom_files.encode(found).replace(b"0.25", b"0_25")
        with (
            caplog.at_level(logging.DEBUG),
            pytest.raises(errors.DatasetError, match="PixelSpacing"),
        ):
            read(tmp_path, data)
        assert not caplog.records
        assert not recwarn.list


class TestOtherFiles:
    """Images that are not read here are refused by what they are, with the way out."""

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("a.dcm.gz", "a gzipped DICOM file; unpack it"),
            ("A.IMA.GZ", "a gzipped DICOM file; unpack it"),
            ("b.hdr", "Analyze 7.5.*one .nii"),
            ("b.img", "Analyze 7.5.*one .nii"),
            ("b.img.gz", "Analyze 7.5.*one .nii"),
        ],
    )
    def test_they_are_named(self, tmp_path, name, said):
        (tmp_path / name).write_bytes(bytes(348))
        (refusal,) = folder.list_folder(tmp_path, ImagesOptions()).refusals
        assert refusal.key == name
        with pytest.raises(errors.DatasetError, match=said):
            folder.read_path(tmp_path / name, ImagesOptions())

    def test_dicom_is_known_by_its_content_whatever_its_name(self, tmp_path):
        (tmp_path / "a.img").write_bytes(dicom_files.make())
        assert folder.read_path(tmp_path / "a.img", ImagesOptions()).modality == "CT"

    def test_text_beside_images_stays_unseen(self, tmp_path):
        (tmp_path / "notes.gz").write_bytes(bytes(9))
        assert folder.list_folder(tmp_path, ImagesOptions()).refusals == ()
