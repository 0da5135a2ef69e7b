# SPDX-License-Identifier: Apache-2.0
"""Data sets found by our scan, held against those of pydicom."""

import io

import pydicom

from tiny_agent_trainer.tokenizer.images.dicom import privacy, scanning, tags

NUMBERS = {
    True: frozenset(int(tags.tag_of(name)) for name in privacy.HEADER + privacy.DATA),
    False: frozenset(int(tags.tag_of(name)) for name in privacy.HEADER),
}


def scan(data, *, with_pixels=True):
    """The data set that the scan finds, or None."""
    return scanning.scan(data, NUMBERS[with_pixels], with_pixels=with_pixels)


def require_scanned(data, *, with_pixels=True):
    """Assert that the scan finds what pydicom does."""
    found = scan(data, with_pixels=with_pixels)
    assert found is not None
    require_same(found, data, with_pixels=with_pixels)


def require_same(found, data, *, with_pixels=True):
    """Assert that a data set is what pydicom makes of a file."""
    expected = pydicom.dcmread(
        io.BytesIO(data),
        stop_before_pixels=not with_pixels,
        force=True,
        specific_tags=sorted(NUMBERS[with_pixels]),
    )
    assert found.original_encoding == expected.original_encoding
    assert found.original_character_set == expected.original_character_set
    assert _elements(found.file_meta) == _elements(expected.file_meta)
    assert _elements(found) == _elements(expected)


def _elements(dataset):
    """Every element but the character set, which pydicom has looked at: VR and bytes, or value."""
    named = {int(tag): dataset.get_item(tag) for tag in list(dataset.keys())}
    return {
        tag: (element.VR, getattr(element, "is_raw", False), element.value)
        for tag, element in named.items()
        if tag not in (0x00080005, 0x00020000, 0x00020010)
    }
