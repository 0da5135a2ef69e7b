# SPDX-License-Identifier: Apache-2.0
"""`Image`: what every format is read into; and what a folder holds before anything is decoded."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from tiny_agent_trainer.tokenizer.samples import SourceFile


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A decoded image or volume with what is known of its geometry.

    Attributes:
        values: Shape (*spatial, channels), 2 or 3 spatial dims, 1 or 3 channels; uint8, uint16,
            int16, int32 or float32. Real-world values, such as Hounsfield units, or display values.
        spacing_mm: Distance between neighbours along each spatial dim; () when the file says none.
        orientation: One letter per spatial dim, the side of the patient that growing indices go to:
            R or L, A or P, S or I; "" when the file says nothing. "SPL" is an axial CT in the order
            (slice, row, column).
        modality: As DICOM abbreviates it, such as "CT" or "DX"; "" when unknown.
        decoder: Name and version of what decoded the pixels, such as "pylibjpeg-openjpeg 2.5.0".
        files: What it was read from.
        remarks: What a report must say of it, without identifiers, such as "lossy compression".
    """

    values: npt.NDArray[Any]
    spacing_mm: tuple[float, ...] = ()
    orientation: str = ""
    modality: str = ""
    decoder: str = ""
    files: tuple[SourceFile, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An image that a folder holds, found but not yet decoded.

    Attributes:
        key: Path relative to the root; of a series, the path of its first file. Unique.
        names: What a table of labels may call it by, such as {"file": "a/b.png", "stem": "b",
            "patient_id": "...", "study_uid": "...", "series_uid": "...", "sop_uid": "..."}.
            In the data's own words; never leaves the process.
        facts: What is known without decoding, for tables of what was found, such as {"modality":
            "CT", "rows": "512", "columns": "512", "slices": "40", "spacing_mm": "1 x 1 x 1"}.
        read: Decode it. Raises `DatasetError` with the reason where that is refused.
        paths: Every file that `read` reads, relative to the root.
        files: Those files with their digests, if they were digested when they were found; else ().
    """

    key: str
    names: Mapping[str, str]
    facts: Mapping[str, str]
    read: Callable[[], Image]
    paths: tuple[str, ...] = ()
    files: tuple[SourceFile, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A file or series that cannot be used, and why."""

    key: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file of another modality ("" when it says none) than the one that was asked for."""

    key: str
    modality: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that was found below a root, in byte order of keys."""

    items: tuple[Item, ...]
    refusals: tuple[Refusal, ...]
    left_out: tuple[LeftOut, ...] = ()
