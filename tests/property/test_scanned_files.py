# SPDX-License-Identifier: Apache-2.0
"""The scan of any file, damaged or not, finds what pydicom finds or nothing; and so do values.

Not tested here: which files are regular (tests/unit/tokenizer/images/dicom/test_scanning.py).
"""

import warnings

import damage
import dicom_files
import pydicom
import pytest
import scanned
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement, convert_raw_data_element

from tiny_agent_trainer.tokenizer.images.dicom import plain, tags

SEEDS = (
    dicom_files.make(WindowCenter=40, WindowWidth=400, SpecificCharacterSet="ISO_IR 100"),
    dicom_files.make(syntax=pydicom.uid.ImplicitVRLittleEndian),
    dicom_files.enhanced([4, 0, 2], [1, 2, 3]),
    dicom_files.tables(),
)
TEXTS = st.text("0123456789.+-eE_ \\ABZab\0é\n", max_size=20).map(
    lambda text: text.encode("latin-1")
)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(action="ignore"):
        yield


def count_same(seeds, numbers):
    """How many damaged files the scan found; each as pydicom did."""
    count = 0
    for seed in seeds:
        for number in numbers:
            data = damage.mutated(seed, number)
            found = scanned.scan(data)
            if found is not None:
                count += 1
                scanned.require_same(found, data)
    return count


def test_damaged_files_are_found_alike_or_left_alone():
    assert count_same(SEEDS, range(300)) > 100


@pytest.mark.long
def test_many_damaged_files_are_found_alike_or_left_alone():
    assert count_same(SEEDS, range(1000, 6000)) > 2000


def test_published_files_are_found_alike(shared_data):
    regular = 0
    for path in sorted((shared_data / "dicom").rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        for with_pixels in (True, False):
            found = scanned.scan(data, with_pixels=with_pixels)
            if found is not None:
                regular += 1
                scanned.require_same(found, data, with_pixels=with_pixels)
    assert regular > 300


KEYWORDS = (
    "PatientID", "StudyInstanceUID", "Modality", "ImageType", "NumberOfFrames", "Rows",
    "WindowCenter", "PixelSpacing", "PixelPaddingValue", "LUTDescriptor",
)  # fmt: skip
REPRESENTATIONS = (None, "CS", "DS", "IS", "LO", "SS", "UI", "US", "UN")


@given(
    keyword=st.sampled_from(KEYWORDS),
    representation=st.sampled_from(REPRESENTATIONS),
    data=st.one_of(TEXTS, st.binary(max_size=8)),
    is_little=st.booleans(),
)
def test_values_are_those_of_pydicom(keyword, representation, data, is_little):
    raw = RawDataElement(
        tags.tag_of(keyword), representation, len(data), data, 0, representation is None, is_little
    )
    found = plain.values_of(raw, keyword)
    if found is None:
        return
    value = convert_raw_data_element(raw, ds=pydicom.Dataset()).value
    several = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    assert list(found) == ([] if value in (None, "") else list(several))
