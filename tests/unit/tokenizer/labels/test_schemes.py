# SPDX-License-Identifier: Apache-2.0
"""What each scheme reads out of a row, how rows of one image merge, and what is refused.

Not tested here: tables (test_tables.py), which rows belong to which image (test_join.py).
"""

import math

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer.config import labels
from tiny_agent_trainer.tokenizer.labels import scheme
from tiny_agent_trainer.tokenizer.samples import MASKED

OPTIONS = {
    "class": labels.ClassOptions, "pipe": labels.PipeOptions, "one_hot": labels.OneHotOptions,
    "chexpert": labels.ChexpertOptions, "regression": labels.RegressionOptions,
    "ordinal": labels.OrdinalOptions,
}  # fmt: skip


def build(name, **others):
    options = OPTIONS[name](scheme=name, file="x.csv", id_column="id", **others)
    return scheme.build_scheme(options)


def chexpert(uncertain="mask", missing="mask"):
    return build("chexpert", columns=("Edema", "Mass"), uncertain=uncertain, missing=missing)


class TestClasses:
    def test_classes_are_sorted_by_bytes(self):
        read = build("class", column="c")
        assert read.name_classes(["b", "ä", "B", "a", "b"]) == ("B", "a", "b", "ä")
        assert read.encode("a", ("B", "a", "b")) == (1,)

    def test_a_given_list_keeps_its_order_and_refuses_others(self):
        read = build("class", column="c", classes=("pa", "ap"))
        assert read.name_classes(["ap"]) == ("pa", "ap")
        with pytest.raises(ValueError, match="'lateral' is not among the classes pa, ap"):
            read.parse(["lateral"])

    def test_rows_that_agree_merge_and_others_are_refused(self):
        read = build("class", column="c")
        assert read.merge(["a", "a"]) == "a"
        with pytest.raises(ValueError, match="'a' and 'b'"):
            read.merge(["a", "a", "b"])

    def test_an_empty_cell_is_refused(self):
        with pytest.raises(ValueError, match="no class"):
            build("class", column="c").parse([""])

    def test_grades_keep_their_order(self):
        read = build("ordinal", column="g", classes=("none", "mild", "severe"))
        assert read.task == "ordinal"
        assert read.encode(read.parse(["severe"]), read.name_classes([])) == (2,)

    def test_a_class_twice_and_a_single_grade_are_faults_of_the_configuration(self):
        with pytest.raises(pydantic.ValidationError, match="more than once: a"):
            build("class", column="c", classes=("a", "a"))
        with pytest.raises(pydantic.ValidationError):
            build("ordinal", column="c", classes=("a",))


class TestPipe:
    def test_findings_of_nih(self):
        read = build("pipe", column="Finding Labels")
        found = [read.parse([cell]) for cell in ("Mass|Edema", "No Finding", "Mass")]
        classes = read.name_classes(found)
        assert classes == ("Edema", "Mass")
        assert [read.encode(one, classes) for one in found] == [(1, 1), (0, 0), (0, 1)]

    def test_rows_of_one_image_are_united(self):
        read = build("pipe", column="x")
        assert read.merge([frozenset("a"), frozenset(), frozenset("ab")]) == {"a", "b"}

    @pytest.mark.parametrize(
        ("cell", "said"),
        [
            ("", "an empty finding"),
            ("Mass|", "an empty finding"),
            ("Mass|Mass", "stands twice"),
            ("Mass|No Finding", "'No Finding' beside a finding"),
            ("Cyst", "'Cyst' is not among"),
        ],
    )
    def test_refusals(self, cell, said):
        with pytest.raises(ValueError, match=said):
            build("pipe", column="x", classes=("Mass",)).parse([cell])


class TestOneHot:
    def test_numbers_and_what_spreadsheets_make_of_them(self):
        read = build("one_hot", columns=("a", "b"))
        assert read.parse(["1.0", "0"]) == (1, 0)
        assert read.name_classes([]) == ("a", "b")
        assert read.merge([(0, 1), (0, 0)]) == (0, 1)

    @pytest.mark.parametrize("cell", ["", "2", "-1", "yes", " 1", "٣"])
    def test_anything_else_is_refused_with_its_column(self, cell):
        with pytest.raises(ValueError, match="neither 0 nor 1: b "):
            build("one_hot", columns=("a", "b")).parse(["1", cell])


class TestChexpert:
    @pytest.mark.parametrize(
        ("uncertain", "value"), [("mask", MASKED), ("positive", 1), ("negative", 0)]
    )
    @pytest.mark.parametrize("cell", ["-1", "-1.0"])
    def test_uncertain_means_what_the_configuration_says(self, uncertain, value, cell):
        assert chexpert(uncertain).parse([cell, "1"]) == (value, 1)

    @pytest.mark.parametrize(("missing", "value"), [("mask", MASKED), ("negative", 0)])
    def test_missing_means_what_the_configuration_says(self, missing, value):
        assert chexpert(missing=missing).parse(["0.0", ""]) == (0, value)

    def test_both_can_be_refused_and_are_told_together(self):
        with pytest.raises(ValueError, match=r"Edema is uncertain.*Mass is blank"):
            chexpert("refuse", "refuse").parse(["-1", ""])

    def test_other_words_are_refused(self):
        with pytest.raises(ValueError, match="Mass is '2'"):
            chexpert().parse(["1", "2"])

    def test_there_is_no_default(self):
        for given_one in ({"uncertain": "mask"}, {"missing": "mask"}):
            with pytest.raises(pydantic.ValidationError, match="Field required"):
                build("chexpert", columns=("a",), **given_one)

    def test_rows_that_differ_are_refused(self):
        assert chexpert().merge([(1, MASKED), (1, MASKED)]) == (1, MASKED)
        with pytest.raises(ValueError, match="rows of one image"):
            chexpert().merge([(1, 0), (1, MASKED)])


class TestRegression:
    @given(st.floats(width=32, allow_nan=False, allow_infinity=False))
    def test_every_float32_is_read_back(self, value):
        assert build("regression", column="x").parse([repr(value)]) == value

    @given(st.decimals(-(10**6), 10**6, places=4))
    def test_a_decimal_becomes_the_nearest_float32(self, value):
        found = build("regression", column="x").parse([f"{value:f}"])
        assert found == float(np.float32(float(value)))

    @pytest.mark.parametrize(
        "cell", ["", "nan", "inf", "-Infinity", "1_0", "1,5", " 1", "0x1", "٣", "1e", "1" * 65]
    )
    def test_what_is_no_decimal_is_refused(self, cell):
        with pytest.raises(ValueError, match="no decimal number"):
            build("regression", column="x").parse([cell])

    @pytest.mark.parametrize("cell", ["1e39", "-1e999"])
    def test_what_float32_does_not_hold_is_refused(self, cell):
        with pytest.raises(ValueError, match="beyond float32"):
            build("regression", column="x").parse([cell])

    def test_rows_must_agree(self):
        read = build("regression", column="x")
        assert read.merge([1.5, 1.5]) == 1.5
        with pytest.raises(ValueError, match=r"1\.5 and 2\.0"):
            read.merge([1.5, 2.0])
        assert math.isfinite(read.encode(1.5, ("x",))[0])
