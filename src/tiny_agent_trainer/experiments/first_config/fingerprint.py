# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of a dataset: counts, sizes, spacings and intensities, without a name."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import canonical
from tiny_agent_trainer.experiments.first_config import survey
from tiny_agent_trainer.tokenizer.samples import SPLITS, Dataset, Sample

SCHEMA: Final = "dataset-fingerprint-v1"

_BINS: Final = 64
_PER_MILLE: Final = (5, 50, 250, 500, 750, 950, 995)


def encode_fingerprint(
    dataset: Dataset, listed: Sequence[Sample], seen: survey.Survey, remarks: Sequence[str]
) -> bytes:
    """One canonical JSON line.

    Args:
        dataset: What the reader brought.
        listed: Its samples with the splits that were chosen.
        seen: What its images are.
        remarks: What a report will say of the data.

    Guarantees:
        Depends on pixels, labels and the division alone, not on names of files or patients.
    """
    return canonical.encode_line(
        {
            "schema": SCHEMA,
            "task": dataset.task,
            "images": len(listed),
            "patients": len({sample.patient for sample in listed}),
            "refused": len(seen.refusals),
            "splits": {split: _count(dataset, listed, split) for split in SPLITS},
            "kinds": [_kind(kind, seen.kinds[kind]) for kind in ordered(seen)],
            "intensities": {
                name or "unknown": describe(counts)
                for name, counts in sorted(seen.histograms.items())
            },
            "remarks": list(remarks),
        }
    )


def ordered(seen: survey.Survey) -> list[survey.Kind]:
    """Kinds of images, the most frequent first, then by what they are."""
    return sorted(
        seen.kinds,
        key=lambda kind: (
            -seen.kinds[kind], kind.modality, kind.shape, kind.dtype, kind.spacing_mm,
        ),
    )  # fmt: skip


def class_counts(dataset: Dataset, listed: Sequence[Sample]) -> dict[str, int]:
    """Images of each class; for regression those with a target."""
    if dataset.task == "regression":
        return {dataset.classes[0]: len(listed)}
    if dataset.task == "multilabel":
        columns = zip(*(sample.label for sample in listed), strict=True)
        found = [sum(value == 1 for value in column) for column in columns]
    else:
        counted = collections.Counter(int(sample.label[0]) for sample in listed)
        found = [counted[index] for index in range(len(dataset.classes))]
    return dict(zip(dataset.classes, found, strict=True))


def describe(counts: npt.NDArray[np.int64]) -> dict[str, canonical.JsonValue]:
    """Range, quantiles by rank, and a histogram whose bins are a power of two wide.

    Guarantees:
        Integer operations alone. The quantile of p per mille is the value of rank
        floor(p * (n - 1) / 1000), counted from 0.
    """
    used = np.flatnonzero(counts)
    first, last = int(used[0]), int(used[-1])
    running = np.cumsum(counts)
    total = int(running[-1])
    ranks = [per_mille * (total - 1) // 1000 for per_mille in _PER_MILLE]
    places = [int(np.searchsorted(running, rank, side="right")) for rank in ranks]
    width = 1 << max((last - first) // _BINS, 0).bit_length()
    edges = np.arange(first, last + 1, width)
    bins = np.add.reduceat(counts[: last + 1], edges)
    low = survey.lowest_value()
    return {
        "values": total,
        "smallest": first + low,
        "largest": last + low,
        "quantiles": {
            f"{per_mille / 10:.1f}": place + low
            for per_mille, place in zip(_PER_MILLE, places, strict=True)
        },
        "histogram": {"first": first + low, "width": width, "counts": bins.tolist()},
    }


def _count(dataset: Dataset, listed: Sequence[Sample], split: str) -> Mapping[str, Any]:
    members = [sample for sample in listed if sample.split == split]
    return {
        "images": len(members),
        "patients": len({sample.patient for sample in members}),
        "classes": class_counts(dataset, members) if members else {},
    }


def _kind(kind: survey.Kind, count: int) -> Mapping[str, Any]:
    return {
        "images": count,
        "modality": kind.modality,
        "shape": list(kind.shape),
        "type": kind.dtype,
        "spacing_mm": list(kind.spacing_mm),
    }
