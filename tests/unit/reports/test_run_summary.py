# SPDX-License-Identifier: Apache-2.0
"""run_summary.md tells a person the essentials and what to beware of.

Not tested here: how it looks in a Markdown viewer.
"""

import dataclasses

from tiny_agent_trainer.reports.cautions import cautions
from tiny_agent_trainer.reports.run_summary import encode_run_summary


def summary(report_of, training_of, **changes):
    test = report_of("test", **changes)
    return encode_run_summary(report_of("val"), test, training_of()).decode()


class TestSummary:
    """Values stand beside the counts they come from."""

    def test_values_and_counts(self, report_of, training_of):
        text = summary(report_of, training_of)
        assert "| Accuracy | 0.904 | 141 / 156 | 0.904 | 141 / 156 |" in text
        assert "AUROC **0.750**" in text
        assert "| pneumonia | 5 | 101 |" in text
        assert "sha256:experiment-v1:" in text

    def test_names_the_positive_class(self, report_of, training_of):
        assert "The positive class is pneumonia, the last one" in summary(report_of, training_of)

    def test_fits_a_screen(self, report_of, training_of):
        assert len(summary(report_of, training_of).splitlines()) <= 66

    def test_escapes_markdown(self, report_of, training_of):
        text = summary(report_of, training_of, names=("a|b", "<b>_x_"))
        assert r"a\|b" in text
        assert r"\<b\>\_x\_" in text
        assert "<b>" not in text

    def test_tables_keep_their_columns(self, report_of, training_of):
        text = summary(report_of, training_of, names=("a|b", "c"))
        for block in text.split("\n\n"):
            if block.startswith("|"):
                widths = {line.replace(r"\|", "").count("|") for line in block.splitlines()}
                assert len(widths) == 1, block


class TestCautions:
    """What a reader has to know before believing a figure."""

    def test_small_split(self, report_of, training_of):
        found = cautions(report_of("val"), report_of("test"), training_of())
        assert "The test split is small: n=156, one image is 0.6 points of accuracy." in found

    def test_large_split_has_no_such_caution(self, report_of, training_of):
        large = report_of("test", cells=((4000, 1000), (500, 10100)))
        assert not any("test split is small" in c for c in cautions(large, large, training_of()))

    def test_one_class_only(self, report_of, training_of):
        report = report_of("test", cells=((50, 0), (0, 0)))
        found = " ".join(cautions(report_of("val"), report, training_of()))
        assert "The test split has no image of pneumonia." in found
        assert "Every image of the test split is normal: nothing to rank." in found
        assert "Undefined on the test split: AUROC" in found

    def test_worse_than_the_best_guess(self, report_of, training_of):
        report = report_of("test", cells=((0, 50), (50, 200)))
        found = " ".join(cautions(report_of("val"), report, training_of()))
        assert "not above that of always answering pneumonia (83.3 %)" in found

    def test_a_class_that_is_never_answered(self, report_of, training_of):
        report = report_of("test", cells=((0, 50), (0, 200)))
        found = " ".join(cautions(report_of("val"), report, training_of()))
        assert "the model never answers normal" in found

    def test_several_images_per_patient(self, report_of, training_of):
        report = dataclasses.replace(report_of("test"), num_patients=40)
        found = " ".join(cautions(report_of("val"), report, training_of()))
        assert "come from 40 patients" in found

    def test_best_epoch_was_the_last(self, report_of, training_of):
        found = " ".join(cautions(report_of("val"), report_of("test"), training_of(best_epoch=3)))
        assert "The kept epoch (3) is the last one" in found
