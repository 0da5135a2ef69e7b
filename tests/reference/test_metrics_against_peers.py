# SPDX-License-Identifier: Apache-2.0
"""Our integers against scikit-learn, torchmetrics and MedMNIST's rules, on random data with ties.

Not tested here: the published MedMNIST figures, which need trained networks.
"""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peers
from torchmetrics import functional as torchmetrics

from tiny_agent_trainer.validator.evaluate import evaluate
from tiny_agent_trainer.validator.predictions import Predictions

CLOSE = 1e-12


def softmax_like(generator, count, width, levels):
    """Rows of positive multiples of 1/levels that add to 1 exactly: many ties, no rounding."""
    cuts = np.sort(generator.integers(0, levels + 1, (count, width - 1)), axis=1)
    parts = np.diff(cuts, axis=1, prepend=0, append=levels)
    return (parts / levels).astype(np.float32)


def multiclass(seed, count, width, levels):
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(width), generator.integers(0, width, count - width)])
    return build(labels, softmax_like(generator, count, width, levels), "multiclass", generator)


def multilabel(seed, count, width, levels):
    generator = np.random.default_rng(seed)
    labels = (generator.random((count, width)) < 0.3).astype(np.int64)
    labels[0], labels[1] = 0, 1
    chances = (generator.integers(0, levels + 1, (count, width)) / levels).astype(np.float32)
    return build(labels, chances, "multilabel", generator)


def build(labels, probabilities, task, generator):
    count, width = probabilities.shape
    return Predictions(
        samples=np.arange(count),
        patients=np.arange(count),
        labels=labels.astype(np.int64),
        probabilities=probabilities,
        losses=generator.random(count).astype(np.float32),
        classes=tuple(f"class {index}" for index in range(width)),
        task=task,
    )


shapes = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(8, 60), st.integers(2, 5), st.sampled_from([2, 8, 1024])
)
several = settings(max_examples=60, deadline=None)


def medmnist_auc(labels, scores, task):
    """`getAUC` of medmnist/evaluator.py, rule by rule."""
    if task == "multilabel":
        columns = [peers.roc_auc_score(labels[:, i], scores[:, i]) for i in range(labels.shape[1])]
        return float(np.mean(columns))
    if scores.shape[1] == 2:
        return peers.roc_auc_score(labels, scores[:, -1])
    return float(
        np.mean([peers.roc_auc_score(labels == i, scores[:, i]) for i in range(scores.shape[1])])
    )


def medmnist_acc(labels, scores, task):
    """`getACC` of medmnist/evaluator.py, rule by rule."""
    if task == "multilabel":
        columns = range(labels.shape[1])
        return float(
            np.mean([peers.accuracy_score(labels[:, i], scores[:, i] > 0.5) for i in columns])
        )
    if scores.shape[1] == 2:
        return peers.accuracy_score(labels, scores[:, -1] > 0.5)
    return peers.accuracy_score(labels, np.argmax(scores, axis=-1))


class TestMedMNIST:
    """The headline AUROC and accuracy are those of MedMNIST's Evaluator."""

    @several
    @given(shapes, st.sampled_from([multiclass, multilabel]))
    def test_headline(self, shape, make):
        predictions = make(*shape)
        report = evaluate(predictions, "test")
        scores = predictions.probabilities.astype(np.float64)
        expected_auc = medmnist_auc(predictions.labels, scores, predictions.task)
        expected_acc = medmnist_acc(predictions.labels, scores, predictions.task)
        assert report.value("auroc") == pytest.approx(expected_auc, abs=CLOSE)
        assert report.value("accuracy") == pytest.approx(expected_acc, abs=CLOSE)


