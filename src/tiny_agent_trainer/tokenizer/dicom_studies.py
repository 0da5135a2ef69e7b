# SPDX-License-Identifier: Apache-2.0
"""The phantom as DICOM files: radiographs in which 0 is white, or CT-like series.

Names, identifiers and dates belong to nobody. The same options give the same bytes.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset

from tiny_agent_trainer import digests, durable
from tiny_agent_trainer.config.data import DicomPhantomOptions, PhantomOptions
from tiny_agent_trainer.tokenizer import phantom, samples

LABELS: Final = "labels.csv"
"""The table beside the studies: image, patient_id, finding, sex, age_band, scanner."""

_DIGITAL_XRAY: Final = "1.2.840.10008.5.1.4.1.1.1.1"
_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_LARGEST_STORED: Final = 4095
"""12 bits, as detectors give."""
_GRAY_STEP: Final = 16
"""Stored values between two gray values of the phantom."""
_AIR_HU: Final = -1024
_HU_STEP: Final = 8
"""Hounsfield units between two gray values of the phantom: from -1024 to 1016."""
_PROFILE: Final = 256
"""Slices fall off from this share of the middle one, in 256ths."""
_DATE: Final = "20000101"


def write_studies(root: Path, options: DicomPhantomOptions, progress: samples.Progress) -> None:
    """Write every study and the table of labels into an empty directory.

    Raises:
        StorageError: The disk refuses.
    """
    about = PhantomOptions(
        phantom_seed=options.phantom_seed,
        patients=options.patients,
        images_per_patient=options.images_per_patient,
        image_size=options.image_size,
        lesion_fraction=options.lesion_fraction,
        lesion_contrast=options.lesion_contrast,
        label_noise=options.label_noise,
    )
    study = phantom.PhantomReader(about, progress).read()
    rows = []
    pairs = zip(study.samples, study.images, strict=True)
    for done, (sample, gray) in enumerate(pairs, start=1):
        series = _Series(options, sample)
        files = dict(series.files(gray[..., 0]))
        durable.make_directory(root / series.folder)
        for name, content in files.items():
            (root / series.folder / name).write_bytes(content)
        facts = [sample.attributes[name] for name in ("sex", "age_band", "scanner")]
        finding = study.classes[int(sample.label[0])]
        rows.append([f"{series.folder}/{min(files)}", series.patient, finding, *facts])
        progress("writing DICOM studies", done, len(study.samples))
    durable.write_atomic(root / LABELS, _encode_table(rows))


class _Series:
    """One image of the phantom as a radiograph or a series of slices."""

    def __init__(self, options: DicomPhantomOptions, sample: samples.Sample) -> None:
        _, patient, image = sample.key.split("/")
        self._options = options
        self._number = image
        self.patient = f"PHANTOM-{patient}"
        self.folder = f"{self.patient}/{image}"

    def files(self, gray: npt.NDArray[np.integer]) -> Iterator[tuple[str, bytes]]:
        """Names and contents, given the phantom's pixels, uint8, shape (rows, columns)."""
        wide = gray.astype(np.int64)
        if self._options.studies == "radiographs":
            stored = _LARGEST_STORED - wide * _GRAY_STEP
            yield "0000.dcm", self._encode(stored, 0, _radiograph())
            return
        count = self._options.slices
        for place in range(count):
            # A parabola in 256ths: whole in the middle, about half at both ends.
            away = 2 * place - (count - 1)
            share = _PROFILE - _PROFILE * away * away // (2 * count * count)
            stored = wide * share // _PROFILE * _HU_STEP
            yield f"{place:04d}.dcm", self._encode(stored, place, _slice(place))

    def _encode(
        self, stored: npt.NDArray[np.integer], place: int, elements: dict[str, object]
    ) -> bytes:
        instance = self._uid("instance", place)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = uid.UID(str(elements["SOPClassUID"]))
        meta.MediaStorageSOPInstanceUID = instance
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        # Named here, because pydicom would otherwise write its own version.
        meta.ImplementationClassUID = self._uid("implementation")
        meta.ImplementationVersionName = "PHANTOM_1"
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        rows, columns = stored.shape
        values = {
            "SOPInstanceUID": instance, "StudyInstanceUID": self._uid("study"),
            "SeriesInstanceUID": self._uid("series"), "InstanceNumber": place + 1,
            "PatientID": self.patient, "PatientName": f"Phantom^{self.patient[-7:]}",
            "StudyDate": _DATE, "SeriesNumber": 1, "StudyID": "1", "Manufacturer": "Phantom",
            "Rows": rows, "Columns": columns, "SamplesPerPixel": 1, "BitsAllocated": 16,
            "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, **elements,
        }  # fmt: skip
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    def _uid(self, what: str, place: int = 0) -> uid.UID:
        """Below 2.25, where the rest is a number of 128 bits (PS3.5 B.2)."""
        name = f"{self._options.phantom_seed}/{self._options.studies}/{self.folder}/{what}/{place}"
        return uid.UID(f"2.25.{int(digests.sha256_hex(name.encode())[:32], 16)}")


def _radiograph() -> dict[str, object]:
    return {
        "SOPClassUID": _DIGITAL_XRAY, "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME1", "ImagerPixelSpacing": [0.5, 0.5],
        "WindowCenter": 2048, "WindowWidth": 4096, "BurnedInAnnotation": "NO",
    }  # fmt: skip


def _slice(place: int) -> dict[str, object]:
    return {
        "SOPClassUID": _CT, "Modality": "CT", "PhotometricInterpretation": "MONOCHROME2",
        "ImagePositionPatient": [0, 0, 3 * place], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2, 2], "SliceThickness": 3, "RescaleSlope": 1,
        "RescaleIntercept": _AIR_HU, "RescaleType": "HU",
    }  # fmt: skip


def _encode_table(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "patient_id", "finding", "sex", "age_band", "scanner"])
    writer.writerows(rows)
    return text.getvalue().encode()
