# SPDX-License-Identifier: Apache-2.0
"""Metrics of estimates, of grades, and of labels that are not all known, against peers and counts.

Not tested here: metrics of classes (test_evaluate.py, tests/reference).
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peers

from tiny_agent_trainer.validator import evaluate, ordinal, predictions

seeds = st.integers(0, 2**32)
values = st.lists(
    st.tuples(st.floats(-1e5, 1e5, width=32), st.floats(-1e5, 1e5, width=32)),
    min_size=2,
    max_size=40,
)


def said(labels, probabilities, classes, task, losses=None):
    count = len(labels)
    return predictions.Predictions(
        samples=np.arange(count),
        patients=np.arange(count),
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        losses=np.ones(count, np.float32) if losses is None else losses,
        classes=classes,
        task=task,
    )


def numbers(pairs):
    truth, estimates = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    return said(truth, estimates[:, None], ("age",), "regression")


class TestNumbers:
    @given(values)
    def test_errors_and_r2_are_those_of_scikit_learn(self, pairs):
        found = numbers(pairs)
        report = evaluate.evaluate(found, "test")
        truth, estimates = found.labels.astype(float), found.probabilities[:, 0].astype(float)
        mae = peers.mean_absolute_error(truth, estimates)
        assert report.value("mae") == pytest.approx(mae, rel=1e-12, abs=1e-40)
        rmse = peers.root_mean_squared_error(truth, estimates)
        assert report.value("rmse") == pytest.approx(rmse, rel=1e-12, abs=1e-40)
        if np.ptp(truth) > 1:
            expected = peers.r2_score(truth, estimates)
            assert report.value("r2") == pytest.approx(expected, rel=1e-6, abs=1e-6)
        if np.ptp(truth) > 1 and np.ptp(estimates) > 1:
            expected = np.corrcoef(truth, estimates)[0, 1]
            assert report.value("pearson_r") == pytest.approx(expected, abs=1e-7)

    @given(values, st.randoms(use_true_random=False))
    def test_the_order_of_samples_changes_no_bit(self, pairs, dice):
        one, order = numbers(pairs), list(range(len(pairs)))
        dice.shuffle(order)
        other = dataclasses.replace(
            one,
            samples=one.samples[order],
            labels=one.labels[order],
            probabilities=one.probabilities[order],
        )
        assert evaluate.evaluate(other, "test") == evaluate.evaluate(one, "test")

    def test_known_values(self):
        report = evaluate.evaluate(numbers([(1, 2), (2, 2), (3, 2), (4, 6)]), "test")
        assert report.value("mae") == 1.0
        assert report.value("rmse") == 1.5**0.5
        assert report.value("r2") == pytest.approx(1 - 6 / 5)
        assert report.results == ()
        assert report.confusion is None

    def test_at_most_256_samples_are_drawn_the_first_by_ordinal(self):
        found = numbers([(i, i + 0.5) for i in range(300)])
        report = evaluate.evaluate(
            dataclasses.replace(found, samples=np.arange(300)[::-1].copy()), "test"
        )
        assert report.estimates == tuple((float(i), i + 0.5) for i in range(299, 43, -1))

    def test_a_perfect_estimate_and_its_opposite(self):
        assert evaluate.evaluate(numbers([(1, 1), (5, 5)]), "test").value("pearson_r") == 1.0
        assert evaluate.evaluate(numbers([(1, -1), (5, -5)]), "test").value("pearson_r") == -1.0

    def test_equal_values_leave_r2_and_r_undefined_with_the_reason(self):
        report = evaluate.evaluate(numbers([(1, 2), (1, 3)]), "test")
        assert report.value("r2") is None
        assert report.find("r2").undefined_because == "r2: all true values are equal"
        assert "all estimates" in report.find("pearson_r").undefined_because
        assert report.value("mae") == 1.5

    @pytest.mark.parametrize("smallest", [1e-45, 3e38])
    def test_the_ends_of_float32_are_exact(self, smallest):
        report = evaluate.evaluate(numbers([(0, smallest), (smallest, 0)]), "test")
        assert report.value("mae") == float(np.float32(smallest))
        assert report.value("rmse") == pytest.approx(float(np.float32(smallest)), rel=1e-15)

    def test_the_csv_holds_truth_and_estimate(self):
        text = predictions.encode_csv(numbers([(1.5, 0.1), (-2, 1e-45)])).decode()
        assert text == "sample,patient,label,predicted\n0,0,1.5,0.1\n1,1,-2,1e-45\n"

    def test_what_does_not_fit(self):
        sound = numbers([(1, 2), (3, 4)])
        with pytest.raises(ValueError, match="finite"):
            dataclasses.replace(sound, labels=np.array([np.nan, 1], np.float32))
        with pytest.raises(ValueError, match="name of the target"):
            dataclasses.replace(
                sound, classes=("a", "b"), probabilities=np.zeros((2, 2), np.float32)
            )


class TestGrades:
    @given(seeds, st.integers(2, 5))
    def test_kappa_is_that_of_scikit_learn(self, seed, grades):
        generator = np.random.default_rng(seed)
        truth = generator.integers(0, grades, 30)
        called = np.clip(truth + generator.integers(-1, 2, 30), 0, grades - 1)
        names = tuple("abcde"[:grades])
        report = evaluate.evaluate(said(truth, np.eye(grades)[called], names, "ordinal"), "test")
        if len({*truth, *called}) > 1:
            expected = peers.cohen_kappa_score(
                truth, called, weights="quadratic", labels=range(grades)
            )
            assert report.value("quadratic_weighted_kappa") == pytest.approx(expected, abs=1e-12)
        assert report.value("rank_mae") == pytest.approx(np.abs(truth - called).mean())
        assert report.value("accuracy") == pytest.approx((truth == called).mean())

    def test_known_values(self):
        kappa = ordinal.quadratic_weighted_kappa([[2, 0, 0], [0, 2, 0], [0, 0, 2]])
        assert kappa.value == 1.0
        assert ordinal.quadratic_weighted_kappa([[0, 0, 1], [0, 0, 0], [1, 0, 0]]).value == -1.0
        assert ordinal.rank_mae([[0, 1, 1], [0, 0, 0], [0, 0, 2]]).numerator == 3

    def test_one_grade_only_is_undefined_with_the_reason(self):
        kappa = ordinal.quadratic_weighted_kappa([[3, 0], [0, 0]])
        assert kappa.value is None
        assert "one grade" in kappa.undefined_because


class TestUnknownLabels:
    @given(seeds)
    def test_a_class_is_measured_on_its_known_labels_alone(self, seed):
        generator = np.random.default_rng(seed)
        labels = generator.integers(-1, 2, (30, 2))
        chances = (generator.integers(0, 9, (30, 2)) / 8).astype(np.float32)
        if (labels == -1).all():
            return
        report = evaluate.evaluate(said(labels, chances, ("a", "b"), "multilabel"), "test")
        for column, result in enumerate(report.results):
            known = labels[:, column] >= 0
            truth, scores = labels[known, column], chances[known, column]
            assert result.num_samples == known.sum()
            assert result.true_positives == ((truth == 1) & (scores > 0.5)).sum()
            if len(set(truth)) == 2:
                assert result.auroc.value == pytest.approx(peers.roc_auc_score(truth, scores))
                expected = peers.average_precision_score(truth, scores)
                assert result.average_precision.value == pytest.approx(expected)
        right = ((chances > 0.5) == (labels == 1))[labels >= 0]
        assert report.value("accuracy") == pytest.approx(right.mean())

    @given(seeds)
    def test_what_a_network_says_of_an_unknown_label_has_no_influence(self, seed):
        generator = np.random.default_rng(seed)
        labels = generator.integers(-1, 2, (20, 2))
        labels[0] = (1, 0)
        chances = generator.random((20, 2)).astype(np.float32)
        other = np.where(labels == -1, 1 - chances, chances).astype(np.float32)
        reports = [
            evaluate.evaluate(said(labels, given_ones, ("a", "b"), "multilabel"), "test")
            for given_ones in (chances, other)
        ]
        assert reports[0] == reports[1]

    def test_a_class_of_which_nothing_is_known_is_undefined(self):
        labels = np.array([[1, -1], [0, -1]])
        chances = np.array([[0.9, 0.1], [0.2, 0.3]])
        report = evaluate.evaluate(said(labels, chances, ("a", "b"), "multilabel"), "test")
        assert report.num_unknown == (0, 2)
        assert report.results[1].num_samples == 0
        assert report.results[1].auroc.undefined_because is not None
        assert report.results[1].curve.points == ()
        assert report.value("auroc") is None
        assert report.value("accuracy") == 1.0

    def test_the_loss_is_the_mean_over_known_labels(self):
        labels = np.array([[1, -1], [0, 1], [-1, -1]])
        losses = np.array([0.5, 1.0, 0.0], np.float32)
        report = evaluate.evaluate(
            said(labels, np.full((3, 2), 0.5), ("a", "b"), "multilabel", losses), "test"
        )
        assert report.loss == 1.0

    def test_an_unknown_label_is_blank_in_the_csv(self):
        labels = np.array([[1, -1]])
        text = predictions.encode_csv(
            said(labels, np.array([[0.75, 0.25]]), ("a", "b"), "multilabel")
        ).decode()
        assert text.splitlines()[1] == "0,0,1,,1,0,0.75,0.25"
