# SPDX-License-Identifier: Apache-2.0
"""Divide patients into train, val and test: seeded, stratified, never dividing a patient."""

from collections.abc import Iterator, Sequence

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.config.splits import SplitOptions
from tiny_agent_trainer.tokenizer import samples


def split_patients(
    patients: Sequence[str], strata: Sequence[int], options: SplitOptions, *, repeat: int = 0
) -> dict[str, samples.Split]:
    """Divide patients stratum by stratum.

    Args:
        patients: Names, each once.
        strata: A class per patient; each class is divided by the same fractions.
        options: Fractions and seed.
        repeat: Which of many divisions.

    Returns:
        The split of every patient. In each stratum, patients in byte order of their names are
        permuted by a stream of the seed; the first go to test, the next to val.

    Raises:
        DatasetError: A split would hold no patient.
    """
    chosen: dict[str, samples.Split] = {}
    name: tuple[str | int, ...] = ("split", "repeat", repeat) if repeat else ("split",)
    for members in permuted_strata(patients, strata, options.seed, *name):
        num_test = round(options.test_fraction * len(members))
        num_val = round(options.validation_fraction * len(members))
        for rank, member in enumerate(members):
            chosen[member] = (
                "test" if rank < num_test else "val" if rank < num_test + num_val else "train"
            )
    require_all(chosen)
    return chosen


def permuted_strata(
    patients: Sequence[str], strata: Sequence[int], seed: int, *name: str | int
) -> Iterator[list[str]]:
    """Patients of one stratum after the other, in byte order, permuted by a stream of their own."""
    for stratum in sorted(set(strata)):
        members = [p for p, s in zip(patients, strata, strict=True) if s == stratum]
        members.sort(key=str.encode)
        order = randomness.stream(seed, *name, stratum).permutation(len(members))
        yield [members[position] for position in order.tolist()]


def require_all(chosen: dict[str, samples.Split]) -> None:
    """Refuse a division that leaves a split empty.

    Raises:
        DatasetError: Names the empty splits.
    """
    empty = [split for split in samples.SPLITS if split not in chosen.values()]
    if empty:
        raise errors.DatasetError(
            where="[data.split]",
            expected="at least one patient in train, val and test",
            found=f"{len(chosen)} patients, none of them in {', '.join(empty)}",
            remedy="add patients, change the fractions, or name the splits in a column",
        )
