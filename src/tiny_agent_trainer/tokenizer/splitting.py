# SPDX-License-Identifier: Apache-2.0
"""Divide patients into train, val and test: seeded, stratified, never dividing a patient."""

from collections.abc import Sequence

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.config.data import SplitOptions
from tiny_agent_trainer.tokenizer import samples


def split_patients(
    patients: Sequence[str], strata: Sequence[int], options: SplitOptions
) -> dict[str, samples.Split]:
    """Divide patients stratum by stratum.

    Args:
        patients: Names, each once.
        strata: A class per patient; each class is divided by the same fractions.
        options: Fractions and seed.

    Returns:
        The split of every patient. In each stratum, patients in byte order of their names are
        permuted by a stream of the seed; the first go to test, the next to val.

    Raises:
        DatasetError: A split would hold no patient.
    """
    chosen: dict[str, samples.Split] = {}
    for stratum in sorted(set(strata)):
        members = [p for p, s in zip(patients, strata, strict=True) if s == stratum]
        members.sort(key=str.encode)
        order = randomness.stream(options.seed, "split", stratum).permutation(len(members))
        num_test = round(options.test_fraction * len(members))
        num_val = round(options.validation_fraction * len(members))
        for rank, position in enumerate(order.tolist()):
            chosen[members[position]] = (
                "test" if rank < num_test else "val" if rank < num_test + num_val else "train"
            )
    _require_all(chosen)
    return chosen


def _require_all(chosen: dict[str, samples.Split]) -> None:
    empty = [split for split in samples.SPLITS if split not in chosen.values()]
    if empty:
        raise errors.DatasetError(
            where="[data.split]",
            expected="at least one patient in train, val and test",
            found=f"{len(chosen)} patients, none of them in {', '.join(empty)}",
            remedy="add patients, change the fractions, or name the splits in a column",
        )
