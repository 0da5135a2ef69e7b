# SPDX-License-Identifier: Apache-2.0
"""Patients are divided by a seed, class by class, and never cut in two.

Not tested here: leaks that the data bring with them (test_cohort.py).
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.splits import SplitOptions
from tiny_agent_trainer.tokenizer.splits.fractions import split_patients

SPLITS = ("train", "val", "test")


def names(count):
    return [f"p{index:04d}" for index in range(count)]


def count(chosen, split):
    return sum(value == split for value in chosen.values())


@given(st.integers(20, 200), st.integers(0, 9), st.floats(0.1, 0.4), st.floats(0.1, 0.4))
def test_every_patient_is_in_one_split_and_fractions_are_kept(number, seed, val, test):
    options = SplitOptions(seed=seed, validation_fraction=val, test_fraction=test)
    chosen = split_patients(names(number), [0] * number, options)
    assert sorted(chosen) == names(number)
    assert count(chosen, "val") == round(val * number)
    assert count(chosen, "test") == round(test * number)


def test_every_class_is_divided_by_the_same_fractions():
    strata = [index % 5 == 0 for index in range(200)]
    chosen = split_patients(names(200), strata, SplitOptions())
    for stratum, members in ((True, 40), (False, 160)):
        inside = {p: chosen[p] for p, s in zip(names(200), strata, strict=True) if s == stratum}
        assert count(inside, "val") == count(inside, "test") == round(0.15 * members)


@given(st.randoms(use_true_random=False))
def test_the_order_in_which_patients_are_listed_has_no_influence(dice):
    pairs = list(zip(names(40), [0, 1] * 20, strict=True))
    expected = split_patients(*zip(*pairs, strict=True), SplitOptions())
    dice.shuffle(pairs)
    assert split_patients(*zip(*pairs, strict=True), SplitOptions()) == expected


def test_a_seed_is_a_division_and_another_seed_another():
    divisions = [
        tuple(split_patients(names(40), [0] * 40, SplitOptions(seed=seed)).items())
        for seed in (0, 0, 1, 2)
    ]
    assert divisions[0] == divisions[1]
    assert len(set(divisions)) == 3


def test_every_patient_is_in_the_test_split_for_some_seed():
    tested = set()
    for seed in range(60):
        chosen = split_patients(names(20), [0] * 20, SplitOptions(seed=seed))
        tested |= {patient for patient, split in chosen.items() if split == "test"}
    assert tested == set(names(20))


@pytest.mark.parametrize(("number", "missing"), [(1, "val, test"), (3, "val, test"), (0, "train")])
def test_too_few_patients_are_refused_with_the_splits_that_stay_empty(number, missing):
    with pytest.raises(errors.DatasetError, match=f"{number} patients, none.*{missing}"):
        split_patients(names(number), [0] * number, SplitOptions())


def test_the_division_of_forty_patients_never_changes():
    """Golden: another division would change the test set of everyone who published one."""
    chosen = split_patients(names(40), [0, 1] * 20, SplitOptions(seed=7))
    assert sorted(p for p, split in chosen.items() if split == "test") == GOLDEN_TEST
    assert set(chosen.values()) == set(SPLITS)


GOLDEN_TEST = ["p0004", "p0017", "p0020", "p0029", "p0030", "p0035"]
