# SPDX-License-Identifier: Apache-2.0
"""Counting by hand, against brute force over pairs, and splits in which a class is absent.

Not tested here: agreement with other libraries (tests/reference/test_metrics_against_peers.py).
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer.validator import ranking
from tiny_agent_trainer.validator.evaluate import evaluate
from tiny_agent_trainer.validator.predictions import Predictions

scored = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


def two_classes(labels, last, **changes):
    last = np.array(last, dtype=np.float32)
    count = len(labels)
    values = {
        "samples": np.arange(count),
        "patients": np.arange(count) // 2,
        "labels": np.array(labels, dtype=np.int64),
        "probabilities": np.stack([1 - last, last], axis=1),
        "losses": np.full(count, 0.1, dtype=np.float32),
        "classes": ("healthy", "ill"),
        "task": "multiclass",
    }
    return Predictions(**{**values, **changes})


class TestByHand:
    """Five samples that one can count on one's fingers."""

    report = evaluate(two_classes([0, 0, 1, 1, 1], [0.125, 0.75, 0.75, 0.875, 0.25]), "val")

    def test_confusion(self):
        assert self.report.confusion == ((1, 1), (1, 2))

    def test_auroc_counts_pairs(self):
        """Concordant: 0.75>0.125, 0.875>both, 0.25>0.125; tied: 0.75=0.75; discordant: one."""
        metric = self.report.find("auroc")
        assert (metric.numerator, metric.denominator) == (2 * 4 + 1, 2 * 3 * 2)

    def test_average_precision(self):
        """0.875 at rank 1, 0.75 at rank 3 with two positives so far, 0.25 at rank 4 with three."""
        exact = (Fraction(1) + Fraction(2, 3) + Fraction(3, 4)) / 3
        metric = self.report.find("average_precision")
        gap = exact - Fraction(metric.numerator, metric.denominator)
        assert 0 <= gap < Fraction(1, 2**64)

    def test_headline(self):
        assert {metric.name: metric.value for metric in self.report.headline} == {
            "auroc": 0.75,
            "average_precision": float((Fraction(1) + Fraction(2, 3) + Fraction(3, 4)) / 3),
            "accuracy": 0.6,
            "balanced_accuracy": float((Fraction(1, 2) + Fraction(2, 3)) / 2),
            "macro_f1": float((Fraction(2, 4) + Fraction(4, 6)) / 2),
            "sensitivity": 2 / 3,
            "specificity": 0.5,
        }

    def test_patients_and_loss(self):
        assert self.report.num_patients == 3
        assert self.report.loss == pytest.approx(0.1, abs=1e-8)
        assert self.report.loss == float(np.float32(0.1))


class TestRanking:
    """Integers against brute force over all pairs."""

    @given(scored)
    def test_auroc(self, rows):
        scores = np.array([score for score, _ in rows], dtype=np.float32)
        positive = np.array([hit for _, hit in rows])
        found = ranking.auroc("a", ranking.rank(scores, positive))
        pairs = [(p, n) for p in scores[positive] for n in scores[~positive]]
        assert found.denominator == 2 * len(pairs)
        assert found.numerator == sum(2 * (p > n) + (p == n) for p, n in pairs)

    @given(scored)
    def test_average_precision_is_within_its_bound(self, rows):
        scores = np.array([score for score, _ in rows], dtype=np.float32)
        positive = np.array([hit for _, hit in rows])
        found = ranking.average_precision("a", ranking.rank(scores, positive))
        precisions = [
            Fraction(int((positive & (scores >= own)).sum()), int((scores >= own).sum()))
            for own in scores[positive]
        ]
        assert (found.denominator == 0) == (not precisions)
        if precisions:
            gap = sum(precisions) / len(precisions) - Fraction(found.numerator, found.denominator)
            assert 0 <= gap < Fraction(1, 2**64)

    def test_both_zeros_are_one_score(self):
        ranked = ranking.rank(np.array([-0.0, 0.0], dtype=np.float32), np.array([True, False]))
        assert ranked.true_positives.tolist() == [1]
        assert not np.signbit(ranked.thresholds).any()

    @pytest.mark.parametrize(("positives", "negatives"), [(1000, 1000), (3, 5000), (5000, 3)])
    def test_long_curves_are_thinned_but_exact(self, positives, negatives):
        generator = np.random.default_rng(positives)
        scores = generator.permutation(positives + negatives).astype(np.float32)
        positive = np.arange(positives + negatives) < positives
        curve = ranking.curve(ranking.rank(scores, positive))
        assert curve.num_thresholds == positives + negatives
        assert 2 <= len(curve.points) <= ranking.CURVE_POINTS_LIMIT
        last = curve.points[-1]
        assert (last.true_positives, last.false_positives) == (positives, negatives)
        for point in curve.points:
            assert point.true_positives == (scores[positive] >= point.threshold).sum()
            assert point.false_positives == (scores[~positive] >= point.threshold).sum()
        self.assert_no_gap(curve)

    @staticmethod
    def assert_no_gap(curve):
        travelled = [0.0] + [
            point.true_positives / curve.num_positives + point.false_positives / curve.num_negatives
            for point in curve.points
        ]
        step = 2 / ranking.CURVE_POINTS_LIMIT
        one_sample = max(1 / curve.num_positives, 1 / curve.num_negatives)
        assert max(np.diff(travelled)) <= step + one_sample + 1e-9

    def test_thresholds_fall(self):
        scores = np.array([0.25, 0.5, 0.125, 0.5], dtype=np.float32)
        ranked = ranking.rank(scores, np.array([True, False, True, True]))
        assert ranked.thresholds.tolist() == [0.5, 0.25, 0.125]


class TestAbsentClasses:
    """Undefined with a reason, never a crash, never left out."""

    def test_one_class_only(self):
        report = evaluate(two_classes([0, 0, 0], [0.25, 0.5, 0.75]), "val")
        assert report.value("auroc") is None
        assert "there are no pairs" in report.find("auroc").undefined_because
        assert report.value("balanced_accuracy") is None
        assert report.value("accuracy") == 2 / 3
        assert report.results[1].curve.points == ()

    def test_one_of_three_absent(self):
        report = evaluate(
            two_classes(
                [0, 1, 1],
                [0, 0, 0],
                classes=("a", "b", "c"),
                probabilities=np.full((3, 3), 0.25, dtype=np.float32),
            ),
            "test",
        )
        assert report.value("auroc") is None
        assert report.find("auroc").undefined_because.startswith("auroc[c]: ")
        assert report.results[0].auroc.value == 0.5

    def test_multilabel_without_any_finding(self):
        report = evaluate(
            two_classes([[0, 0], [0, 0]], [0.25, 0.75], task="multilabel"),
            "test",
        )
        assert report.confusion is None
        assert report.value("auroc") is None
        assert report.value("accuracy") == 0.5

    def test_a_single_sample(self):
        assert evaluate(two_classes([1], [0.75]), "val").value("accuracy") == 1.0


def test_loss_is_summed_exactly():
    """Negative control: adding from left to right gives another value."""
    losses = np.array([1e8, 1, 1, 1e-8] * 50, dtype=np.float32)
    report = evaluate(two_classes([0, 1] * 100, [0.5] * 200, losses=losses), "val")
    exact = sum(Fraction(float(loss)) for loss in losses)
    assert report.loss == float(exact) / 200
    assert float(np.cumsum(losses)[-1]) != float(exact)
