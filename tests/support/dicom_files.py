# SPDX-License-Identifier: Apache-2.0
"""Small DICOM files for tests, made by pydicom."""

import io

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "1.2.3.4"
RAMP = np.arange(12, dtype=np.int16).reshape(3, 4) * 10


def dataset(pixels=RAMP, *, syntax=ExplicitVRLittleEndian, **elements):
    """A CT slice with these pixels; None as a value leaves an element out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CT_CLASS)
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4.5")
    meta.TransferSyntaxUID = UID(syntax)
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    array = np.asarray(pixels)
    is_colour = array.ndim > 2 and array.shape[-1] == 3
    rows, columns = array.shape[-3:-1] if is_colour else array.shape[-2:]
    bits = array.dtype.itemsize * 8
    values = {
        "SOPClassUID": CT_CLASS, "SOPInstanceUID": "1.2.3.4.5", "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": "1.2.3.4.6", "PatientID": "p1", "Modality": "CT",
        "Rows": rows, "Columns": columns, "SamplesPerPixel": 3 if is_colour else 1,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"),
        "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.25], "RescaleSlope": 1, "RescaleIntercept": 0,
        **elements,
    }  # fmt: skip
    if is_colour:
        values.setdefault("PlanarConfiguration", 0)
    for keyword, value in values.items():
        if value is not None:
            setattr(found, keyword, value)
    if "PixelData" not in values:
        found.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
        found["PixelData"].VR = "OW" if bits > 8 else "OB"
    return found


def encode(found):
    """The bytes of a data set's file."""
    stream = io.BytesIO()
    found.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def make(pixels=RAMP, **elements):
    """The bytes of a file with these pixels."""
    return encode(dataset(pixels, **elements))


def item(**elements):
    """An item of a sequence."""
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def stack(positions, *, pixels=RAMP, **elements):
    """Files {name: bytes} of a series whose slices lie at these positions: z, or (x, y, z)."""
    files = {}
    for number, place in enumerate(positions):
        triple = [0, 0, place] if np.isscalar(place) else list(place)
        values = {"ImagePositionPatient": triple, "SOPInstanceUID": f"1.2.3.4.5.{number}"}
        files[f"{number:03}.dcm"] = make(pixels + number, **{**values, **elements})
    return files


def sequence(*items):
    """A sequence of items."""
    return pydicom.Sequence(items)


def enhanced(places, slopes, **elements):
    """A multi-frame file with a plane and a slope per frame."""
    groups = []
    for place, slope in zip(places, slopes, strict=True):
        groups.append(
            item(
                PlanePositionSequence=sequence(item(ImagePositionPatient=[0, 0, place])),
                PixelValueTransformationSequence=sequence(
                    item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="HU")
                ),
            )
        )
    shared = item(
        PlaneOrientationSequence=sequence(item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])),
        PixelMeasuresSequence=sequence(item(PixelSpacing=[0.5, 0.25])),
    )
    pixels = np.stack([RAMP + number for number in range(len(places))])
    values = {
        "NumberOfFrames": len(places), "ImagePositionPatient": None, "PixelSpacing": None,
        "ImageOrientationPatient": None, "RescaleSlope": None, "RescaleIntercept": None,
        "SharedFunctionalGroupsSequence": sequence(shared),
        "PerFrameFunctionalGroupsSequence": sequence(*groups),
    }  # fmt: skip
    return make(pixels, **{**values, **elements})


def palette():
    """An image whose values are places in a table of colours."""
    tables = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        entries = np.arange(4, dtype="<u2") * 100 + number
        tables[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    pixels = np.array([[0, 1], [2, 3]], np.uint8)
    return make(pixels, Modality="US", PhotometricInterpretation="PALETTE COLOR", **tables)


def tables():
    """A radiograph with a modality LUT and a VOI LUT."""
    modality = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US")
    modality.add_new("LUTData", "OW", np.array([5, 6, 7, 9], "<u2").tobytes())
    voi = item(LUTDescriptor=[10, 0, 12])
    voi.add_new("LUTData", "OW", (np.arange(10, dtype="<u2") * 400).tobytes())
    sequences = {"ModalityLUTSequence": sequence(modality), "VOILUTSequence": sequence(voi)}
    return make(np.array([[0, 1], [2, 3]], np.uint16), Modality="DX", **sequences)
