# SPDX-License-Identifier: Apache-2.0
"""predictions_<split>.csv: one line per sample, ordered by its ordinal.

Multiclass: `sample,patient,label,predicted,p_<class>...` with class names as label and predicted.
Ordinal data have the same form. Multilabel:
`sample,patient,label_<class>...,predicted_<class>...,p_<class>...` with 0 and 1, and nothing where
the label is unknown. Regression: `sample,patient,label,predicted` with the target and its estimate.
UTF-8, lines end in LF, fields are quoted as in RFC 4180 where they have to be.
"""

import csv
import io
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from tiny_agent_trainer.reports.validation_report import Task

_FLOAT32 = struct.Struct("<f")
_SMALLEST_NORMAL = 2.0**-126
_SAFE_DIGITS = 6
"""Every decimal of so many digits survives float32 (FLT_DIG), so no shorter one is missed."""
_MOST_DIGITS = 9
"""So many digits tell all float32 values apart."""


def encode_predictions(
    *,
    samples: Sequence[int],
    patients: Sequence[int],
    labels: Sequence[float] | Sequence[Sequence[int]],
    called: Sequence[float] | Sequence[Sequence[int]],
    probabilities: Sequence[Sequence[float]],
    classes: Sequence[str],
    task: Task,
) -> bytes:
    """Encode the predictions of a split.

    Args:
        samples: n ordinals, in any order.
        patients: n ordinals.
        labels: n class indices; for multilabel n rows of 0, 1 and -1 (unknown); for regression n
            float32 values.
        called: What the model says, in the form of `labels`.
        probabilities: n rows of float32 values, one per class; rows of none for regression.
        classes: Their names.
        task: Which of the two forms the file has.

    Raises:
        ValueError: Sequences of different lengths, or a probability that is no float32 value.

    Guarantees:
        Equal predictions in any order give equal bytes; each probability reads back to its bits.
    """
    header, line = _form(task, classes)
    rows = sorted(zip(samples, patients, labels, called, probabilities, strict=True))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    scored = () if task == "regression" else classes
    writer.writerow(["sample", "patient", *header, *(f"p_{name}" for name in scored)])
    for sample, patient, label, said, chances in rows:
        writer.writerow([sample, patient, *line(label), *line(said), *map(encode_float32, chances)])
    return text.getvalue().encode()


def encode_answers(
    *,
    files: Sequence[str],
    called: Sequence[float] | Sequence[Sequence[int]],
    probabilities: Sequence[Sequence[float]],
    classes: Sequence[str],
    task: Task,
) -> bytes:
    """Encode what a network says of files without known labels, in the order of their bytes.

    The columns are `file`, then those of `encode_predictions` without what is not known. Arguments
    are as there.
    """
    header, line = _form(task, classes)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    scored = () if task == "regression" else classes
    half = len(header) // 2  # labels stand before what is predicted
    writer.writerow(["file", *header[half:], *(f"p_{name}" for name in scored)])
    for file, said, chances in sorted(
        zip(files, called, probabilities, strict=True),
        key=lambda row: row[0].encode("utf-8", "surrogateescape"),
    ):
        writer.writerow([file, *line(said), *map(encode_float32, chances)])
    return text.getvalue().encode("utf-8", "surrogateescape")


def encode_float32(value: float) -> str:
    """The shortest decimal that reads back to the same float32.

    Raises:
        ValueError: The value is not exactly a float32 value, or not finite.

    Guarantees:
        No decimal of fewer digits, rounded from the value, reads back to it.
    """
    try:
        (stored,) = _FLOAT32.unpack(_FLOAT32.pack(value))
    except OverflowError:
        stored = None
    if stored != value or value in (float("inf"), float("-inf")):
        message = f"expected a finite float32 value, found {value!r}"
        raise ValueError(message)
    first = _SAFE_DIGITS if abs(value) >= _SMALLEST_NORMAL else 1
    for digits in range(first, _MOST_DIGITS):
        text = format(value, f".{digits}g")
        if _FLOAT32.unpack(_FLOAT32.pack(float(text)))[0] == value:
            return text
    return format(value, f".{_MOST_DIGITS}g")


def _form(
    task: Task, classes: Sequence[str]
) -> tuple[list[str], Callable[[object], Iterable[int | str]]]:
    if task == "multilabel":
        header = [f"{kind}_{name}" for kind in ("label", "predicted") for name in classes]
        return header, lambda row: ["" if v < 0 else v for v in cast("Sequence[int]", row)]
    if task == "regression":
        return ["label", "predicted"], lambda value: [encode_float32(cast("float", value))]
    return ["label", "predicted"], lambda index: [classes[cast("int", index)]]
