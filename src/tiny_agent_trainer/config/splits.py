# SPDX-License-Identifier: Apache-2.0
"""`[data.split]`: how patients are divided. One options class per method."""

from typing import Annotated, Literal

import pydantic

from tiny_agent_trainer.config import section


class SplitOptions(section.Section):
    """How patients are divided when the data do not come divided."""

    seed: section.Seed = 0
    """Which division; apart from `base_seed`, so that a new `base_seed` keeps the test set."""

    validation_fraction: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.15
    """Share of the patients that the best epoch is chosen on."""

    test_fraction: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.15
    """Share of the patients that the result is measured on, once."""

    @pydantic.model_validator(mode="after")
    def _leave_some_for_training(self) -> "SplitOptions":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction leave nothing for training")
        return self


class LinkedSplitOptions(SplitOptions):
    """How patients are divided, some of whom may share images."""

    keep_linked: bool = False
    """Keep patients who share equal or nearly equal images in one split; reports count them."""


class FractionsOptions(LinkedSplitOptions):
    """Patients divided by fractions, class by class."""

    method: Literal["fractions"] = "fractions"
    """Shares of the patients."""

    repeat: section.NaturalInt = 0
    """Which of many divisions by the same seed; each is independent of the others."""


class FoldsOptions(section.Section):
    """Patients in folds of equal size: one is test, the next one is val, the others are train."""

    method: Literal["folds"]
    """Cross-validation: one run per fold."""

    folds: Annotated[int, pydantic.Field(ge=3, le=1000)] = 5
    """Number of folds."""

    fold: section.NaturalInt = 0
    """Which fold is test, from 0; the next one, after the last the first, is val."""

    seed: section.Seed = 0
    """Which division into folds; the same for every `fold`."""

    repeat: section.NaturalInt = 0
    """Which of many divisions by the same seed; each is independent of the others."""

    keep_linked: bool = False
    """Keep patients who share equal or nearly equal images in one fold; reports count them."""

    @pydantic.model_validator(mode="after")
    def _name_a_fold(self) -> "FoldsOptions":
        if self.fold >= self.folds:
            raise ValueError(f"fold counts from 0, so the last one is {self.folds - 1}")
        return self


class ColumnOptions(section.Section):
    """The table of labels says it."""

    method: Literal["column"]
    """A column of the table of labels."""

    column: Annotated[str, pydantic.Field(min_length=1)]
    """Its name; every row holds train, val or test."""


class FileOptions(section.Section):
    """A file says it, sample by sample, by the digest of decoded pixels."""

    method: Literal["file"]
    """A split file (`docs/formats/split-v1.md`), or the `data/manifest.json` of a run."""

    path: Annotated[str, pydantic.Field(min_length=1)]
    """The file, relative to `root`."""


SplitSection = Annotated[
    Annotated[FractionsOptions, pydantic.Tag("fractions")]
    | Annotated[FoldsOptions, pydantic.Tag("folds")]
    | Annotated[ColumnOptions, pydantic.Tag("column")]
    | Annotated[FileOptions, pydantic.Tag("file")],
    section.chosen_by("method", default="fractions"),
]
"""The listing of methods: a new one adds its class here."""
