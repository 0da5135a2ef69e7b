# SPDX-License-Identifier: Apache-2.0
"""A division by patient on which everything can be measured and nothing leaks, if there is one."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.splits import LinkedSplitOptions
from tiny_agent_trainer.tokenizer.leaks import find, leak
from tiny_agent_trainer.tokenizer.samples import (
    SPLITS,
    Dataset,
    Fingerprint,
    Sample,
    Split,
)

Divide = Callable[[LinkedSplitOptions], Sequence[Split]]

_FRACTIONS: Final = (0.15, 0.2, 0.25, 0.3)
_SEEDS: Final = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What was chosen.

    Attributes:
        options: For `[data.split]`; None where the data come divided.
        listed: The samples with their splits.
        leaks: What no division that was tried avoids.
    """

    options: LinkedSplitOptions | None
    listed: tuple[Sample, ...]
    leaks: tuple[leak.Leak, ...]


def choose(dataset: Dataset, marks: Sequence[Fingerprint], divide: Divide | None) -> Division:
    """Try shares and seeds in a fixed order; the first sound division wins.

    Where none is without leaks, patients who share images are kept together, which leaves leaks
    only where equal images have different labels.

    Args:
        dataset: What a reader brought, divided or not.
        marks: What tells its images apart.
        divide: The split of every sample for given options; None where the data come divided.

    Raises:
        DatasetError: A class has too few patients to stand in every split.
    """
    apart = _best(dataset, marks, _tries(dataset, divide, keep_linked=False))
    if divide is None or (apart and not apart.leaks):
        found = [apart]
    else:
        found = [apart, _best(dataset, marks, _tries(dataset, divide, keep_linked=True))]
    sound = [division for division in found if division]
    if not sound:
        raise _too_few(dataset)
    return min(sound, key=lambda division: len(division.leaks))


def _best(
    dataset: Dataset,
    marks: Sequence[Fingerprint],
    tries: Iterator[tuple[LinkedSplitOptions | None, Sequence[Split]]],
) -> Division | None:
    """The division with the fewest leaks; None where none can be measured."""
    least: Division | None = None
    for options, splits in tries:
        if least and least.options and options and _share(options) != _share(least.options):
            break  # larger shares are for classes with few patients, not for leaks
        listed = tuple(
            dataclasses.replace(sample, split=split)
            for sample, split in zip(dataset.samples, splits, strict=True)
        )
        if not is_measurable(dataset, listed):
            continue
        leaks = tuple(find.find_leaks(listed, marks, dataset.task))
        found = Division(options=options, listed=listed, leaks=leaks)
        if not leaks or (options and options.keep_linked):
            return found  # no seed avoids what is left where the linked are together
        if least is None or len(leaks) < len(least.leaks):
            least = found
    return least


def _share(options: LinkedSplitOptions) -> float:
    return options.test_fraction


def is_measurable(dataset: Dataset, listed: Sequence[Sample]) -> bool:
    """Whether every split shows what is to be told apart."""
    for split in SPLITS:
        labels = {sample.label for sample in listed if sample.split == split}
        needed = 2 if dataset.task == "regression" else 1
        if dataset.task in ("multiclass", "ordinal"):
            needed = len(dataset.classes)
        if len(labels) < needed:
            return False
    return True


def is_ranked(dataset: Dataset, listed: Sequence[Sample]) -> bool:
    """Whether every finding is both there and absent in val and test, so that AUROC is defined."""
    for split in ("val", "test"):
        labels = [sample.label for sample in listed if sample.split == split]
        if any(not {0, 1} <= set(column) for column in zip(*labels, strict=True)):
            return False
    return True


def _tries(
    dataset: Dataset, divide: Divide | None, *, keep_linked: bool
) -> Iterator[tuple[LinkedSplitOptions | None, Sequence[Split]]]:
    if divide is None:
        yield None, [sample.split for sample in dataset.samples]
        return
    for share in _FRACTIONS:
        for seed in range(_SEEDS):
            options = LinkedSplitOptions(
                seed=seed,
                validation_fraction=share,
                test_fraction=share,
                keep_linked=keep_linked,
            )
            try:
                yield options, divide(options)
            except errors.DatasetError:  # a split without a patient
                continue


def _too_few(dataset: Dataset) -> errors.DatasetError:
    patients: dict[str, set[str]] = {}
    for sample in dataset.samples:
        for name in _names(dataset, sample):
            patients.setdefault(name, set()).add(sample.patient)
    counted = ", ".join(f"{name} {len(of)}" for name, of in sorted(patients.items()))
    return errors.DatasetError(
        where="the division by patient",
        expected="enough patients for every class to stand in train, val and test",
        found=f"patients: {counted}",
        remedy="add patients, or leave out or join the rarest classes in the table",
    )


def _names(dataset: Dataset, sample: Sample) -> Iterator[str]:
    if dataset.task == "regression":
        yield dataset.classes[0]
    elif dataset.task == "multilabel":
        yield from (n for n, v in zip(dataset.classes, sample.label, strict=True) if v == 1)
    else:
        yield dataset.classes[int(sample.label[0])]
