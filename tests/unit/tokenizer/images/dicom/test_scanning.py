# SPDX-License-Identifier: Apache-2.0
"""What is found without pydicom is what pydicom finds, or it is left to pydicom.

Not tested here: damaged and published files (tests/property/test_scanned_files.py).
"""

import dicom_files
import numpy as np
import pydicom
import pytest
import scanned

OPENING = b"\x09\0\x01\x10UN\0\0\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def nested():
    """A file with sequences of unknown length, of which none is read."""
    code = dicom_files.item(CodeValue="T-D1100", CodeMeaning="Head")
    region = dicom_files.item(AnatomicRegionSequence=dicom_files.sequence(code, code))
    found = dicom_files.dataset(ReferencedImageSequence=dicom_files.sequence(region, region))
    for holder, keyword in (
        (found, "ReferencedImageSequence"),
        (found.ReferencedImageSequence[0], "AnatomicRegionSequence"),
    ):
        holder[keyword].is_undefined_length = True
        for one in holder[keyword].value:
            one.is_undefined_length_sequence_item = True
    return dicom_files.encode(found)


def compressed(syntax):
    found = dicom_files.dataset(np.arange(64 * 64, dtype=np.int16).reshape(64, 64))
    found.compress(syntax)
    return dicom_files.encode(found)


class TestRegularFiles:
    """Meta group, elements in ascending order, nothing behind the last."""

    @pytest.mark.parametrize(
        "data",
        [
            dicom_files.make(),
            dicom_files.make(syntax=pydicom.uid.ImplicitVRLittleEndian),
            dicom_files.make(SpecificCharacterSet=["ISO 2022 IR 6", "ISO 2022 IR 87"]),
            dicom_files.make(np.zeros((3, 4, 3), np.uint8)),
            dicom_files.tables(),
            dicom_files.palette(),
            dicom_files.enhanced([4, 0, 2], [1, 2, 3]),
            nested(),
            compressed(pydicom.uid.RLELossless),
            compressed(pydicom.uid.JPEG2000Lossless),
        ],
    )
    def test_they_are_found_as_pydicom_finds_them(self, data):
        scanned.require_scanned(data)

    def test_the_start_of_a_file_is_enough_without_pixels(self):
        data = dicom_files.make(np.zeros((64, 64), np.int16))
        scanned.require_scanned(data[:-8000], with_pixels=False)

    def test_pixels_are_not_copied(self):
        found = scanned.scan(dicom_files.make())
        assert isinstance(found.get_item("PixelData").value, memoryview)


class TestOtherFiles:
    """Left to pydicom, whatever is odd about them."""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"DICM",
            dicom_files.make()[132:],
            dicom_files.make()[:-1],
            dicom_files.make() + b"\0",
            dicom_files.make().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", 1),
            dicom_files.make(syntax=pydicom.uid.DeflatedExplicitVRLittleEndian),
            dicom_files.make().replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x02\x001.", 1),
            dicom_files.make().replace(b"\x28\0\x10\0US", b"\x28\0\x10\0XX", 1),
            dicom_files.make().replace(b"\x28\0\x11\0US", b"\x28\0\x10\0US", 1),
        ],
    )
    def test_they_are_not_found(self, data):
        assert scanned.scan(data) is None

    def test_an_implicit_file_that_begins_like_an_explicit_one(self):
        data = dicom_files.make().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1)
        assert scanned.scan(data) is None

    def test_pixels_in_one_piece_are_not_compressed(self):
        data = dicom_files.make().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)
        assert scanned.scan(data) is None

    @pytest.mark.parametrize(
        "value",
        [
            ITEM + b"\0\0\0\0" + END,
            ITEM + b"\4\0\0\0" + b"\x08\0\x18\0UI\0\0" + END,
            b"\0" * 8 + END,
        ],
    )
    def test_values_of_unknown_length_are_sequences_of_whole_items(self, value):
        data = dicom_files.make()
        place = data.index(b"\x10\0\x20\0LO")
        odd = data[:place] + OPENING + value + data[place:]
        assert scanned.scan(odd) is None

    def test_deep_nests_are_refused_before_they_exhaust_the_stack(self):
        data = dicom_files.make()
        place = data.index(b"\x10\0\x20\0LO")
        opening = b"\x09\0\x01\x10SQ\0\0\xff\xff\xff\xff" + ITEM + b"\xff\xff\xff\xff"
        assert scanned.scan(data[:place] + opening * 100_000) is None
