# SPDX-License-Identifier: Apache-2.0
"""The nouns between a reader and the rest: samples, source files, and a dataset of both."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

Task = Literal["multiclass", "multilabel"]

StoredArray = npt.NDArray[np.integer]
"""Pixels as stored: uint8, uint16 or int16, shape (*spatial, channels), channels always last."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with what is known of it.

    Attributes:
        key: Where it comes from, unique in its dataset, relative to the data root.
        patient: Whose it is, in the data's own words; never leaves the process.
        label: The class index, alone; or one 0 or 1 per class for multi-label data.
        split: Which split it belongs to.
        attributes: Known facts for subgroups, such as {"sex": "F"}.
    """

    key: str
    patient: str
    label: tuple[int, ...]
    split: Split
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One input file: its path relative to the data root, its size and its digest."""

    path: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a reader brings.

    Attributes:
        name: Which data these are, without paths.
        task: One class per sample, or any number of labels.
        classes: Names in the order of label indices.
        dims: 2 for images, 3 for volumes.
        samples: In any order; `Cohort` puts them in theirs.
        images: One per sample, in the same order, as `cohort.Given` lists them: stored arrays, or
            images with geometry, or prepared ones; may be made on demand.
        files: Every file that was read.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    dims: int
    samples: Sequence[Sample]
    images: Sequence[Any]
    files: tuple[SourceFile, ...]


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
