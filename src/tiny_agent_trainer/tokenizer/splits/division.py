# SPDX-License-Identifier: Apache-2.0
"""Divide samples as `[data.split]` says: by patient, or as a column or a file has it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import splits
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.splits import folds, fractions, split_file, strata

_SHOWN = 20
"""Samples that an error names."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Undivided:
    """Samples before they have a split; all sequences are in one order.

    Attributes:
        task: How labels are to be read.
        keys: Where samples come from, for messages.
        patients: Whose they are.
        labels: Their labels.
        pixel_digests: SHA-256 of decoded pixels.
        named: What the table of labels says of the split; "" where it says nothing.
    """

    task: samples.Task
    keys: Sequence[str]
    patients: Sequence[str]
    labels: Sequence[samples.Label]
    pixel_digests: Sequence[str]
    named: Sequence[str]


def divide(found: Undivided, options: splits.SplitSection, root: Path) -> list[samples.Split]:
    """The split of every sample.

    Args:
        found: The samples.
        options: The section of the configuration.
        root: The data root, which a split file is below of.

    Raises:
        DatasetError: A split would be empty, or a column or file does not say all splits.
        DatasetMissingError: There is no such split file.
    """
    if isinstance(options, splits.ColumnOptions):
        return _by_column(found, options)
    if isinstance(options, splits.FileOptions):
        path = _inside(root, options.path)
        return _by_file(found, split_file.read_split_file(path), options)
    numbers = strata.number_strata(found.task, found.patients, found.labels)
    patients, of_patients = list(numbers), list(numbers.values())
    chosen: Mapping[str, samples.Split] = (
        folds.split_patients(patients, of_patients, options)
        if isinstance(options, splits.FoldsOptions)
        else fractions.split_patients(patients, of_patients, options, repeat=options.repeat)
    )
    return [chosen[patient] for patient in found.patients]


def _by_column(found: Undivided, options: splits.ColumnOptions) -> list[samples.Split]:
    chosen = [_split_named(word) for word in found.named]
    wrong = [
        f"{key} ({word!r})"
        for key, word, split in zip(found.keys, found.named, chosen, strict=True)
        if split is None
    ]
    _refuse(wrong, f"column {options.column!r} of the labels", "train, val or test in every row")
    return [split for split in chosen if split is not None]


def _by_file(
    found: Undivided, known: Mapping[str, samples.Split], options: splits.FileOptions
) -> list[samples.Split]:
    pairs = list(zip(found.keys, found.pixel_digests, strict=True))
    unknown = [key for key, digest in pairs if digest not in known]
    _refuse(unknown, f"the split file {options.path}", "every image, by the digest of its pixels")
    return [known[digest] for _, digest in pairs]


def _split_named(word: str) -> samples.Split | None:
    return next((split for split in samples.SPLITS if split == word), None)


def _refuse(wrong: Sequence[str], where: str, expected: str) -> None:
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise errors.DatasetError(
            where=where,
            expected=expected,
            found=f"{len(wrong)} without: {', '.join(wrong[:_SHOWN])}{more}",
            remedy="complete it, or choose another `method` under [data.split]",
        )


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise errors.DatasetError(
            where="[data.split] path",
            expected="a path inside the data root",
            found=f"{relative!r}, which leads out of it",
            remedy="put the split file below the data root",
        )
    return path
