# SPDX-License-Identifier: Apache-2.0
"""Predictions refuse what does not fit, and decide by one written rule.

Not tested here: the network that makes them (run_validation).
"""

import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.validator.predictions import Predictions, encode_csv


def predictions(**changes):
    values = {
        "samples": np.array([5, 1, 3]),
        "patients": np.array([0, 0, 1]),
        "labels": np.array([0, 1, 1]),
        "probabilities": np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], dtype=np.float32),
        "losses": np.array([0.25, 0.5, 0.25], dtype=np.float32),
        "classes": ("a", "b"),
        "task": "multiclass",
    }
    return Predictions(**{**values, **changes})


class TestDecision:
    """Multiclass: the largest, ties to the first. Multilabel: above, not at, 0.5."""

    def test_a_tie_goes_to_the_first_class(self):
        assert predictions().called_class.tolist() == [0, 0, 1]

    def test_one_half_is_not_above_one_half(self):
        above = np.nextafter(np.float32(0.5), np.float32(1))
        found = predictions(
            task="multilabel",
            labels=np.array([[0, 1], [1, 1], [0, 0]]),
            probabilities=np.array([[0.5, above], [1, 0], [0, 0.5]], dtype=np.float32),
        )
        assert found.called.tolist() == [[False, True], [True, False], [False, False]]
        assert found.positive.tolist() == [[False, True], [True, True], [False, False]]


class TestRefusals:
    """Everything that does not fit is named."""

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"samples": np.array([1, 2])}, "samples: expected|labels: expected"),
            ({"samples": np.array([1, 1, 2])}, "stands twice"),
            ({"labels": np.array([0, 1, 2])}, "labels: expected 0 to 1"),
            ({"labels": np.array([0, -1, 1])}, "labels: expected 0 to 1"),
            ({"labels": np.array([0, 1, 1], dtype=np.int32)}, "int64"),
            ({"probabilities": np.zeros((3, 2))}, "float32"),
            ({"probabilities": np.full((3, 2), 2, dtype=np.float32)}, "logits"),
            ({"probabilities": np.full((3, 2), -0.5, dtype=np.float32)}, "logits"),
            ({"classes": ("a", "a")}, "classes"),
            ({"task": "survival"}, "task"),
            ({"task": "regression"}, "labels: expected float32"),
        ],
    )
    def test_what_does_not_fit(self, changes, word):
        with pytest.raises(ValueError, match=word):
            predictions(**changes)

    def test_all_faults_at_once(self):
        with pytest.raises(ValueError, match=r"labels: .*; losses: "):
            predictions(labels=np.zeros(3), losses=np.zeros(3))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite_names_the_sample(self, bad):
        losses = np.array([0.5, bad, 0.5], dtype=np.float32)
        with pytest.raises(errors.NotFiniteError, match="losses, sample 1, column 0"):
            predictions(losses=losses)
        chances = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, bad]], dtype=np.float32)
        with pytest.raises(errors.NotFiniteError, match="probabilities, sample 3, column 1"):
            predictions(probabilities=chances)

    def test_no_samples(self):
        none = np.zeros(0, dtype=np.int64)
        with pytest.raises(errors.DatasetError, match="at least one sample"):
            predictions(
                samples=none,
                patients=none,
                labels=none,
                probabilities=np.zeros((0, 2), dtype=np.float32),
                losses=np.zeros(0, dtype=np.float32),
            )


def test_csv_of_both_tasks():
    assert encode_csv(predictions()).decode().splitlines() == [
        "sample,patient,label,predicted,p_a,p_b",
        "1,0,b,a,0.5,0.5",
        "3,1,b,b,0.25,0.75",
        "5,0,a,a,0.75,0.25",
    ]
    labelled = predictions(task="multilabel", labels=np.array([[0, 1], [1, 1], [0, 0]]))
    assert encode_csv(labelled).decode().splitlines()[1] == "1,0,1,1,0,0,0.5,0.5"
