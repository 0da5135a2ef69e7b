# SPDX-License-Identifier: Apache-2.0
"""`begin`: look at a folder, choose, divide, and write the first configuration."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.data import FolderOptions, ImageFolderOptions
from tiny_agent_trainer.config.splits import FractionsOptions, LinkedSplitOptions
from tiny_agent_trainer.experiments.first_config import (
    dividing,
    fingerprint,
    looking,
    mapping,
    ranges,
    survey,
    text,
)
from tiny_agent_trainer.tokenizer import image_folder, samples
from tiny_agent_trainer.tokenizer.images import folder as images_folder
from tiny_agent_trainer.tokenizer.images.image import Listing
from tiny_agent_trainer.tokenizer.labels import recognise, tables
from tiny_agent_trainer.tokenizer.leaks import fingerprints, leak, linked
from tiny_agent_trainer.tokenizer.splits import division

FINGERPRINT_SUFFIX = ".fingerprint.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What was found, chosen and written.

    Attributes:
        config: The configuration.
        fingerprint: The fingerprint of the data beside it.
        dataset: What the reader brought.
        listed: Its samples with their splits.
        seen: What its images are, and which files were refused.
        reasons: What was chosen and why, one sentence each.
        linked: Patients who are kept in one split with others because they share images.
    """

    config: Path
    fingerprint: Path
    dataset: samples.Dataset
    listed: tuple[samples.Sample, ...]
    seen: survey.Survey
    reasons: tuple[str, ...]
    linked: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A dataset and how it is to be configured, before it is divided."""

    dataset: samples.Dataset
    seen: survey.Survey
    data: Mapping[str, Any]
    labels: Mapping[str, Any]
    split: Mapping[str, Any]
    divide: dividing.Divide | None
    reasons: tuple[str, ...]
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patches: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def begin(
    root: Path,
    output: Path,
    labels: str = "",
    wishes: recognise.Wishes | None = None,
    *,
    modality: str = "",
    label_maps: str = "",
    allow_leaks: bool = False,
    progress: samples.Progress = samples.silent,
) -> Begun:
    """Write a configuration that trains on a folder as it is, and the data's fingerprint.

    Args:
        root: The folder.
        output: Where the configuration goes; its directory exists, it does not.
        labels: The table, seen from the folder or from here; "": each class is a folder.
        wishes: Columns that the user named.
        modality: Which images are taken, as DICOM abbreviates it; "": all.
        label_maps: The folder of label maps, seen from the folder; "": told by names.
        allow_leaks: Write it although no division keeps equal or nearly equal images together.
        progress: Told how far it is.

    Raises:
        UsageError: Several columns, modalities or folders of label maps could be meant, the table
            lies outside of the folder, or the output is there already.
        DatasetMissingError: There is no such folder or table.
        DatasetError: There is nothing to learn from; the message says what is missing.
        LeakError: No division is without leaks.
        StorageError: The disk refuses.
    """
    _require_new(output)
    listing = images_folder.list_folder(root, looking.images_of(modality), progress)
    named = wishes or recognise.Wishes()
    found = (
        _labelled(root, _inside(root, labels), listing, named, modality, label_maps, progress)
        if labels
        else _by_folders(root, listing, progress)
    )
    tokenizer, why = ranges.one_range(found.seen)
    found = dataclasses.replace(
        found, tokenizer={**found.tokenizer, **tokenizer}, reasons=(*found.reasons, *why)
    )
    marks = found.dataset.marks or tuple(fingerprints.take_all(found.dataset.images))
    chosen = dividing.choose(found.dataset, marks, found.divide)
    if chosen.leaks and not allow_leaks:
        raise _leaking(chosen)
    links = _links(chosen, marks)
    reasons = (*found.reasons, *_reasons(found, chosen), *links.remarks())
    content = _content(found, chosen, reasons)
    encoded = text.encode(content)
    trainer_config.parse_config(encoded, str(output))
    beside = output.with_name(output.stem + FINGERPRINT_SUFFIX)
    about = fingerprint.encode_fingerprint(
        found.dataset, chosen.listed, found.seen, (*found.dataset.remarks, *links.remarks())
    )
    durable.write_atomic(beside, about)
    durable.write_atomic(output, encoded)
    return Begun(
        config=output,
        fingerprint=beside,
        dataset=found.dataset,
        listed=chosen.listed,
        seen=found.seen,
        reasons=reasons,
        linked=links.joined,
    )


def _links(chosen: dividing.Division, marks: Sequence[samples.Fingerprint]) -> linked.Links:
    patients = [sample.patient for sample in chosen.listed]
    keeps_linked = chosen.options is not None and chosen.options.keep_linked
    return linked.link(patients, marks) if keeps_linked else linked.unlinked(patients)


def _require_new(output: Path) -> None:
    if output.exists():
        raise errors.UsageError(
            where=str(output),
            expected="a name for a new configuration",
            found="a file that is there",
            remedy="name another one with --output, or remove it",
        )


def _inside(root: Path, labels: str) -> str:
    """The table, relative to the root."""
    for path in (root / labels, Path(labels)):
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path.resolve().relative_to(root.resolve()).as_posix()
    if not Path(labels).is_file():
        raise errors.DatasetMissingError(
            where="--labels",
            expected="a table in the folder",
            found=f"no file {labels}, neither in {root} nor here",
            remedy="correct the path",
        )
    raise errors.UsageError(
        where="--labels",
        expected=f"a table inside {root}, so that folder and labels travel together",
        found=f"{labels}, which lies elsewhere",
        remedy=f"copy it there (cp {labels} {root}/), then name {Path(labels).name}",
    )


def _labelled(
    root: Path,
    labels: str,
    listing: Listing,
    wishes: recognise.Wishes,
    modality: str,
    label_maps: str,
    progress: samples.Progress,
) -> _Found:
    table = tables.read_table(root, labels)
    mapped = mapping.divide(listing, table, label_maps)
    if not mapped.images.items:
        raise _no_images(root, listing)
    recognised = recognise.recognise(table, mapped.images.items, wishes)
    keys = {**recognised.values, "on_unmatched": "list"}
    named = looking.named(mapped.images, table, keys)
    modalities = ranges.count_modalities(named)
    ranges.require_one(modalities)
    options = FolderOptions.model_validate(
        {"reader": "folder", "root": str(root), "labels": keys, "on_refused": "list"}
        | {"images": {"modality": modality}, "label_maps": mapped.folder}
        | ({"split": _column(recognised.split_column)} if recognised.split_column else {})
    )
    dataset, seen, (tokenizer, why) = looking.look(options, listing, modalities, progress)
    seen.refusals += mapping.faults(root, mapped, named, options)
    unmatched = any("without a" in remark for remark in dataset.remarks)
    policy = {} if unmatched else {"on_unmatched": "refuse"}
    data = {"reader": "folder", "root": str(root)}
    data |= {"on_refused": "list"} if seen.refusals else {}
    sizes, patches = _patches(mapped, seen)
    return _Found(
        dataset=dataset,
        seen=seen,
        data={**data, **({"label_maps": mapped.folder} if mapped.folder else {})},
        images={"modality": modality} if modality else {},
        labels={**keys, **policy},
        split=_column(recognised.split_column) if recognised.split_column else {},
        divide=None if recognised.split_column else _by_patient(dataset, root),
        reasons=(*mapped.reasons, *recognised.reasons, *why),
        tokenizer={**tokenizer, **sizes},
        patches=patches,
    )


def _patches(
    mapped: mapping.Mapped, seen: survey.Survey
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Keys of `[tokenizer]` and of its patches; none where no label map says where they are."""
    shapes = [kind.shape for kind in seen.kinds]
    return mapping.patch_keys(shapes) if mapped.folder else ({}, {})


