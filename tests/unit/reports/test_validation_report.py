# SPDX-License-Identifier: Apache-2.0
"""A report answers for its figures by name, and derives per-class figures from four counts.

Not tested here: how the counts arise (tests/unit/validator).
"""

import dataclasses

import pytest

from tiny_agent_trainer import errors


class TestClassResult:
    """Every figure of a class follows from TP, FP, FN and TN."""

    def test_counts_of_the_second_class(self, report_of):
        result = report_of("test").results[1]  # TP 101, FP 10, FN 5, TN 40
        found = {
            name: (getattr(result, name).numerator, getattr(result, name).denominator)
            for name in ("sensitivity", "specificity", "ppv", "npv", "f1", "prevalence")
        }
        assert found == {
            "sensitivity": (101, 106),
            "specificity": (40, 50),
            "ppv": (101, 111),
            "npv": (40, 45),
            "f1": (202, 217),
            "prevalence": (106, 156),
        }

    def test_undefined_ratios_name_the_class(self, report_of):
        result = report_of("test", cells=((50, 0), (0, 0))).results[1]
        assert result.sensitivity.undefined_because == (
            "sensitivity[pneumonia]: there are no samples of class pneumonia"
        )


class TestReport:
    """`metric` gives a float to compare epochs by, or says why there is none."""

    def test_by_name(self, report_of):
        report = report_of("val")
        assert report.metric("accuracy") == 141 / 156
        assert report.metric("loss") == 0.3125
        assert report.metric("auroc") == 0.75

    def test_unknown_name_lists_the_known(self, report_of):
        with pytest.raises(KeyError, match="macro_f1"):
            report_of("val").metric("dice")

    def test_undefined_metric_is_a_dataset_error(self, report_of):
        report = report_of("val", cells=((50, 0), (0, 0)))
        assert report.value("balanced_accuracy") is None
        with pytest.raises(errors.DatasetError, match="no samples of class pneumonia"):
            report.metric("balanced_accuracy")

    def test_positive_class_is_the_last_of_two_only(self, report_of):
        report = report_of("val")
        assert report.positive_class == "pneumonia"
        assert dataclasses.replace(report, classes=("a", "b", "c")).positive_class is None
        assert dataclasses.replace(report, task="multilabel").positive_class is None
