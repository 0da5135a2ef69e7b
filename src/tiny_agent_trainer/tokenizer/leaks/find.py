# SPDX-License-Identifier: Apache-2.0
"""All leaks of samples that have a split and a fingerprint."""

import collections
from collections.abc import Iterator, Sequence

from tiny_agent_trainer.tokenizer.leaks import leak, near
from tiny_agent_trainer.tokenizer.samples import MASKED, SPLITS, Fingerprint, Label, Sample, Task


def find_leaks(
    listed: Sequence[Sample], marks: Sequence[Fingerprint], task: Task
) -> Iterator[leak.Leak]:
    """Every leak, kind by kind, each kind in the order of its first sample.

    Args:
        listed: Samples in the order of their ordinals.
        marks: Their fingerprints.
        task: How labels are to be read.
    """
    by_pixels = _group([mark.pixels for mark in marks])
    yield from (_leak("equal pixels", listed, m) for m in by_pixels if _is_divided(listed, m))
    for members in by_pixels:
        if _is_contradictory([listed[index].label for index in members], task):
            yield _leak("equal pixels with different labels", listed, members)
    by_patient = _group([sample.patient for sample in listed])
    yield from (_leak("one patient", listed, m) for m in by_patient if _is_divided(listed, m))
    for members in near.find_groups([mark.looks for mark in marks], _split_numbers(listed)):
        if len({marks[index].pixels for index in members}) > 1:
            yield _leak("near duplicates", listed, members)


def _leak(what: leak.Kind, listed: Sequence[Sample], members: Sequence[int]) -> leak.Leak:
    found = ((index, listed[index].split, listed[index].label) for index in members)
    return leak.Leak(what=what, members=tuple(found))


def _group(keys: Sequence[str]) -> list[list[int]]:
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return [members for members in groups.values() if len(members) > 1]


def _is_divided(listed: Sequence[Sample], members: Sequence[int]) -> bool:
    return len({listed[index].split for index in members}) > 1


def _is_contradictory(labels: Sequence[Label], task: Task) -> bool:
    """Whether two labels differ in a place where both are known."""
    unknown = {MASKED} if task == "multilabel" else set()
    return any(len(set(place) - unknown) > 1 for place in zip(*labels, strict=True))


def _split_numbers(listed: Sequence[Sample]) -> list[int]:
    return [SPLITS.index(sample.split) for sample in listed]
