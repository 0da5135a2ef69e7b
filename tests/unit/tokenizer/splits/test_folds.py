# SPDX-License-Identifier: Apache-2.0
"""Folds are of equal size and kind, each is test once, and repeats are other divisions.

Not tested here: fractions (test_fractions.py).
"""

import collections

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.splits import FoldsOptions, FractionsOptions
from tiny_agent_trainer.tokenizer.splits import folds, fractions, strata

GOLDEN = "001021120122"


def options(**changes):
    return FoldsOptions(method="folds", **changes)


def names(count):
    return [f"p{index:04d}" for index in range(count)]


@given(st.integers(3, 9), st.lists(st.integers(0, 3), min_size=9, max_size=80), st.integers(0, 5))
def test_folds_differ_by_at_most_one_patient_also_in_every_stratum(number, kinds, seed):
    patients = names(len(kinds))
    dealt = folds.number_folds(patients, kinds, options(folds=number, seed=seed))
    for kind in {None, *kinds}:
        own = [dealt[p] for p, k in zip(patients, kinds, strict=True) if kind in (None, k)]
        counts = collections.Counter(dict.fromkeys(range(number), 0))
        counts.update(own)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_every_patient_is_tested_once_and_chosen_on_once():
    patients, kinds = names(53), [index % 3 for index in range(53)]
    divisions = [
        folds.split_patients(patients, kinds, options(folds=5, fold=fold)) for fold in range(5)
    ]
    for patient in patients:
        found = [division[patient] for division in divisions]
        assert sorted(found) == ["test", "train", "train", "train", "val"]
        assert found[(found.index("test") - 1) % 5] == "val"


@given(st.randoms(use_true_random=False))
def test_the_order_in_which_patients_are_listed_has_no_influence(dice):
    pairs = list(zip(names(30), [0, 1, 1] * 10, strict=True))
    expected = folds.number_folds(*zip(*pairs, strict=True), options())
    dice.shuffle(pairs)
    assert folds.number_folds(*zip(*pairs, strict=True), options()) == expected


def test_seeds_and_repeats_are_other_divisions():
    chosen = [options(seed=seed, repeat=repeat) for seed in (0, 1) for repeat in (0, 1, 2)]
    divisions = [folds.number_folds(names(40), [0] * 40, one) for one in chosen]
    assert len({tuple(dealt[name] for name in names(40)) for dealt in divisions}) == 6


def test_repeats_of_fractions_are_other_divisions_and_the_first_is_as_ever():
    plain = fractions.split_patients(names(40), [0] * 40, FractionsOptions())
    found = [
        fractions.split_patients(names(40), [0] * 40, FractionsOptions(), repeat=repeat)
        for repeat in range(3)
    ]
    assert found[0] == plain
    assert len({tuple(division[name] for name in names(40)) for division in found}) == 3


def test_this_division_never_changes():
    dealt = folds.number_folds(names(12), [0, 1] * 6, options(folds=3, seed=7))
    assert "".join(str(dealt[name]) for name in names(12)) == GOLDEN


def test_too_few_patients_and_a_fold_that_is_not_there():
    with pytest.raises(errors.DatasetError, match="none of them in"):
        folds.split_patients(names(2), [0, 0], options(folds=3, fold=1))
    with pytest.raises(pydantic.ValidationError, match="the last one is 4"):
        options(folds=5, fold=5)


class TestStrata:
    def test_a_patient_is_of_the_highest_class_of_its_samples(self):
        found = strata.number_strata("multiclass", ["a", "b", "a"], [(0,), (1,), (2,)])
        assert found == {"a": 2, "b": 1}

    def test_of_several_findings_the_rarest_counts(self):
        found = strata.number_strata(
            "multilabel", ["a", "b", "c", "d"], [(1, 1), (1, 0), (0, -1), (1, 0)]
        )
        assert found == {"a": 2, "b": 1, "c": 0, "d": 1}

    def test_numbers_are_cut_into_fifths_of_patients(self):
        targets = [(float(v),) for v in (5, 1, 9, 3, 7, 0, 8, 2, 6, 4)]
        found = strata.number_strata("regression", names(10), targets)
        bands = collections.Counter(found.values())
        assert bands == {0: 2, 1: 2, 2: 2, 3: 2, 4: 2}
        assert found["p0005"] == 0
        assert found["p0002"] == 4
