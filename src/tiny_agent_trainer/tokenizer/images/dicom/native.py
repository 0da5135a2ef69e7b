# SPDX-License-Identifier: Apache-2.0
"""What pydicom's decoder needs of gray pixels that are not compressed, said by us.

Given a data set, it looks every attribute up in it by itself, for every frame, which takes longer
than the decoding. Its checks are the same either way.
"""

from collections.abc import Mapping
from typing import Any, Final

import pydicom

from tiny_agent_trainer.tokenizer.images.dicom import enhanced, tags

_OPTIONS: Final[Mapping[str, str]] = {
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "photometric_interpretation": "PhotometricInterpretation",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "pixel_representation": "PixelRepresentation",
}


def source_of(dataset: pydicom.Dataset, key: str) -> tuple[bytes, Mapping[str, Any]] | None:
    """Pixel data in little endian as bytes, and what they mean, for `Decoder.as_array`.

    Returns:
        None for colour, and for pixels or attributes that are not written as usual: then the
        decoder has to look at the data set.

    Raises:
        DatasetError: The number of frames is impossible.
    """
    data = tags.raw_bytes(dataset, "PixelData")
    found = {name: tags.several(dataset, keyword, key) for name, keyword in _OPTIONS.items()}
    if data is None or any(len(values) != 1 for values in found.values()):
        return None
    options = {name: values[0] for name, values in found.items()}
    if options["samples_per_pixel"] != 1:
        return None
    count = enhanced.count_frames(dataset, key)
    return data, {**options, "number_of_frames": count, "pixel_keyword": "PixelData"}
