# SPDX-License-Identifier: Apache-2.0
"""Which patients are alike, so that every split gets its share of each kind."""

import collections
from collections.abc import Mapping, Sequence
from typing import Final

from tiny_agent_trainer.tokenizer import samples

_BANDS: Final = 5
"""Parts of equal size that patients are cut into by their regression target."""

_Members = Mapping[str, Sequence[samples.Label]]


def number_strata(
    task: samples.Task, patients: Sequence[str], labels: Sequence[samples.Label]
) -> dict[str, int]:
    """The stratum of every patient, in the order in which patients are first seen.

    Multiclass and ordinal: the highest class among a patient's samples. Multilabel: one more than
    the rarest label that a patient has, 0 without any. Regression: the fifth in which the
    patient's largest target lies.

    Args:
        task: How labels are to be read.
        patients: One per sample.
        labels: In the same order.

    Guarantees:
        The order of samples has no influence on a patient's stratum.
    """
    members: dict[str, list[samples.Label]] = collections.defaultdict(list)
    for patient, label in zip(patients, labels, strict=True):
        members[patient].append(label)
    if task == "multilabel":
        return _by_rarest_label(members)
    if task == "regression":
        return _by_band(members)
    return {patient: int(max(label[0] for label in own)) for patient, own in members.items()}


def _by_rarest_label(members: _Members) -> dict[str, int]:
    present = {
        patient: {index for label in own for index, value in enumerate(label) if value == 1}
        for patient, own in members.items()
    }
    counts = collections.Counter(index for found in present.values() for index in found)
    return {
        patient: 1 + min(found, key=lambda index: (counts[index], index)) if found else 0
        for patient, found in present.items()
    }


def _by_band(members: _Members) -> dict[str, int]:
    largest = {patient: max(label[0] for label in own) for patient, own in members.items()}
    ranked = sorted(largest, key=lambda patient: (largest[patient], patient.encode()))
    bands = {patient: rank * _BANDS // len(ranked) for rank, patient in enumerate(ranked)}
    return {patient: bands[patient] for patient in largest}
