# SPDX-License-Identifier: Apache-2.0
"""Predictions: what a network said about every sample of one split, in any order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float32, Int64

from tiny_agent_trainer import errors
from tiny_agent_trainer.reports import predictions_csv
from tiny_agent_trainer.reports.validation_report import Task
from tiny_agent_trainer.tokenizer.samples import MASKED

MAX_SAMPLES = 2**31
"""Beyond it the count of pairs, 2 * positives * negatives, may leave int64."""

_HALF = np.float32(0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a network said about n samples and K classes or labels.

    Args:
        samples: Ordinals, each once.
        patients: Ordinals; a patient may have many samples.
        labels: Multiclass and ordinal: the true class of each sample, from 0. Multilabel: (n, K),
            0, 1 or `MASKED`. Regression: float32, the true values.
        probabilities: From 0 to 1; rows of classes and grades add up to about 1, those of labels
            stand for themselves. Regression: (n, 1), the estimates, any finite numbers.
        losses: One per sample.
        classes: Names, in the order of the columns; the target's for regression.
        task: How `labels` is to be read.

    Raises:
        DatasetError: There is no sample.
        NotFiniteError: A probability or a loss is NaN or infinite.
        ValueError: Types, shapes or values that do not fit; all faults at once.
    """

    samples: Int64[np.ndarray, " n"]
    patients: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"] | Int64[np.ndarray, "n K"] | Float32[np.ndarray, " n"]
    probabilities: Float32[np.ndarray, "n K"]
    losses: Float32[np.ndarray, " n"]
    classes: tuple[str, ...]
    task: Task

    def __post_init__(self) -> None:
        faults = list(_faults_of_form(self)) or list(_faults_of_values(self))
        if faults:
            raise ValueError("the predictions do not fit together: " + "; ".join(faults))
        _require_samples(self.samples)
        _require_finite("losses", self.samples, self.losses[:, np.newaxis])
        _require_finite("probabilities", self.samples, self.probabilities)
        if self.task == "regression":
            return
        if not ((self.probabilities >= 0) & (self.probabilities <= 1)).all():
            raise ValueError("a probability is not between 0 and 1: were these logits?")

    @property
    def num_samples(self) -> int:
        """The n of the shapes."""
        return len(self.samples)

    @property
    def known(self) -> Bool[np.ndarray, "n K"]:
        """Whether it is known if a sample is of a class."""
        if self.task == "multilabel":
            return np.asarray(self.labels != MASKED, dtype=np.bool_)
        return np.ones((self.num_samples, len(self.classes)), np.bool_)

    @property
    def positive(self) -> Bool[np.ndarray, "n K"]:
        """Whether a sample is of a class."""
        if self.task == "multilabel":
            return np.asarray(self.labels == 1, dtype=np.bool_)
        return _one_hot(self.labels, len(self.classes))

    @property
    def called(self) -> Bool[np.ndarray, "n K"]:
        """Whether the network calls a sample by a class.

        Multiclass and ordinal: the class of the largest probability, ties to the lowest index.
        Multilabel:
        every label whose probability is above, not at, 0.5.

        Source:
            MedMNIST's `Evaluator.getACC`. It asks `p[-1] > 0.5` of two classes; that differs only
            when a softmax, rounded to float32, gives the last class exactly 0.5 and the other less.
        """
        if self.task == "multilabel":
            return np.asarray(self.probabilities > _HALF, dtype=np.bool_)
        return _one_hot(self.called_class, len(self.classes))

    @property
    def called_class(self) -> Int64[np.ndarray, " n"]:
        """Multiclass and ordinal: the index of the class that is called."""
        return np.asarray(np.argmax(self.probabilities, axis=1), dtype=np.int64)


def _one_hot(indices: Int64[np.ndarray, " n"], width: int) -> Bool[np.ndarray, "n K"]:
    return np.asarray(indices[:, np.newaxis] == np.arange(width), dtype=np.bool_)


def encode_csv(predictions: Predictions) -> bytes:
    """The lines of `predictions_<split>.csv`; see `reports.predictions_csv`."""
    probabilities = predictions.probabilities.tolist()
    if predictions.task == "regression":
        called, probabilities = [row[0] for row in probabilities], [[]] * len(probabilities)
    elif predictions.task == "multilabel":
        called = predictions.called.astype(np.int64).tolist()
    else:
        called = predictions.called_class.tolist()
    return predictions_csv.encode_predictions(
        samples=predictions.samples.tolist(),
        patients=predictions.patients.tolist(),
        labels=predictions.labels.tolist(),
        called=called,
        probabilities=probabilities,
        classes=predictions.classes,
        task=predictions.task,
    )


def _faults_of_form(predictions: Predictions) -> Iterator[str]:
    count, width = len(predictions.samples), len(predictions.classes)
    label_shape = (count, width) if predictions.task == "multilabel" else (count,)
    label_type = np.float32 if predictions.task == "regression" else np.int64
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "samples": (np.int64, (count,)),
        "patients": (np.int64, (count,)),
        "labels": (label_type, label_shape),
        "probabilities": (np.float32, (count, width)),
        "losses": (np.float32, (count,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(predictions, name)
        if array.dtype != dtype or array.shape != shape:
            wanted = f"{np.dtype(dtype)} {shape}"
            yield f"{name}: expected {wanted}, found {array.dtype} {array.shape}"
    if predictions.task not in get_args(Task):
        yield f"task: expected one of {get_args(Task)}, found {predictions.task!r}"
    if predictions.task == "regression" and width != 1:
        yield f"classes: expected the name of the target, found {predictions.classes!r}"
    if width < 1 or len(set(predictions.classes)) != width:
        yield f"classes: expected one or more different names, found {predictions.classes!r}"


def _faults_of_values(predictions: Predictions) -> Iterator[str]:
    if len(np.unique(predictions.samples)) != len(predictions.samples):
        yield "samples: an ordinal stands twice"
    if len(predictions.samples) > MAX_SAMPLES:
        yield f"samples: expected at most {MAX_SAMPLES}, found {len(predictions.samples)}"
    if predictions.task == "regression":
        if not np.isfinite(predictions.labels).all():
            yield "labels: expected finite numbers, found others"
        return
    is_multilabel = predictions.task == "multilabel"
    low, limit = (MASKED, 2) if is_multilabel else (0, len(predictions.classes))
    if ((predictions.labels < low) | (predictions.labels >= limit)).any():
        yield f"labels: expected {low} to {limit - 1}, found others"


def _require_samples(samples: Int64[np.ndarray, " n"]) -> None:
    if len(samples) == 0:
        raise errors.DatasetError(
            where="the predictions of a split",
            expected="at least one sample",
            found="none",
            remedy="give the split samples, or leave it out",
        )


def _require_finite(
    what: str, samples: Int64[np.ndarray, " n"], values: Float32[np.ndarray, "n K"]
) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = min(bad.tolist(), key=lambda place: (samples[place[0]], place[1]))
        raise errors.NotFiniteError(
            where=f"{what}, sample {samples[row]}, column {column}",
            expected="a finite number",
            found=str(values[row, column]),
            remedy="lower the learning rate, or look for broken input values",
        )