def _column(name: str) -> dict[str, Any]:
    return {"method": "column", "column": name}


def _by_patient(dataset: samples.Dataset, root: Path) -> dividing.Divide:
    marks = dataset.marks or ()
    patients = [sample.patient for sample in dataset.samples]
    undivided = division.Undivided(
        task=dataset.task,
        keys=[sample.key for sample in dataset.samples],
        patients=patients,
        labels=[sample.label for sample in dataset.samples],
        pixel_digests=[mark.pixels for mark in marks],
        named=[""] * len(dataset.samples),
    )
    units = functools.cache(lambda: linked.link(patients, marks).units)

    def divide(options: LinkedSplitOptions) -> Sequence[samples.Split]:
        joined = undivided
        if options.keep_linked:
            joined = dataclasses.replace(undivided, patients=[units()[name] for name in patients])
        return division.divide(joined, FractionsOptions(**options.model_dump()), root)

    return divide


def _by_folders(root: Path, listing: Listing, progress: samples.Progress) -> _Found:
    """Classes by folders, where every image is a PNG or JPEG file in one."""
    keys = [item.key for item in listing.items]
    if not keys:
        raise _no_images(root, listing)
    is_plain = all(key.lower().endswith((".png", ".jpg", ".jpeg")) for key in keys)
    if not is_plain or any("/" not in key for key in keys):
        raise _no_labels(root)
    options = ImageFolderOptions(reader="image_folder", root=str(root))
    dataset = image_folder.ImageFolderReader(options, progress).read()
    mapping.require_no_masks(dataset.classes, keys)
    if len(dataset.classes) < 2:
        raise _no_labels(root)
    seen = survey.Survey()
    seen.watch(listing)
    for stored in dataset.images:
        seen.count(stored, "", ())
    is_divided = all(key.split("/")[0] in samples.SPLITS and key.count("/") > 1 for key in keys)
    return _Found(
        dataset=dataset,
        seen=seen,
        data={"reader": "image_folder", "root": str(root)},
        labels={},
        split={},
        divide=None if is_divided else _by_image(dataset),
        reasons=(
            f"classes: the {len(dataset.classes)} folders",
            "patients: folders do not name them, so that each image is taken for another patient; "
            "if that is wrong, write a table and name it with --labels",
        ),
    )


