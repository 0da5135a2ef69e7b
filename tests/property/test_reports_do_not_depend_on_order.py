# SPDX-License-Identifier: Apache-2.0
"""Permuting the samples of a split changes no byte of any report.

Not tested here: the order of samples inside a network's batch (tests of exact arithmetic).
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer import canonical
from tiny_agent_trainer.reports.metrics_json import encode_metrics
from tiny_agent_trainer.reports.report_html import encode_report_html
from tiny_agent_trainer.reports.run_summary import encode_run_summary
from tiny_agent_trainer.reports.training_summary import EpochHistory, TrainingSummary
from tiny_agent_trainer.validator.evaluate import evaluate
from tiny_agent_trainer.validator.predictions import Predictions, encode_csv

TRAINING = TrainingSummary(
    architecture="tiny",
    num_parameters=10,
    num_samples={"train": 1, "val": 1, "test": 1},
    num_patients={"train": 1, "val": 1, "test": 1},
    classes=("a", "b", "c"),
    epochs_run=1,
    steps_run=1,
    best_epoch=1,
    best_metric="accuracy",
    best_value=0.5,
    stopped_early=False,
    history=(
        EpochHistory(
            epoch=1, train_loss=1.0, val_loss=1.5, val_metrics={"accuracy": 0.5}, learning_rate=0.1
        ),
    ),
    experiment_digest="sha256:experiment-v1:" + "0" * 64,
    selection_rule="The only epoch.",
)


@st.composite
def predictions(draw):
    """Few distinct scores, so that ties, absent classes and both zeros occur."""
    count = draw(st.integers(1, 30))
    multilabel = draw(st.booleans())
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = np.array([-0.0, 0.0, 0.25, 0.5, 0.75, 1.0], dtype=np.float32)
    return Predictions(
        samples=generator.permutation(count),
        patients=generator.integers(0, 5, count),
        labels=generator.integers(0, 2 if multilabel else 3, (count, 3) if multilabel else count),
        probabilities=generator.choice(scores, (count, 3)),
        losses=(generator.random(count) * 10.0 ** generator.integers(-8, 8, count)).astype("f4"),
        classes=("a", "b", "c"),
        task="multilabel" if multilabel else "multiclass",
    )


def permuted(original, order):
    return Predictions(
        samples=original.samples[order],
        patients=original.patients[order],
        labels=original.labels[order],
        probabilities=original.probabilities[order],
        losses=original.losses[order],
        classes=original.classes,
        task=original.task,
    )


def written(original):
    val, test = evaluate(original, "val"), evaluate(original, "test")
    return (
        encode_metrics(val, test, TRAINING),
        encode_run_summary(val, test, TRAINING),
        encode_report_html(val, test, TRAINING),
        encode_csv(original),
    )


@settings(max_examples=40, deadline=None)
@given(predictions(), st.randoms())
def test_order_changes_no_byte(original, random):
    order = list(range(original.num_samples))
    random.shuffle(order)
    assert written(permuted(original, order)) == written(original)


@settings(max_examples=40, deadline=None)
@given(predictions())
def test_metrics_are_canonical_for_any_predictions(original):
    data = written(original)[0]
    assert canonical.encode_line(canonical.decode_canonical(data)) == data


def test_another_label_changes_the_bytes():
    """Negative control."""
    generator = np.random.default_rng(0)
    values = {
        "samples": np.arange(4),
        "patients": np.arange(4),
        "probabilities": generator.random((4, 3)).astype(np.float32),
        "losses": np.ones(4, dtype=np.float32),
        "classes": ("a", "b", "c"),
        "task": "multiclass",
    }
    first = Predictions(labels=np.array([0, 1, 2, 0]), **values)
    second = Predictions(labels=np.array([0, 1, 2, 1]), **values)
    assert all(a != b for a, b in zip(written(first), written(second), strict=True))
