# SPDX-License-Identifier: Apache-2.0
"""The tags that are read at all, and which of them say who somebody is.

Elements outside of these lists are skipped while a file is parsed: no name, date or comment is
ever in memory, so none can reach a result. The times and the weight that standardised uptake
values need are read of PET files alone, and only while their factor is computed.
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

PHILIPS_CREATOR: Final = "0x70530010"
PHILIPS_FACTOR: Final = "0x70531000"
"""SUV Scale Factor of the block that "Philips PET Private Group" reserves first."""

UPTAKE: Final = (
    "SOPClassUID",
    "Units", "SUVType", "CorrectedImage", "DecayCorrection", "PatientWeight", "SeriesDate",
    "SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime",
    "ActualFrameDuration", "TimezoneOffsetFromUTC", "RadiopharmaceuticalInformationSequence",
    PHILIPS_CREATOR, PHILIPS_FACTOR,
)  # fmt: skip
"""Nothing of these leaves `uptake.py` but one factor, and refusals for the user."""

DATA: Final = (
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)  # fmt: skip

DIRECTORY: Final = ("DirectoryRecordSequence",)

BURNED_IN: Final = "burned-in annotations: text in the pixels may name the patient"