def _by_image(dataset: samples.Dataset) -> dividing.Divide:
    patients = [sample.patient for sample in dataset.samples]
    labels = [dataset.classes[int(sample.label[0])] for sample in dataset.samples]
    marks = functools.cache(lambda: list(fingerprints.take_all(dataset.images)))
    units = functools.cache(lambda: linked.link(patients, marks()).units)

    def divide(options: LinkedSplitOptions) -> Sequence[samples.Split]:
        joined = [units()[name] for name in patients] if options.keep_linked else patients
        chosen = image_folder.divide(joined, labels, options)
        return [chosen[name] for name in joined]

    return divide


def _content(found: _Found, chosen: dividing.Division, reasons: Sequence[str]) -> text.Content:
    dataset = found.dataset
    data = {**found.data, **({"allow_leaks": True} if chosen.leaks else {})}
    is_ranked = dataset.task != "multilabel" or dividing.is_ranked(dataset, chosen.listed)
    return text.Content(
        data=data,
        images=found.images,
        labels=found.labels,
        split=text.split_keys(chosen.options) if chosen.options else found.split,
        shapes=[kind.shape for kind in found.seen.kinds],
        tokenizer=found.tokenizer,
        patches=found.patches,
        task=dataset.task,
        is_ranked=is_ranked,
        num_training=sum(sample.split == "train" for sample in chosen.listed),
        reasons=reasons,
    )


def _reasons(found: _Found, chosen: dividing.Division) -> list[str]:
    reasons = []
    if found.seen.refusals:
        count = len(found.seen.refusals)
        reasons.append(f"{count} files or series cannot be used and are left out (on_refused)")
    reasons += found.dataset.remarks
    if chosen.leaks:
        reasons.append(f"{len(chosen.leaks)} leaks remain and are allowed; every report says so")
    return reasons


def _leaking(chosen: dividing.Division) -> errors.LeakError:
    refused = leak.refusal(chosen.leaks, chosen.listed)
    return errors.LeakError(
        where="every division by patient that was tried",
        expected=refused.expected,
        found=refused.found,
        remedy="mend the table or the folder, or call init with --allow-leaks; every report will "
        "then say so",
    )


def _no_images(root: Path, listing: Listing) -> errors.DatasetError:
    if listing.left_out:
        there = sorted({one.modality or "none" for one in listing.left_out})
        return errors.DatasetError(
            where=str(root),
            expected="images of the modality that --modality names",
            found=f"{len(listing.left_out)} files of other modalities: {', '.join(there)}",
            remedy="name one of these, or leave --modality out",
        )
    shown = "".join(f"\n  {one.key}: {one.reason}" for one in listing.refusals[:20])
    return errors.DatasetError(
        where=str(root),
        expected="images: DICOM, NIfTI, PNG, JPEG, TIFF, BMP, npy or npz",
        found=f"none, and {len(listing.refusals)} files that cannot be used{shown}",
        remedy="name the folder that holds the images",
    )


def _no_labels(root: Path) -> errors.DatasetError:
    """What is missing where folders are no classes, with the tables that lie there."""
    endings = (".csv", ".tsv", ".tab")
    there = sorted(
        (path.name for path in root.iterdir() if path.name.lower().endswith(endings)),
        key=os.fsencode,
    )
    named = f"the folder holds {', '.join(there[:5])}" if there else "for example labels.csv"
    return errors.DatasetError(
        where=str(root),
        expected="labels: a table, or PNG and JPEG images in one folder per class",
        found="images without either",
        remedy=f"name a table with a column for the image and one for its label by --labels "
        f"({named})",
    )


def require_text(path: Path) -> None:
    """Refuse a path that no configuration can hold.

    Raises:
        UsageError: It is not Unicode.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise errors.UsageError(
            where="the folder",
            expected="a path in UTF-8, which a configuration can name",
            found="other bytes",
            remedy="rename the folder",
        ) from error
