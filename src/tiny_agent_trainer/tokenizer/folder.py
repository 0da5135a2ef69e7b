# SPDX-License-Identifier: Apache-2.0
"""A folder of medical images of any format, labelled by a table, divided by patient."""

import collections
import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import FolderOptions
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.splits import ColumnOptions, FileOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import places, samples
from tiny_agent_trainer.tokenizer.cache import entry, items, keys, notes
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.image import Image, Listing, Refusal
from tiny_agent_trainer.tokenizer.labels import attach, tables, unmatched
from tiny_agent_trainer.tokenizer.leaks import fingerprints, linked
from tiny_agent_trainer.tokenizer.splits import division

OpenNotes = Callable[[str], notes.Notes]
ListFolder = Callable[[Path, ImagesOptions, samples.Progress, OpenNotes | None], Listing]

_SHOWN: Final = 20


def _list_folder(
    root: Path, options: ImagesOptions, progress: samples.Progress, open_notes: OpenNotes | None
) -> Listing:
    folder = import_late("tiny_agent_trainer.tokenizer.images.folder")
    listing: Listing = folder.list_folder(root, options, progress, open_notes)
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
        list_folder: Finds the images below a root, with what is noted of their headers.
        preparation: How images are prepared.
        store: Where prepared images are kept; None to keep none and decode them twice.
    """

    options: FolderOptions
    progress: samples.Progress = samples.silent
    list_folder: ListFolder = _list_folder
    preparation: TokenizerSection = dataclasses.field(default_factory=TokenizerSection)
    store: Store | None = None

    def preparing(self, preparation: TokenizerSection, store: Store | None) -> "FolderReader":
        """As `items.PreparingReader` says."""
        return dataclasses.replace(self, preparation=preparation, store=store)

    def read(self) -> samples.Dataset:
        """List images, join labels, look at every image once, divide.

        An image that the store holds is not decoded; memory holds none of them.

        Raises:
            DatasetMissingError: The folder, the table or the split file is not here.
            DatasetError: Files, rows, labels or splits are not as they should be; all faults of
                one kind are told at once.
        """
        root = places.require_root(self.options.root)
        table = tables.read_table(root, self.options.labels.file)
        listing, maps = self._list(root)
        refused = [r for r in listing.refusals if r.key != self.options.labels.file]
        self._require_none(refused)
        found = attach.attach(listing.items, table, self.options.labels, self._split_column())
        if self.options.labels.on_unmatched == "refuse":
            unmatched.require_none(found, root)
        if found.without_row or found.without_image or found.without_label:
            unmatched.write_list(found, root)
        looker = items.Looker(
            store=self.store,
            root=root,
            decoding=self.options.images,
            preparation=self.preparation,
            noter=_NOTER,
        )
        mapped, faults = self._find_label_maps(root, listing, maps, found)
        self._require_none(faults)
        chosen = [one for one in found.images if mapped is None or one.item.key in mapped]
        seen, useless = self._look_at_all(looker, chosen, faults)
        self._require_none(useless)
        remarks = [
            *unmatched.remarks(found),
            *_left_out(listing, self.options.images.modality),
            *_remarks([*refused, *faults, *useless], seen),
        ]
        prepared = items.PreparedImages(looker, [one.seen for one in seen])
        dataset = self._build(found, seen, prepared, table, root, tuple(remarks))
        return dataset if mapped is None else _with_label_maps(dataset, mapped)

    def _list(self, root: Path) -> tuple[Listing, Listing | None]:
        """What the folder holds, and apart from it the label maps, if there are to be any."""
        listing = self.list_folder(
            root, self.options.images, self.progress, self._open_headers if self.store else None
        )
        if not self.options.label_maps:
            return listing, None
        images, label_maps = _label_maps().divide(listing, self.options.label_maps)
        return images, label_maps

    def _open_headers(self, first: str) -> notes.Notes:
        return notes.Notes(self.store, keys.of_headers(first))

    def _find_label_maps(
        self, root: Path, listing: Listing, maps: Listing | None, found: attach.Attached
    ) -> tuple[Mapping[str, samples.LabelMap] | None, Sequence[Refusal]]:
        """Label maps by the keys of their images, and faults but those of images without use."""
        if maps is None:
            return None, ()
        paired = _label_maps().find(root, listing.items, maps, self.options.images.nifti)
        used = {one.item.key for one in found.images}
        unused = {item.key for item in listing.items} - used
        return paired.label_maps, [one for one in paired.faults if one.key not in unused]

    def _build(
        self,
        found: attach.Attached,
        seen: Sequence["_Seen"],
        prepared: items.PreparedImages,
        table: tables.Table,
        root: Path,
        remarks: tuple[str, ...],
    ) -> samples.Dataset:
        images = [one.labelled for one in seen]
        marks = tuple(one.mark for one in seen)
        patients = [image.patient for image in images]
        links = self._links(patients, marks)
        undivided = division.Undivided(
            task=found.task,
            keys=[image.item.key for image in images],
            patients=[links.units[patient] for patient in patients],
            labels=[image.label for image in images],
            pixel_digests=[one.mark.pixels for one in seen],
            named=[image.split for image in images],
        )
        splits = division.divide(undivided, self.options.split, root)
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
            images=prepared,
            files=(table.file, *files.values()),
            marks=marks,
            remarks=(*remarks, *links.remarks()),
            plane_ratios=tuple(one.plane_ratio for one in seen),
            decoders=tuple(sorted({one.decoder for one in seen if one.decoder})),
            names_are_private=True,
        )

    def _links(self, patients: Sequence[str], marks: Sequence[samples.Fingerprint]) -> linked.Links:
        split = self.options.split
        keeps_linked = not isinstance(split, ColumnOptions | FileOptions) and split.keep_linked
        return linked.link(patients, marks) if keeps_linked else linked.unlinked(patients)

    def _look_at_all(
        self,
        looker: items.Looker,
        images: Sequence[attach.Labelled],
        faults: Sequence[Refusal],
    ) -> tuple[list["_Seen"], list[Refusal]]:
        seen, useless = [], []
        looks = items.Looks(looker)
        for done, labelled in enumerate(images, start=1):
            try:
                seen.append(_look_at(looks, labelled))
            except errors.DatasetError as error:
                reason = refusing.reason_of(error, labelled.item.key)
                useless.append(Refusal(key=labelled.item.key, reason=reason))
            self.progress("reading images", done, len(images))
        looks.close()
        if not seen:
            raise _refusal([*faults, *useless])
        return seen, useless

    def _require_none(self, refused: Sequence[Refusal]) -> None:
        if refused and self.options.on_refused == "refuse":
            raise _refusal(refused)

    def _split_column(self) -> str:
        split = self.options.split
        return split.column if isinstance(split, ColumnOptions) else ""


def _label_maps() -> Any:  # noqa: ANN401
    return import_late("tiny_agent_trainer.tokenizer.label_maps")


def _with_label_maps(
    dataset: samples.Dataset, mapped: Mapping[str, samples.LabelMap]
) -> samples.Dataset:
    label_maps = tuple(mapped[sample.key] for sample in dataset.samples)
    files = (*dataset.files, *(one.file for one in label_maps))
    return dataclasses.replace(dataset, label_maps=label_maps, files=files)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is kept of an image that was looked at once."""

    labelled: attach.Labelled
    seen: items.Seen
    mark: samples.Fingerprint
    dims: int
    files: tuple[samples.SourceFile, ...]
    remarks: tuple[str, ...]
    decoder: str
    plane_ratio: float


def _look_at(looks: items.Looks, labelled: attach.Labelled) -> _Seen:
    seen = looks.look(labelled.item)
    facts: Any = seen.facts
    return _Seen(
        labelled=labelled,
        seen=seen,
        mark=samples.Fingerprint(pixels=seen.pixels, looks=bytes.fromhex(facts["looks"])),
        dims=facts["dims"],
        files=seen.files,
        remarks=tuple(facts["remarks"]),
        decoder=facts["decoder"],
        plane_ratio=float(facts[items.PLANE_RATIO]),
    )


def _note(image: Image) -> entry.Facts:
    return {
        "dims": image.values.ndim - 1,
        "looks": fingerprints.looks_of(image.values).hex(),
        "remarks": list(image.remarks),
        "decoder": image.decoder,
    }


_NOTER: Final = items.Noter(name="fingerprint-v2", note=_note)


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


def _left_out(listing: Listing, modality: str) -> Iterator[str]:
    counts = collections.Counter(one.modality or "none named" for one in listing.left_out)
    if counts:
        told = ", ".join(f"{name} {counts[name]}" for name in sorted(counts))
        yield (
            f"{counts.total()} files of other modalities than {modality} were left out ({told})."
        )


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
