# SPDX-License-Identifier: Apache-2.0
"""A dataset made ready: numbered by content, checked for leaks, prepared.

A sample's number (its ordinal) is its rank by the digest of its decoded pixels. It does not depend
on file names or their order, and it says nothing about a person.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import marking, memory, statistics, tokenization
from tiny_agent_trainer.tokenizer.cache import entry, items, keys, rows
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.leaks import find, fingerprints, leak
from tiny_agent_trainer.tokenizer.preparation import prepare
from tiny_agent_trainer.tokenizer.samples import (
    MASKED,
    SPLITS,
    Dataset,
    Fingerprint,
    Label,
    LabelArray,
    Sample,
    SourceFile,
    Split,
    StoredArray,
    Task,
)

Given: TypeAlias = prepare.Preparable | entry.Prepared
"""What a reader may bring as an image."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Everything that training and validation need of the data.

    Attributes:
        name, task, classes, files: As the reader gave them.
        dims: 2 for prepared images, 3 for volumes.
        samples: In the order of their ordinals.
        pixel_digests: SHA-256 of decoded pixels, 64 hex digits, in the same order.
        prepared_NCS: Integers, shape (n, channels, *spatial); in memory, or mapped read-only.
        labels: int64, shape (n,), or (n, classes) for multi-label data, where `MASKED` is an
            unknown label; float32, shape (n,), for regression.
        patients: Ordinals of patients, int64, shape (n,).
        splits: Ordinals of the samples of each split, ascending.
        leaks: Patients or images in two splits, and contradictory labels; empty without any.
        remarks: What a report must say of the data.
        decoders, names_are_private: As the reader gave them.
        plane_ratios: Distance of columns over that of rows, float64, shape (n,); None where all
            pixels count as square.
        label_map_digests: SHA-256 of each sample's decoded label map; () where there are none.
        marked_NCS: 1 where a label map has foreground, else 0; None where there are none.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    dims: int
    files: tuple[SourceFile, ...]
    samples: tuple[Sample, ...]
    pixel_digests: tuple[str, ...]
    prepared_NCS: npt.NDArray[np.integer]
    labels: LabelArray
    patients: npt.NDArray[np.int64]
    splits: Mapping[Split, npt.NDArray[np.int64]]
    leaks: tuple[leak.Leak, ...]
    remarks: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ()
    names_are_private: bool = False
    plane_ratios: npt.NDArray[np.float64] | None = None
    label_map_digests: tuple[str, ...] = ()
    marked_NCS: npt.NDArray[np.uint8] | None = None

    @property
    def num_outputs(self) -> int:
        """Numbers per sample that a network answers with: of K grades, one per step between."""
        return len(self.classes) - (self.task == "ordinal")

    def build_tokenizer(self, options: TokenizerSection) -> tokenization.AbstractTokenizer:
        """The configured tokenizer, normalised by the training split alone.

        Raises:
            DatasetError: As `tokenization.build_tokenizer` and `require_square_pixels` do.
        """
        if self.plane_ratios is not None:
            tokenization.require_square_pixels(options, self.plane_ratios[self.splits["train"]])
        shape, dtype = self.prepared_NCS.shape[1:], self.prepared_NCS.dtype
        if options.normalization == "half":
            normalization = statistics.half_range(dtype, shape[0])
        else:
            normalization = statistics.measure(self.prepared_NCS, self.splits["train"])
        return tokenization.build_tokenizer(options, shape, dtype, normalization)

    def num_patients(self, split: Split) -> int:
        """How many patients have a sample in the split."""
        return len(np.unique(self.patients[self.splits[split]]))


def build_cohort(
    dataset: Dataset,
    options: TokenizerSection,
    *,
    allow_leaks: bool,
    store: Store | None = None,
) -> Cohort:
    """Number, check and prepare a dataset.

    Args:
        dataset: What a reader brought.
        options: How images are prepared.
        allow_leaks: Whether leaks are let through.
        store: Where images that are read on demand are kept, as one mapped file; without one, and
            for images that are in memory already, memory holds all of them.

    Raises:
        DatasetError: No sample in a split, one class only, images of different shapes, or more of
            them than memory holds.
        LeakError: A patient or an image in two splits, unless `allow_leaks`.
    """
    order, marks = _order(dataset)
    listed = tuple(dataset.samples[index] for index in order)
    splits = _splits(listed)
    labels = stack_labels([sample.label for sample in listed], dataset.task)
    _require_labels(labels, splits, dataset)
    leaks = tuple(find.find_leaks(listed, marks, dataset.task))
    if leaks and not allow_leaks:
        raise leak.refusal(leaks, listed)
    pixel_digests = tuple(mark.pixels for mark in marks)
    prepared = _prepare_all(dataset, order, pixel_digests, options, store)
    maps = [dataset.label_maps[index] for index in order] if dataset.label_maps else []
    return Cohort(
        name=dataset.name,
        task=dataset.task,
        classes=dataset.classes,
        dims=prepared.ndim - 2,
        files=tuple(sorted(dataset.files, key=lambda file: file.path.encode())),
        samples=listed,
        pixel_digests=pixel_digests,
        prepared_NCS=prepared,
        labels=labels,
        patients=_number_patients(listed),
        splits=splits,
        leaks=leaks,
        remarks=dataset.remarks,
        decoders=dataset.decoders,
        names_are_private=dataset.names_are_private,
        plane_ratios=_plane_ratios(dataset, order),
        label_map_digests=tuple(one.pixels for one in maps),
        marked_NCS=marking.mark_all(maps, options, store) if maps else None,
    )


