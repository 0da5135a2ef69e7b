# SPDX-License-Identifier: Apache-2.0
"""A dataset made ready: numbered by content, checked for leaks, prepared.

A sample's number (its ordinal) is its rank by the digest of its decoded pixels. It does not depend
on file names or their order, and it says nothing about a person.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import memory, pixels, statistics, tokenization
from tiny_agent_trainer.tokenizer.cache import entry, items, keys, rows
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.preparation import prepare
from tiny_agent_trainer.tokenizer.samples import (
    SPLITS,
    Dataset,
    Sample,
    SourceFile,
    Split,
    Task,
)

Given: TypeAlias = prepare.Preparable | entry.Prepared
"""What a reader may bring as an image."""

_SHOWN = 6
"""Members of a leak that a sentence names."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Samples that should stand in one split and do not.

    Attributes:
        what: `equal pixels` or `one patient`.
        members: Ordinal, split and label of each of them.
    """

    what: str
    members: tuple[tuple[int, Split, tuple[int, ...]], ...]

    def __str__(self) -> str:
        shown = [f"sample {ordinal} ({split}, label {'/'.join(map(str, label))})"
                 for ordinal, split, label in self.members[:_SHOWN]]  # fmt: skip
        more = f" and {len(self.members) - _SHOWN} more" if len(self.members) > _SHOWN else ""
        return f"{self.what} in two splits: {', '.join(shown)}{more}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Everything that training and validation need of the data.

    Attributes:
        name, task, classes, dims, files: As the reader gave them.
        samples: In the order of their ordinals.
        pixel_digests: SHA-256 of decoded pixels, 64 hex digits, in the same order.
        prepared_NCS: Integers, shape (n, channels, *spatial); in memory, or mapped read-only.
        labels: int64, shape (n,) or (n, classes) for multi-label data.
        patients: Ordinals of patients, int64, shape (n,).
        splits: Ordinals of the samples of each split, ascending.
        leaks: Patients or pixels in two splits; empty when there are none.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    dims: int
    files: tuple[SourceFile, ...]
    samples: tuple[Sample, ...]
    pixel_digests: tuple[str, ...]
    prepared_NCS: npt.NDArray[np.integer]
    labels: npt.NDArray[np.int64]
    patients: npt.NDArray[np.int64]
    splits: Mapping[Split, npt.NDArray[np.int64]]
    leaks: tuple[Leak, ...]

    def build_tokenizer(self, options: TokenizerSection) -> tokenization.AbstractTokenizer:
        """The configured tokenizer, normalised by the training split alone."""
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
    order, pixel_digests = _order(dataset)
    listed = tuple(dataset.samples[index] for index in order)
    splits = _splits(listed)
    labels = np.array([sample.label for sample in listed], np.int64)
    _require_classes(labels[splits["train"]], dataset)
    leaks = tuple(_find_leaks(listed, pixel_digests))
    if leaks and not allow_leaks:
        raise _leak_error(leaks, listed)
    return Cohort(
        name=dataset.name,
        task=dataset.task,
        classes=dataset.classes,
        dims=dataset.dims,
        files=tuple(sorted(dataset.files, key=lambda file: file.path.encode())),
        samples=listed,
        pixel_digests=pixel_digests,
        prepared_NCS=_prepare_all(dataset, order, pixel_digests, options, store),
        labels=labels if dataset.task == "multilabel" else labels[:, 0],
        patients=_number_patients(listed),
        splits=splits,
        leaks=leaks,
    )


def is_in_memory(dataset: Dataset) -> bool:
    """Whether the reader brought its images, rather than a way to fetch them one by one."""
    return isinstance(dataset.images, list | tuple | np.ndarray)


def _order(dataset: Dataset) -> tuple[list[int], tuple[str, ...]]:
    digests = _digest_all(dataset.images)
    ranked = sorted(
        range(len(digests)),
        key=lambda i: (
            digests[i], dataset.samples[i].split, dataset.samples[i].label, dataset.samples[i].key
        ),
    )  # fmt: skip
    return ranked, tuple(digests[index] for index in ranked)


def _digest_all(images: Sequence[Given]) -> Sequence[str]:
    if isinstance(images, items.PreparedImages):
        return images.pixel_digests
    return [_digest(image) for image in images]


def _digest(given: Given) -> str:
    if isinstance(given, entry.Prepared):
        return given.pixels
    return pixels.digest_pixels(prepare.as_image(given).values)


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


def _require_classes(labels: npt.NDArray[np.int64], dataset: Dataset) -> None:
    if dataset.task == "multiclass" and len(np.unique(labels)) < 2:
        only = dataset.classes[int(labels[0, 0])]
        raise errors.DatasetError(
            where="split train",
            expected="samples of at least two classes",
            found=f"{len(labels)} samples, all of class {only!r}",
            remedy="correct the labels or the splits; one class cannot be told from itself",
        )


def _find_leaks(listed: Sequence[Sample], pixel_digests: Sequence[str]) -> Iterable[Leak]:
    by_pixels = _group(pixel_digests)
    by_patient = _group([sample.patient for sample in listed])
    for what, groups in (("equal pixels", by_pixels), ("one patient", by_patient)):
        for members in groups:
            if len({listed[index].split for index in members}) > 1:
                found = ((i, listed[i].split, listed[i].label) for i in members)
                yield Leak(what=what, members=tuple(found))


def _group(keys: Sequence[str]) -> list[list[int]]:
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return [members for members in groups.values() if len(members) > 1]


def _leak_error(leaks: Sequence[Leak], listed: Sequence[Sample]) -> errors.LeakError:
    shown = "".join(f"\n  {leak}: {_keys(leak, listed)}" for leak in leaks[:20])
    more = f"\n  and {len(leaks) - 20} more" if len(leaks) > 20 else ""
    return errors.LeakError(
        where="the splits",
        expected="every patient and every image in one split only",
        found=f"{len(leaks)} leaks:{shown}{more}\n",
        remedy="mend the splits, or write `allow_leaks = true` under [data]; "
        "every report will then say so",
    )


def _keys(leak: Leak, listed: Sequence[Sample]) -> str:
    """Where the samples come from: for the user's eyes only, never for a result."""
    return " = ".join(listed[ordinal].key for ordinal, _, _ in leak.members[:_SHOWN])


def _prepare_all(
    dataset: Dataset,
    order: Sequence[int],
    digests: Sequence[str],
    options: TokenizerSection,
    store: Store | None,
) -> npt.NDArray[np.integer]:
    """All images in their order: in memory, or mapped when they were read on demand."""
    images: Sequence[Given] = dataset.images
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
    given: Given = dataset.images[order[0]]
    if isinstance(given, entry.Prepared):
        like = np.moveaxis(given.values, 0, -1)
        memory.require_room(len(order), like, TokenizerSection())
    else:
        memory.require_room(len(order), given, options)
    made = _prepare_each(dataset, order, options)
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