class TestScikitLearn:
    """Every other figure, within 1e-12."""

    @several
    @given(shapes)
    def test_multiclass_headline(self, shape):
        predictions = multiclass(*shape)
        report = evaluate(predictions, "test")
        labels, called = predictions.labels, predictions.called_class
        expected = {
            "balanced_accuracy": peers.balanced_accuracy_score(labels, called),
            "macro_f1": peers.f1_score(labels, called, average="macro"),
        }
        for name, value in expected.items():
            assert report.value(name) == pytest.approx(value, abs=CLOSE), name
        width = predictions.probabilities.shape[1]
        matrix = peers.confusion_matrix(labels, called, labels=range(width))
        assert report.confusion == tuple(map(tuple, matrix.tolist()))

    @several
    @given(shapes, st.sampled_from([multiclass, multilabel]))
    def test_per_class(self, shape, make):
        predictions = make(*shape)
        report = evaluate(predictions, "test")
        for column, result in enumerate(report.results):
            truth = predictions.positive[:, column]
            called = predictions.called[:, column]
            scores = predictions.probabilities[:, column].astype(np.float64)
            expected = {
                "auroc": peers.roc_auc_score(truth, scores),
                "average_precision": peers.average_precision_score(truth, scores),
                "sensitivity": peers.recall_score(truth, called),
                "specificity": peers.recall_score(~truth, ~called),
                "ppv": peers.precision_score(truth, called, zero_division=np.nan),
                "npv": peers.precision_score(~truth, ~called, zero_division=np.nan),
                "f1": peers.f1_score(truth, called, zero_division=np.nan),
                "prevalence": truth.mean(),
            }
            for name, value in expected.items():
                ours = getattr(result, name).value
                if ours is None:
                    assert np.isnan(value), name
                else:
                    assert ours == pytest.approx(value, abs=CLOSE), name

    @several
    @given(shapes)
    def test_curves(self, shape):
        predictions = multiclass(*shape)
        report = evaluate(predictions, "test")
        for column, result in enumerate(report.results):
            truth, scores = predictions.positive[:, column], predictions.probabilities[:, column]
            fpr, tpr, thresholds = peers.roc_curve(truth, scores, drop_intermediate=False)
            curve = result.curve
            assert [point.threshold for point in curve.points] == thresholds[1:].tolist()
            found_tpr = [point.true_positives / curve.num_positives for point in curve.points]
            found_fpr = [point.false_positives / curve.num_negatives for point in curve.points]
            assert found_tpr == pytest.approx(tpr[1:], abs=CLOSE)
            assert found_fpr == pytest.approx(fpr[1:], abs=CLOSE)

    def test_absent_classes_are_where_we_differ(self):
        """scikit-learn leaves the class out; we say that the metric is undefined."""
        generator = np.random.default_rng(1)
        labels = np.array([0, 1, 0, 1])
        predictions = build(labels, softmax_like(generator, 4, 3, 8), "multiclass", generator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = peers.balanced_accuracy_score(labels, predictions.called_class)
        assert peer >= 0
        assert evaluate(predictions, "test").value("balanced_accuracy") is None


class TestTorchmetrics:
    """A second opinion; torchmetrics computes in float32."""

    @settings(max_examples=25, deadline=None)
    @given(shapes)
    def test_multiclass(self, shape):
        predictions = multiclass(*shape)
        report = evaluate(predictions, "test")
        chances = torch.from_numpy(predictions.probabilities)
        labels = torch.from_numpy(predictions.labels)
        width = chances.shape[1]
        auroc = torchmetrics.auroc(
            chances, labels, task="multiclass", num_classes=width, average=None
        )
        precision = torchmetrics.average_precision(
            chances, labels, task="multiclass", num_classes=width, average=None
        )
        ours = [result.auroc.value for result in report.results]
        assert ours == pytest.approx(auroc.tolist(), abs=2e-6)
        ours = [result.average_precision.value for result in report.results]
        assert ours == pytest.approx(precision.tolist(), abs=2e-6)
        called = torch.from_numpy(predictions.called_class)
        matrix = torchmetrics.confusion_matrix(called, labels, task="multiclass", num_classes=width)
        assert report.confusion == tuple(map(tuple, matrix.tolist()))

    @settings(max_examples=25, deadline=None)
    @given(shapes)
    def test_multilabel(self, shape):
        predictions = multilabel(*shape)
        report = evaluate(predictions, "test")
        auroc = torchmetrics.auroc(
            torch.from_numpy(predictions.probabilities),
            torch.from_numpy(predictions.labels),
            task="multilabel",
            num_labels=predictions.labels.shape[1],
        )
        assert report.value("auroc") == pytest.approx(float(auroc), abs=2e-6)


def test_a_wrong_tie_rule_would_be_noticed():
    """Negative control: breaking ties by position changes the AUROC by far more than 1e-12."""
    predictions = multiclass(3, 60, 2, 8)
    scores = predictions.probabilities[:, 1].astype(np.float64)
    broken = peers.roc_auc_score(predictions.labels, scores + np.arange(60) * 1e-9)
    assert abs(evaluate(predictions, "test").value("auroc") - broken) > 1e-6