def _plane_ratios(dataset: Dataset, order: Sequence[int]) -> npt.NDArray[np.float64] | None:
    if dataset.plane_ratios is None:
        return None
    return np.array([dataset.plane_ratios[index] for index in order], np.float64)


def is_in_memory(dataset: Dataset) -> bool:
    """Whether the reader brought its images, rather than a way to fetch them one by one."""
    return isinstance(dataset.images, list | tuple | np.ndarray)


def _order(dataset: Dataset) -> tuple[list[int], tuple[Fingerprint, ...]]:
    marks = dataset.marks or tuple(fingerprints.take_all(_stored(dataset.images)))
    ranked = sorted(
        range(len(marks)),
        key=lambda i: (
            marks[i].pixels,
            dataset.samples[i].split,
            dataset.samples[i].label,
            dataset.samples[i].key,
        ),
    )
    return ranked, tuple(marks[index] for index in ranked)


def _stored(images: Sequence[prepare.Preparable]) -> Iterator[StoredArray]:
    for image in images:
        yield prepare.as_image(image).values


def _splits(listed: Sequence[Sample]) -> dict[Split, npt.NDArray[np.int64]]:
    found: dict[Split, npt.NDArray[np.int64]] = {}
    for split in SPLITS:
        members = [index for index, sample in enumerate(listed) if sample.split == split]
        if not members:
            raise errors.DatasetError(
                where=f"split {split}",
                expected="at least one sample in train, val and test",
                found="none",
                remedy="correct the splits of the data",
            )
        found[split] = np.array(members, np.int64)
    return found


def stack_labels(labels: Sequence[Label], task: Task) -> LabelArray:
    """Labels of many samples as one array."""
    if task == "regression":
        return np.array([label[0] for label in labels], np.float32)
    rows = np.array(labels, np.int64)
    return rows if task == "multilabel" else rows[:, 0]


def _require_labels(
    labels: LabelArray,
    splits: Mapping[Split, npt.NDArray[np.int64]],
    dataset: Dataset,
) -> None:
    """Refuse labels that nothing can be learned or measured from."""
    if dataset.task == "multilabel":
        for split, members in splits.items():
            if (labels[members] == MASKED).all():
                raise _useless(split, "a label that is known", f"{len(members)} samples without")
    elif len(np.unique(labels[splits["train"]])) < 2:
        count = len(splits["train"])
        value = labels[splits["train"][0]]
        if dataset.task == "regression":
            raise _useless("train", "two different targets", f"{count} samples, all {value}")
        only = f"{count} samples, all of class {dataset.classes[int(value)]!r}"
        raise _useless("train", "samples of at least two classes", only)


def _useless(split: Split, expected: str, found: str) -> errors.DatasetError:
    return errors.DatasetError(
        where=f"split {split}",
        expected=expected,
        found=found,
        remedy="correct the labels or the splits; one class cannot be told from itself",
    )


def _prepare_all(
    dataset: Dataset,
    order: Sequence[int],
    digests: Sequence[str],
    options: TokenizerSection,
    store: Store | None,
) -> npt.NDArray[np.integer]:
    """All images in their order: in memory, or mapped when they were read on demand."""
    images: Sequence[Given] = dataset.images
    if isinstance(images, items.PreparedImages):
        images.require_prepared_by(options)
    if store is None or is_in_memory(dataset):
        return _hold_all(dataset, order, options)
    named = digests
    if isinstance(images, items.PreparedImages):
        all_keys = images.keys
        named = [all_keys[index] for index in order]
    made = _prepare_each(dataset, order, options)
    return rows.keep_rows(store, keys.of_rows(named, options), len(order), made)


def _hold_all(
    dataset: Dataset, order: Sequence[int], options: TokenizerSection
) -> npt.NDArray[np.integer]:
    made = _prepare_each(dataset, order, options)
    if isinstance(dataset.images, items.PreparedImages):
        first = next(made)
        memory.require_room(len(order), np.moveaxis(first, 0, -1), TokenizerSection())
    else:
        memory.require_room(len(order), dataset.images[order[0]], options)
        first = next(made)
    prepared = np.empty((len(order), *first.shape), first.dtype)
    prepared[0] = first
    for place, one in enumerate(made, start=1):
        prepared[place] = one
    return prepared


def _prepare_each(
    dataset: Dataset, order: Sequence[int], options: TokenizerSection
) -> Iterator[npt.NDArray[np.integer]]:
    """Image by image, so that one which was read on demand is let go again."""
    kind, first_key = None, dataset.samples[order[0]].key
    for index in order:
        given: Given = dataset.images[index]
        key = dataset.samples[index].key
        one = _prepare_one(given, options, key)
        kind = kind or (one.shape, one.dtype)
        if (one.shape, one.dtype) != kind:
            raise errors.DatasetError(
                where=key,
                expected=f"shape {kind[0]} and type {kind[1]}, as in {first_key}",
                found=f"shape {one.shape} and type {one.dtype}",
                remedy="set `resize` or `size` (and `channels`) under [tokenizer], "
                "or mend the data",
            )
        yield one


def _prepare_one(given: Given, options: TokenizerSection, key: str) -> npt.NDArray[np.integer]:
    if isinstance(given, entry.Prepared):
        return given.values
    return prepare.prepare(given, options, key)


def _number_patients(listed: Sequence[Sample]) -> npt.NDArray[np.int64]:
    numbers: dict[str, int] = {}
    for sample in listed:
        numbers.setdefault(sample.patient, len(numbers))
    return np.array([numbers[sample.patient] for sample in listed], np.int64)
