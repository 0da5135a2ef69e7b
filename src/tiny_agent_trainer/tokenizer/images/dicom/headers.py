# SPDX-License-Identifier: Apache-2.0
"""What is known of a DICOM file before its pixels are decoded."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pydicom

from tiny_agent_trainer.config.images import DicomOptions
from tiny_agent_trainer.tokenizer.images import orientation, refusing, sources
from tiny_agent_trainer.tokenizer.images.dicom import decode, enhanced, files, geometry, tags

QUANTITATIVE: Final = ("CT", "PT", "MR")
"""Modalities whose values mean something without a window, and whose series are volumes."""

_NO_IMAGES: Final = {
    "SEG": "a segmentation, which is a label map and no image",
    "RTDOSE": "a dose distribution, which is no image",
}

_TERM_LENGTH: Final = 16
"""Characters of a code string (PS3.5 6.2)."""

_LETTERS: Final = {"L": "L", "R": "R", "A": "A", "P": "P", "H": "S", "F": "I"}
"""PatientOrientation's head and foot are superior and inferior here (PS3.3 C.7.6.1.1.1)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One file.

    Attributes:
        key: Path relative to the root.
        patient, study, series, instance: In the data's own words; never leave the process.
        modality: As DICOM abbreviates it.
        layout: Of a frame and its cells.
        planes: Of every frame; None for one without a place in the patient.
        missing: Why frames have no place each: tags that are absent, listed; or one place for all.
        is_localiser: Whether ImageType says so.
    """

    key: str
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    layout: decode.Layout
    planes: tuple[geometry.Plane | None, ...]
    missing: str
    is_localiser: bool

    @property
    def names(self) -> Mapping[str, str]:
        """What a table of labels may call the file by."""
        return {
            "patient_id": self.patient,
            "study_uid": self.study,
            "series_uid": self.series,
            "sop_uid": self.instance,
        }


def read(root: Path, key: str) -> Header | None:
    """Read a header; None for a DICOMDIR.

    Raises:
        DatasetError: The file holds no image, or none that can be decoded here.
    """
    return parse(files.read_header(sources.inside(root, key), key), key)


def parse(dataset: pydicom.Dataset, key: str) -> Header | None:
    """The header that a file's elements make; None for a DICOMDIR.

    Raises:
        DatasetError: As `read`.
    """
    if files.is_directory(dataset, key):
        return None
    require_image(dataset, key)
    return of(dataset, enhanced.frames_of(dataset, key), key)


def require_image(dataset: pydicom.Dataset, key: str) -> None:
    """Refuse what is no image, with what it is.

    Raises:
        DatasetError: A DICOMDIR, a segmentation, a dose; or there are no rows and columns.
    """
    if files.is_directory(dataset, key):
        raise refusing.refusal(key, "an image", "a DICOMDIR, which lists files")
    modality = tags.text(dataset, "Modality", key)
    if modality in _NO_IMAGES:
        raise refusing.refusal(key, "an image", _NO_IMAGES[modality])
    if not (tags.is_there(dataset, "Rows") and tags.is_there(dataset, "Columns")):
        kind = f"modality {modality}" if modality else "no modality"
        raise refusing.refusal(key, "an image", f"a file without rows and columns ({kind})")


def of(dataset: pydicom.Dataset, frames: Sequence[enhanced.Frame], key: str) -> Header:
    """The header of a dataset with these frames.

    Raises:
        DatasetError: The file holds no image, or none that can be decoded here.
    """
    layout = decode.layout_of(dataset, key)
    decode.require_decodable(files.syntax_of(dataset, key), layout.bits_stored, key)
    sources.require_values(key, layout.rows * layout.columns * layout.samples * len(frames))
    planes = tuple(geometry.plane_of(frame) for frame in frames)
    missing = "" if planes[0] else geometry.missing_tags(frames[0])
    if len(frames) > 1 and len(set(planes)) == 1:
        planes, missing = (None,) * len(frames), missing or "all frames are at one place"
    return Header(
        key=key,
        patient=tags.text(dataset, "PatientID", key),
        study=tags.text(dataset, "StudyInstanceUID", key),
        series=tags.text(dataset, "SeriesInstanceUID", key),
        instance=tags.text(dataset, "SOPInstanceUID", key),
        modality=_modality(dataset, key),
        layout=layout,
        planes=planes,
        missing=missing,
        is_localiser="LOCALIZER" in tags.words(dataset, "ImageType", key),
    )


def is_display(modality: str, options: DicomOptions) -> bool:
    """Whether values are shown as on a screen rather than kept in their unit."""
    if options.intensity == "auto":
        return modality not in QUANTITATIVE
    return options.intensity == "display"


def _modality(dataset: pydicom.Dataset, key: str) -> str:
    """The modality; "" for a text that is no defined term, which reports must not repeat."""
    found = tags.text(dataset, "Modality", key)
    is_term = found.isascii() and found.isalnum() and len(found) <= _TERM_LENGTH
    return found if is_term else ""


def chosen_frames(header: Header, options: DicomOptions) -> tuple[int, ...]:
    """Which frames of a file are read: its only one, all as a volume, or the one that is asked for.

    Raises:
        DatasetError: They make no volume, and none is asked for.
    """
    count = len(header.planes)
    if count == 1:
        return (0,)
    if options.volumes != "never" and None not in header.planes:
        return tuple(range(count))
    if options.frame is None or options.frame >= count:
        remedy = f"choose a frame from 0 to {count - 1} with the option `frame` for DICOM files"
        found = f"{count} frames that make no volume ({header.missing or 'volumes = never'})"
        raise refusing.refusal(header.key, "one image or one volume", found, remedy)
    return (options.frame,)


def flat_spacing(dataset: pydicom.Dataset, frame: enhanced.Frame) -> tuple[tuple[float, ...], str]:
    """Spacing of a single image in millimetres, between rows and columns, and a remark on it.

    In the patient where PixelSpacing is there; else at the detector (projection radiography) or
    of the scanned film. () when the file says nothing.
    """
    measured = tags.numbers(frame.macro("PixelMeasuresSequence"), "PixelSpacing", frame.key, 2)
    if measured and min(measured) > 0:
        return measured, ""
    for keyword, remark in (
        ("ImagerPixelSpacing", "spacing at the detector, not in the patient"),
        ("NominalScannedPixelSpacing", "spacing on the scanned film, not in the patient"),
    ):
        found = tags.numbers(dataset, keyword, frame.key, 2)
        if found and min(found) > 0:
            return found, remark
    return (), ""


def flat_orientation(dataset: pydicom.Dataset, plane: geometry.Plane | None, key: str) -> str:
    """Where growing row and column indices of a single image go; "" when the file says nothing."""
    if plane is not None:
        return orientation.letters_of((plane.along_column, plane.along_row))
    along_row, along_column = (*tags.words(dataset, "PatientOrientation", key), "", "")[:2]
    letters = [_LETTERS.get(word[:1], "") for word in (along_column, along_row)]
    pairs = [{"L": 0, "R": 0, "A": 1, "P": 1, "S": 2, "I": 2}.get(letter) for letter in letters]
    return "".join(letters) if None not in pairs and pairs[0] != pairs[1] else ""
