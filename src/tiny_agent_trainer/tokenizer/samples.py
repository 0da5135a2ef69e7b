# SPDX-License-Identifier: Apache-2.0
"""The nouns between a reader and the rest: samples, source files, and a dataset of both."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

Task = Literal["multiclass", "multilabel", "regression", "ordinal"]

MASKED: Final = -1
"""A label of multi-label data that is not known; it counts neither in the loss nor in metrics."""

Label: TypeAlias = tuple[int, ...] | tuple[float, ...]
"""Multiclass and ordinal: the class index, alone. Multilabel: 0, 1 or `MASKED` per class.
Regression: the target, alone, a value of float32."""

StoredArray = npt.NDArray[np.integer]
"""Pixels as stored: uint8, uint16 or int16, shape (*spatial, channels), channels always last."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with what is known of it.

    Attributes:
        key: Where it comes from, unique in its dataset, relative to the data root.
        patient: Whose it is, in the data's own words; never leaves the process.
        label: As `Label` says.
        split: Which split it belongs to.
        attributes: Known facts for subgroups, such as {"sex": "F"}.
    """

    key: str
    patient: str
    label: Label
    split: Split
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What tells images apart (`leaks.fingerprints`).

    Attributes:
        pixels: SHA-256 of type, shape and values, 64 hex digits.
        looks: A perceptual hash; b"" for an image that is too small or too plain to have one.
    """

    pixels: str
    looks: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One input file: its path relative to the data root, its size and its digest."""

    path: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LabelMap:
    """The class numbers of an image's voxels.

    Attributes:
        pixels: SHA-256 of type, shape and class numbers, 64 hex digits.
        file: What they are read from.
        read: Decode them, as an image with geometry. Raises `DatasetError`.
    """

    pixels: str
    file: SourceFile
    read: Callable[[], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a reader brings.

    Attributes:
        name: Which data these are, without paths.
        task: One class per sample, any number of labels, a number, or one grade of several.
        classes: Names in the order of label indices; for regression the name of the target, alone.
        dims: 2 for images, 3 for volumes.
        samples: In any order; `Cohort` puts them in theirs.
        images: One per sample, in the same order, as `cohort.Given` lists them: stored arrays, or
            images with geometry, or prepared ones; may be made on demand.
        files: Every file that was read.
        marks: What tells images apart, in the order of samples; None where the reader has not
            looked at their pixels. Prepared images come with theirs.
        remarks: What a report must say of the data, as sentences without names, such as how many
            images were left out.
        decoders: Names and versions of what decoded the pixels, each once, sorted.
        plane_ratios: Distance of columns over that of rows, of every prepared image; None where all
            pixels count as square.
        label_maps: One per sample, in the same order; None where there are none.
        names_are_private: Whether keys and paths may name a person, so that no run holds them.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    dims: int
    samples: Sequence[Sample]
    images: Sequence[Any]
    files: tuple[SourceFile, ...]
    marks: tuple[Fingerprint, ...] | None = None
    remarks: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ()
    plane_ratios: tuple[float, ...] | None = None
    label_maps: tuple[LabelMap, ...] | None = None
    names_are_private: bool = False


LabelArray: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.float32]
"""Labels of many samples: int64, shape (n,), or (n, classes) for multilabel; float32 for
regression, shape (n,)."""

Progress = Callable[[str, int, int | None], None]
"""Told what is under way, how much of it is done, and how much there is, if known."""


def silent(_doing: str, _done: int, _total: int | None) -> None:
    """The progress listener that tells nobody."""


class Reader(Protocol):
    """What brings samples into the house; built as `Reader(options, progress)`."""

    def read(self) -> Dataset:
        """Read and check everything.

        Raises:
            DatasetMissingError: A file is not here.
            DatasetError: A file is damaged or not what it should be.
        """
