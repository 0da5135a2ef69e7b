# SPDX-License-Identifier: Apache-2.0
"""The tags that are read at all, and which of them say who somebody is.

Elements outside of these lists are skipped while a file is parsed: no name, date or comment is
ever in memory, so none can reach a result.
"""

from typing import Final

IDENTITY: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Read into `Item.names`, which never leaves the process: to group by patient and find labels."""

GEOMETRY: Final = (
    "ImagePositionPatient", "ImageOrientationPatient", "PatientOrientation", "PixelSpacing",
    "ImagerPixelSpacing", "NominalScannedPixelSpacing", "GantryDetectorTilt",
)  # fmt: skip

INTENSITY: Final = (
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter",
    "WindowWidth", "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit", "Units",
)  # fmt: skip

PIXELS: Final = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
)  # fmt: skip

DESCRIPTION: Final = (
    "SOPClassUID", "Modality", "ImageType", "LossyImageCompression", "BurnedInAnnotation",
)  # fmt: skip

GROUPS: Final = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Sequences with geometry and intensity per frame; only the macros that are known are looked up."""

HEADER: Final = IDENTITY + GEOMETRY + INTENSITY + PIXELS + DESCRIPTION + GROUPS

DATA: Final = (
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)  # fmt: skip

DIRECTORY: Final = ("DirectoryRecordSequence",)

BURNED_IN: Final = "burned-in annotations: text in the pixels may name the patient"
