# SPDX-License-Identifier: Apache-2.0
"""A header that is remembered is the header of the very bytes, and no memory holds who it is.

Not tested here: how a memory is kept (tests/unit/tokenizer/cache/test_notes.py).
"""

import dicom_files
import pytest

from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.tokenizer.images import folder
from tiny_agent_trainer.tokenizer.images.dicom import headers, remembered

IDENTIFIERS = {
    "PatientID": "MRN-31415", "StudyInstanceUID": "1.2.27182",
    "SeriesInstanceUID": "1.2.27182.8", "SOPInstanceUID": "1.2.27182.81",
}  # fmt: skip


class Memory:
    """A memory that counts what it could give."""

    def __init__(self):
        self.lines, self.opened, self.given, self.closed = {}, [], 0, 0

    def __call__(self, first):
        self.opened.append(first)
        return self

    def find(self, name):
        self.given += name in self.lines
        return self.lines.get(name)

    def note(self, name, value):
        self.lines[name] = value

    def close(self):
        self.closed += 1


def read(root, memory, key="a.dcm"):
    return remembered.Headers(root, memory).read(key)


def write(root, **elements):
    (root / "a.dcm").write_bytes(dicom_files.make(**{**IDENTIFIERS, **elements}))


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"PatientID": None, "ImagePositionPatient": None},
        {"PatientID": "  Doe 1.2^3 "},
        {"ImageOrientationPatient": ["-0", "1", "-0.0", "0.6", "0", "-.8"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"Modality": "MR", "PixelSpacing": ["0.1", "0.30000000000001"]},
        {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0},
        {"PhotometricInterpretation": "MONOCHROME1", "Modality": None},
    ],
)
def test_a_second_reading_gives_the_same_header(tmp_path, elements):
    write(tmp_path, **elements)
    memory = Memory()
    plain = headers.read(tmp_path, "a.dcm")
    assert repr(read(tmp_path, memory)) == repr(plain)
    assert (len(memory.lines), memory.given) == (1, 0)
    assert repr(read(tmp_path, memory)) == repr(plain)
    assert memory.given == 1


def test_no_identifier_is_remembered(tmp_path):
    write(tmp_path)
    memory = Memory()
    assert read(tmp_path, memory).patient == "MRN-31415"
    (line,) = memory.lines.values()
    for word in IDENTIFIERS.values():
        assert word not in line


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": "DOE JANE"},
        {"PatientID": "x" * 70},
        {"PatientID": "M\u00fcller", "SpecificCharacterSet": "ISO_IR 192"},
    ],
)
def test_what_a_line_cannot_give_back_is_read_anew(tmp_path, elements):
    write(tmp_path, **elements)
    memory = Memory()
    assert read(tmp_path, memory) == headers.read(tmp_path, "a.dcm")
    assert memory.lines == {}


def test_other_bytes_at_the_same_place_with_the_same_times_are_another_file(tmp_path):
    memory = Memory()
    write(tmp_path, RescaleIntercept=1)
    before = read(tmp_path, memory)
    write(tmp_path, RescaleIntercept=2, PatientID="MRN-31416")
    assert read(tmp_path, memory).patient == "MRN-31416" != before.patient
    assert (len(memory.lines), memory.given) == (2, 0)


def test_a_line_of_another_file_is_never_asked_for(tmp_path):
    memory = Memory()
    write(tmp_path)
    read(tmp_path, memory)
    memory.lines = {f"{number:064}": line for number, line in enumerate(memory.lines.values())}
    read(tmp_path, memory)
    assert memory.given == 0


def test_a_folder_lists_the_same_with_digests(tmp_path):
    for name, content in dicom_files.stack(range(3)).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "broken.dcm").write_bytes(dicom_files.make(Rows=None))
    plain = folder.list_folder(tmp_path, ImagesOptions())
    memory = Memory()
    for _ in range(2):
        found = folder.list_folder(tmp_path, ImagesOptions(), open_memory=memory)
        assert [(i.key, i.names, i.facts, i.paths) for i in found.items] == [
            (i.key, i.names, i.facts, i.paths) for i in plain.items
        ]
        assert found.refusals == plain.refusals
        (item,) = found.items
        assert item.files == item.read().files
    assert (memory.given, memory.closed) == (3, 2)
    assert memory.opened[0] == memory.opened[1]
    assert plain.items[0].files == ()
