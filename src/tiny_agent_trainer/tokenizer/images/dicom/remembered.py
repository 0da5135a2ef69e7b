# SPDX-License-Identifier: Apache-2.0
"""Headers of files that were read before, found again by the digest of all of their bytes.

What is remembered of a file is one line: its layout and planes, and where its identifiers stand.
The identifiers themselves are read from the file anew, so that no memory holds them.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import pydicom
from pydicom.dataelem import RawDataElement as Raw

from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.images import sources
from tiny_agent_trainer.tokenizer.images.dicom import decode, files, geometry, headers, tags


class Memory(Protocol):
    """Keeps a value for each file, by the digest of its bytes."""

    def find(self, name: str) -> object:
        """The value of a digest; None without one."""

    def note(self, name: str, value: str) -> None:
        """Keep a value."""

    def close(self) -> None:
        """Nothing more will be asked or noted."""


OpenMemory: TypeAlias = Callable[[str], Memory]
"""The memory of a folder, which is named after the digest of its first file."""

_IDENTIFIERS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LONGEST: Final = 64
"""Bytes of an identifier; longer ones are against the standard, and their files not remembered."""

_PHOTOMETRICS: Final = frozenset(
    (
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422",
        "YBR_ICT", "YBR_RCT",
    )
)  # fmt: skip
"""Terms of the standard; another text could say anything, and its file is not remembered."""

_PLANE: Final = struct.Struct("<11d")


class Headers:
    """Reads headers, from a memory where it can.

    Args:
        root: Where keys begin.
        open_memory: Opens the memory; None to remember nothing and to digest no file.
    """

    def __init__(self, root: Path, open_memory: OpenMemory | None) -> None:
        self._root, self._open = root, open_memory
        self._memory: Memory | None = None
        self.files: dict[str, samples.SourceFile] = {}
        """What was digested, by key."""

    def read(self, key: str) -> headers.Header | None:
        """As `headers.read`.

        Raises:
            DatasetError: As `headers.read`.
        """
        if self._open is None:
            return headers.read(self._root, key)
        start, file = sources.digest(self._root, key)
        self.files[key] = file
        if self._memory is None:
            self._memory = self._open(file.sha256)
        line = self._memory.find(file.sha256)
        known = decode_line(line, start, key) if isinstance(line, str) else None
        return known or self._read_anew(start, file, self._memory)

    def close(self) -> None:
        """Keep what is new."""
        if self._memory is not None:
            self._memory.close()

    def _read_anew(
        self, start: bytes, file: samples.SourceFile, memory: Memory
    ) -> headers.Header | None:
        """Read a header; one that stands in the digested bytes is remembered."""
        dataset = files.scan_start(start, file.path)
        if dataset is None:
            return headers.read(self._root, file.path)
        places = _places_in(dataset)  # before pydicom puts values in the place of bytes
        header = headers.parse(dataset, file.path)
        line = encode_line(header, places, start) if header else ""
        if line:
            memory.note(file.sha256, line)
        return header


def encode_line(header: headers.Header, places: str, start: bytes) -> str:
    """A header as a line without identifiers; "" for one that a line cannot give back.

    Args:
        header: The header.
        places: Where the file's identifiers stand.
        start: The first bytes of the file.
    """
    layout = header.layout
    if layout.photometric not in _PHOTOMETRICS:
        return ""
    numbers = (
        layout.rows, layout.columns, layout.samples, layout.bits_allocated, layout.bits_stored,
        layout.high_bit, int(layout.is_signed), int(header.is_localiser),
    )  # fmt: skip
    line = "\t".join(
        (
            header.modality,
            layout.photometric,
            header.missing,
            ",".join(map(str, numbers)),
            ",".join(map(_encode_plane, header.planes)),
            places,
        )
    )
    return line if decode_line(line, start, header.key) == header else ""


def decode_line(line: str, start: bytes, key: str) -> headers.Header:
    """The header that a line was made of.

    Args:
        line: What `encode_line` gave.
        start: The first bytes of the file, which are those that it was made of.
        key: Path relative to the root.
    """
    modality, photometric, missing, numbers, planes, places = line.split("\t")
    rows, columns, channels, allocated, stored, high, signed, localiser = map(
        int, numbers.split(",")
    )
    patient, study, series, instance = (_text_at(place, start) for place in places.split(","))
    return headers.Header(
        key=key,
        patient=patient,
        study=study,
        series=series,
        instance=instance,
        modality=modality,
        layout=decode.Layout(
            rows=rows,
            columns=columns,
            samples=channels,
            photometric=photometric,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=high,
            is_signed=bool(signed),
        ),
        planes=tuple(map(_decode_plane, planes.split(","))),
        missing=missing,
        is_localiser=bool(localiser),
    )


def _places_in(dataset: pydicom.Dataset) -> str:
    return ",".join(_place_of(dataset, keyword) for keyword in _IDENTIFIERS)


def _place_of(dataset: pydicom.Dataset, keyword: str) -> str:
    """Where the value of an element stands; "" without one."""
    element: object = dataset.get_item(tags.tag_of(keyword))
    if isinstance(element, Raw) and 0 < element.length <= _LONGEST:
        return f"{element.value_tell}+{element.length}"
    return ""


def _text_at(place: str, start: bytes) -> str:
    if not place:
        return ""
    begin, _, length = place.partition("+")
    return start[int(begin) : int(begin) + int(length)].decode("latin-1").strip(" \0")


def _encode_plane(plane: geometry.Plane | None) -> str:
    if plane is None:
        return ""
    vectors = (*plane.along_row, *plane.along_column, *plane.position, *plane.spacing_mm)
    return _PLANE.pack(*vectors).hex()


def _decode_plane(text: str) -> geometry.Plane | None:
    if not text:
        return None
    one = _PLANE.unpack(bytes.fromhex(text))
    return geometry.Plane(
        along_row=one[0:3], along_column=one[3:6], position=one[6:9], spacing_mm=one[9:11]
    )
