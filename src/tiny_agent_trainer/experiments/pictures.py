# SPDX-License-Identifier: Apache-2.0
"""Pictures for the report: images as the network sees them, and its most confident errors."""

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer.reports.picture import Picture
from tiny_agent_trainer.tokenizer.batches import Feed
from tiny_agent_trainer.tokenizer.preparation import resampling
from tiny_agent_trainer.validator.predictions import Predictions

EXAMPLES_PER_CLASS = 6
MISTAKES = 12
_EDGE_LIMIT = 128
"""Pixels along an edge; larger images are shown at this size."""


def draw_examples(feed: Feed, predictions: Predictions) -> list[Picture]:
    """The first samples of every class of a split, decoded from their tokens.

    For regression, samples from the smallest to the largest true value, in equal steps of rank.
    """
    if predictions.task == "regression":
        ranked = np.lexsort((predictions.samples, predictions.labels))
        steps = np.arange(EXAMPLES_PER_CLASS) * (len(ranked) - 1) // (EXAMPLES_PER_CLASS - 1)
        rows = ranked[np.unique(steps)]
        return [_draw(feed, predictions, int(row), predicted=None) for row in rows]
    pictures = []
    for index in range(len(predictions.classes)):
        members = np.flatnonzero(predictions.positive[:, index])[:EXAMPLES_PER_CLASS]
        pictures += [_draw(feed, predictions, int(row), predicted=None) for row in members]
    return pictures


def draw_mistakes(feed: Feed, predictions: Predictions) -> list[Picture]:
    """The errors that the network was surest of, or the largest, worst first; ties by ordinal."""
    if predictions.task == "regression":
        away = np.abs(predictions.probabilities[:, 0] - predictions.labels)
        rows = np.lexsort((predictions.samples, -away))
        said = [_show(predictions.probabilities[row, 0]) for row in rows[:MISTAKES]]
        pairs = zip(rows.tolist(), said, strict=False)
        return [_draw(feed, predictions, row, predicted=estimate) for row, estimate in pairs]
    wrong = ((predictions.called != predictions.positive) & predictions.known).any(axis=1)
    certainty = np.where(predictions.called, predictions.probabilities, 0).max(axis=1)
    rows = np.flatnonzero(wrong)
    order = np.lexsort((predictions.samples[rows], -certainty[rows]))
    return [
        _draw(feed, predictions, int(row), predicted=_names(predictions, predictions.called[row]))
        for row in rows[order][:MISTAKES]
    ]


def _draw(feed: Feed, predictions: Predictions, row: int, predicted: str | None) -> Picture:
    sample = predictions.samples[row : row + 1]
    stored = feed.tokenizer.decode(feed.plain_batch(sample).inputs)[0]
    pixels = to_bytes(middle(stored))
    has_probability = predicted is not None and predictions.task in ("multiclass", "ordinal")
    return Picture(
        sample=int(sample[0]),
        label=_label(predictions, row),
        predicted=predicted,
        probability=float(predictions.probabilities[row].max()) if has_probability else None,
        width=pixels.shape[1],
        height=pixels.shape[0],
        channels=pixels.shape[2],
        pixels=pixels.tobytes(),
    )


def _label(predictions: Predictions, row: int) -> str:
    if predictions.task == "regression":
        return _show(predictions.labels[row])
    return _names(predictions, predictions.positive[row])


def _show(value: np.float32 | np.int64) -> str:
    return format(float(value), ".4g")


def _names(predictions: Predictions, chosen: npt.NDArray[np.bool_]) -> str:
    named = [name for name, is_so in zip(predictions.classes, chosen, strict=True) if is_so]
    return ", ".join(named) or "none"


def middle(stored_CS: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """One slice with 1 or 3 channels, channels last, of at most the shown size."""
    image = stored_CS if stored_CS.ndim == 3 else stored_CS[:, stored_CS.shape[1] // 2]
    image = np.moveaxis(image, 0, -1)
    image = image if image.shape[-1] in (1, 3) else image[..., :1]
    is_square = image.shape[0] == image.shape[1]
    if is_square and image.shape[0] > _EDGE_LIMIT:
        return resampling.resample_area(image, _EDGE_LIMIT)
    return image


def to_bytes(image: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """8 bits as they are; anything else stretched from its darkest to its brightest value."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image, np.uint8)
    values = image.astype(np.int64) - int(image.min())
    return (values * 255 // max(int(values.max()), 1)).astype(np.uint8)
