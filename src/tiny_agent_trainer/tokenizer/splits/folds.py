# SPDX-License-Identifier: Apache-2.0
"""Cross-validation: patients in folds, of which each is the test split of one run."""

from collections.abc import Sequence

from tiny_agent_trainer.config.splits import FoldsOptions
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.splits import fractions


def number_folds(
    patients: Sequence[str], strata: Sequence[int], options: FoldsOptions
) -> dict[str, int]:
    """The fold of every patient, from 0; `options.fold` has no influence.

    Guarantees:
        Folds differ by at most one patient, over all and in each stratum: patients are dealt out
        one by one, stratum after stratum, and the next stratum goes on where the last one ended.
    """
    dealt: dict[str, int] = {}
    name = ("folds", "repeat", options.repeat)
    for members in fractions.permuted_strata(patients, strata, options.seed, *name):
        for member in members:
            dealt[member] = len(dealt) % options.folds
    return dealt


def split_patients(
    patients: Sequence[str], strata: Sequence[int], options: FoldsOptions
) -> dict[str, samples.Split]:
    """Fold `options.fold` is test, the next one is val, the others are train.

    Raises:
        DatasetError: There are fewer patients than folds that are needed.
    """
    val = (options.fold + 1) % options.folds
    named: dict[int, samples.Split] = {options.fold: "test", val: "val"}
    dealt = number_folds(patients, strata, options)
    chosen = {patient: named.get(fold, "train") for patient, fold in dealt.items()}
    fractions.require_all(chosen)
    return chosen
