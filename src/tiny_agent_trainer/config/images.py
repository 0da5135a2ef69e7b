# SPDX-License-Identifier: Apache-2.0
"""How image files are decoded: what a reader's options hold for DICOM and NIfTI."""

from typing import Annotated, Literal

import pydantic

from tiny_agent_trainer.config import section


class DicomOptions(section.Section):
    """What is made of DICOM files."""

    intensity: Literal["auto", "quantitative", "display"] = "auto"
    """Values in their unit (Hounsfield units, SUV), or as a screen shows them with 16 bits;
    `auto`: quantitative for CT, PT and MR, display for all others."""

    pet: Literal["suv", "file"] = "suv"
    """Quantitative values of PET: `suv`, standardised uptake values by body weight, a file from
    which they cannot be computed being refused; or in the unit of the `file`, such as Bq/ml."""

    voi_index: section.NaturalInt = 0
    """Which of several windows or VOI LUTs a display takes."""

    volumes: Literal["auto", "always", "never"] = "auto"
    """Whether the files of a series make one volume; `auto`: for CT, MR and PT with two or more
    files, as single images for all others."""

    on_irregular: Literal["refuse", "resample"] = "refuse"
    """What becomes of a series whose slices are unevenly spaced or sheared by a tilted gantry."""

    frame: section.NaturalInt | None = None
    """Which frame is taken from a file whose frames have no place in space, such as an
    ultrasound loop (absent: such files are refused)."""


class NiftiOptions(section.Section):
    """What is made of NIfTI files."""

    index: section.NaturalInt | None = None
    """Which volume of a 4-D file is taken (absent: 4-D files are refused)."""


class ImagesOptions(section.Section):
    """How files of every format are decoded."""

    modality: Annotated[str, pydantic.Field(pattern="^[A-Z0-9_ ]{0,16}$")] = ""
    """Which images are taken, as DICOM abbreviates their modality, such as `PT` of a folder with
    PET and CT ("": all); others, and those that say none, are left out and counted."""

    dicom: DicomOptions = DicomOptions()
    """DICOM files and series."""

    nifti: NiftiOptions = NiftiOptions()
    """NIfTI files."""
