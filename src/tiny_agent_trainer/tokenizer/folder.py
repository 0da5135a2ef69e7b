# SPDX-License-Identifier: Apache-2.0
"""A folder of medical images of any format, labelled by a table, divided by patient."""

import collections
import dataclasses
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, overload

import numpy as np

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import FolderOptions
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.splits import ColumnOptions
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.images.image import Image, Item, Listing, Refusal
from tiny_agent_trainer.tokenizer.labels import attach, tables, unmatched
from tiny_agent_trainer.tokenizer.leaks import fingerprints
from tiny_agent_trainer.tokenizer.splits import division

ListFolder = Callable[[Path, ImagesOptions, samples.Progress], Listing]

_SHOWN: Final = 20
_STORED: Final = (np.uint8, np.uint16, np.int16)


def _list_folder(root: Path, options: ImagesOptions, progress: samples.Progress) -> Listing:
    folder = import_late("tiny_agent_trainer.tokenizer.images.folder")
    listing: Listing = folder.list_folder(root, options, progress)
    return listing


def import_late(module: str) -> Any:  # noqa: ANN401
    """A module that needs the decoders of every format.

    They take a second to import: only who reads a folder waits for them.
    """
    return importlib.import_module(module)


@dataclasses.dataclass(frozen=True, slots=True)
class FolderReader:
    """Reader of a folder and a table.

    Args:
        options: The section of the configuration.
        progress: Told how far reading is.
        list_folder: Finds the images below a root.
    """

    options: FolderOptions
    progress: samples.Progress = samples.silent
    list_folder: ListFolder = _list_folder

    def read(self) -> samples.Dataset:
        """List images, join labels, look at every image once, divide.

        The images of the dataset are decoded again whenever they are asked for; only what tells
        them apart is kept.

        Raises:
            DatasetMissingError: The folder, the table or the split file is not here.
            DatasetError: Files, rows, labels or splits are not as they should be; all faults of
                one kind are told at once.
        """
        root = self._root()
        table = tables.read_table(root, self.options.labels.file)
        listing = self.list_folder(root, self.options.images, self.progress)
        refused = [r for r in listing.refusals if r.key != self.options.labels.file]
        self._require_none(refused)
        found = attach.attach(listing.items, table, self.options.labels, self._split_column())
        if self.options.labels.on_unmatched == "refuse":
            unmatched.require_none(found, root)
        elif found.without_row or found.without_image:
            unmatched.write_list(found, root)
        seen, useless = self._look_at_all(found.images)
        self._require_none(useless)
        remarks = [*unmatched.remarks(found), *_remarks([*refused, *useless], seen)]
        return self._build(found, seen, table, root, tuple(remarks))

    def _build(
        self,
        found: attach.Attached,
        seen: Sequence["_Seen"],
        table: tables.Table,
        root: Path,
        remarks: tuple[str, ...],
    ) -> samples.Dataset:
        images = [one.labelled for one in seen]
        undivided = division.Undivided(
            task=found.task,
            keys=[image.item.key for image in images],
            patients=[image.patient for image in images],
            labels=[image.label for image in images],
            pixel_digests=[one.mark.pixels for one in seen],
            named=[image.split for image in images],
        )
        splits = division.divide(undivided, self.options.split, root)
        marks = tuple(one.mark for one in seen)
        files = {file.path: file for one in seen for file in one.files}
        return samples.Dataset(
            name="folder",
            task=found.task,
            classes=found.classes,
            dims=_common_dims(seen),
            samples=[
                samples.Sample(
                    key=image.item.key,
                    patient=image.patient,
                    label=image.label,
                    split=split,
                    attributes=image.attributes,
                )
                for image, split in zip(images, splits, strict=True)
            ],
            images=ImagesOnDemand([image.item for image in images], marks),
            files=(table.file, *files.values()),
            marks=marks,
            remarks=remarks,
            decoders=tuple(sorted({one.decoder for one in seen if one.decoder})),
            names_are_private=True,
        )

    def _look_at_all(
        self, images: Sequence[attach.Labelled]
    ) -> tuple[list["_Seen"], list[Refusal]]:
        seen, useless = [], []
        for done, labelled in enumerate(images, start=1):
            try:
                seen.append(_look_at(labelled))
            except errors.DatasetError as error:
                useless.append(Refusal(key=labelled.item.key, reason=str(error)))
            self.progress("reading images", done, len(images))
        if not seen:
            raise _refusal(useless)
        return seen, useless

    def _require_none(self, refused: Sequence[Refusal]) -> None:
        if refused and self.options.on_refused == "refuse":
            raise _refusal(refused)

    def _split_column(self) -> str:
        split = self.options.split
        return split.column if isinstance(split, ColumnOptions) else ""

    def _root(self) -> Path:
        root = Path(self.options.root or ".")
        if not root.is_dir():
            raise errors.DatasetMissingError(
                where="[data] root",
                expected="a directory with images",
                found=f"no directory {root}",
                remedy="write the path of the folder, seen from where you run, or use --data",
            )
        return root


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is kept of an image that was decoded once."""

    labelled: attach.Labelled
    mark: samples.Fingerprint
    dims: int
    files: tuple[samples.SourceFile, ...]
    remarks: tuple[str, ...]
    decoder: str


class ImagesOnDemand(Sequence[samples.StoredArray]):
    """Images that are decoded when they are asked for, and not kept.

    Args:
        items: Where they come from.
        marks: What they looked like when they were first seen.

    Raises:
        DatasetError: When asked for an image that is not any more what it was.
    """

    def __init__(self, items: Sequence[Item], marks: Sequence[samples.Fingerprint]) -> None:
        self._items, self._marks = items, marks

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> samples.StoredArray: ...
    @overload
    def __getitem__(self, index: slice) -> "ImagesOnDemand": ...
    def __getitem__(self, index: int | slice) -> "samples.StoredArray | ImagesOnDemand":
        if isinstance(index, slice):
            return ImagesOnDemand(self._items[index], self._marks[index])
        item = self._items[index]
        stored = store(item.read(), item.key)
        digest = fingerprints.digest_pixels(stored)
        if digest != self._marks[index].pixels:
            raise errors.DatasetError(
                where=item.key,
                expected=f"the pixels that were read before, {self._marks[index].pixels}",
                found=digest,
                remedy="leave the files alone while they are read, then run again",
            )
        return stored


def store(image: Image, key: str) -> samples.StoredArray:
    """The values of an image as the rest of the house takes them, without changing one.

    Wider integers and floats are taken where every value is a whole number that int16 or uint16
    holds, such as Hounsfield units.

    Raises:
        DatasetError: Some value is not.
    """
    values = image.values
    if values.dtype in _STORED:
        return values
    low, high = values.min(), values.max()
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        # NaN fails both comparisons, so that nothing is cast that has no integer.
        if low >= limits.min and high <= limits.max:
            whole = values.astype(kind)
            if (whole == values).all():
                return whole
    raise errors.DatasetError(
        where=key,
        expected="whole numbers of at most 16 bits",
        found=f"{values.dtype} from {low} to {high}",
        remedy="rescale the values under [data.images], or store them as integers",
    )


def _look_at(labelled: attach.Labelled) -> _Seen:
    image = labelled.item.read()
    stored = store(image, labelled.item.key)
    return _Seen(
        labelled=labelled,
        mark=fingerprints.take(stored),
        dims=stored.ndim - 1,
        files=image.files,
        remarks=image.remarks,
        decoder=image.decoder,
    )


def _common_dims(seen: Sequence[_Seen]) -> int:
    counts = collections.Counter(one.dims for one in seen)
    if len(counts) > 1:
        raise errors.DatasetError(
            where="[data] root",
            expected="images alone, or volumes alone",
            found=f"{counts[2]} images and {counts[3]} volumes",
            remedy="keep them in folders of their own",
        )
    return seen[0].dims


def _remarks(refused: Sequence[Refusal], seen: Sequence[_Seen]) -> Iterator[str]:
    if refused:
        yield f"{len(refused)} files or series could not be used and were left out."
    counts = collections.Counter(remark for one in seen for remark in one.remarks)
    for remark in sorted(counts, key=str.encode):
        yield f"{counts[remark]} of {len(seen)} images: {remark}."


def _refusal(refused: Sequence[Refusal]) -> errors.DatasetError:
    shown = "".join(f"\n  {one.key}: {one.reason}" for one in refused[:_SHOWN])
    more = f"\n  and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    return errors.DatasetError(
        where="[data] root",
        expected="files that can all be used",
        found=f"{len(refused)} that cannot:{shown}{more}\n",
        remedy='mend or remove them, or write `on_refused = "list"` under [data] to go on '
        "without them; every report will then say so",
    )
