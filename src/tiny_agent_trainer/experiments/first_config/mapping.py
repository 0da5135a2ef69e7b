# SPDX-License-Identifier: Apache-2.0
"""Which folder holds the label maps of the volumes, and patches that are drawn around them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import FolderOptions
from tiny_agent_trainer.tokenizer import label_maps
from tiny_agent_trainer.tokenizer.images.image import Item, Listing, Refusal
from tiny_agent_trainer.tokenizer.labels import tables

_TELLING: Final = re.compile(r"(labels?|masks?|seg|segs|segmentations?|annotations?)([^a-z].*|tr)?")
"""Names of folders that hold label maps, such as labels, labelsTr and masks_2024."""

_LONGEST: Final = 128
"""Voxels along a dim that are kept; longer ones are resampled, so that volumes stay tractable."""
_PATCH: Final = 32
_STEP: Final = 8
_FRACTION: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A folder's images, and apart from them its label maps; `folder` is "" without any."""

    folder: str
    images: Listing
    label_maps: Listing
    reasons: tuple[str, ...]


def divide(listing: Listing, table: tables.Table, wished: str) -> Mapped:
    """Take label maps for what they are, where names leave no doubt.

    Label maps are NIfTI files below a folder of a telling name, called as volumes outside of it
    are, of which the table says nothing.

    Args:
        listing: What the folder holds.
        table: The table of labels.
        wished: The folder that the user named; "" to look for one.

    Raises:
        UsageError: Several folders could be meant.
        DatasetError: The folder that the user named holds nothing.
    """
    found = [wished.rstrip("/")] if wished else _candidates(listing, table)
    if len(found) > 1:
        raise errors.UsageError(
            where="the folder",
            expected="one folder of label maps",
            found=f"{len(found)} that could be meant: {', '.join(found)}",
            remedy=f"name one with --label-maps, such as --label-maps {found[0]}, and move the "
            "others out of the folder",
        )
    if not found:
        none = Listing(items=(), refusals=())
        return Mapped(folder="", images=listing, label_maps=none, reasons=())
    images, maps = label_maps.divide(listing, found[0])
    reason = (
        f"label maps: {len(maps.items)} files below {found[0]}"
        + ("" if wished else ", called as volumes elsewhere are")
        + "; training patches are drawn around what they mark, labels are those of the table"
    )
    return Mapped(folder=found[0], images=images, label_maps=maps, reasons=(reason,))


def faults(
    root: Path, mapped: Mapped, named: Sequence[Item], options: FolderOptions
) -> list[Refusal]:
    """What is wrong with pairs, but for images that the table does not name.

    Args:
        root: The folder.
        mapped: Its images and label maps.
        named: The images that the table names.
        options: How files are decoded.
    """
    if not mapped.folder:
        return []
    paired = label_maps.find(root, mapped.images.items, mapped.label_maps, options.images.nifti)
    unused = {item.key for item in mapped.images.items} - {item.key for item in named}
    listed = {refusal.key for refusal in mapped.label_maps.refusals}
    return [one for one in paired.faults if one.key not in unused | listed]


def names_label_maps(folder: str) -> bool:
    """Whether the name of a folder tells of label maps."""
    return _TELLING.fullmatch(folder.lower()) is not None


def require_no_masks(classes: Sequence[str], keys: Sequence[str]) -> None:
    """Refuse folders of pictures and of their masks that would be taken for classes.

    Raises:
        DatasetError: A folder of a telling name holds files that are called as those of another.
    """
    for name in classes:
        inside = {PurePosixPath(key).stem for key in keys if name in key.split("/")[:-1]}
        outside = {PurePosixPath(key).stem for key in keys if name not in key.split("/")[:-1]}
        if names_label_maps(name) and inside & outside:
            raise errors.DatasetError(
                where=name,
                expected="a folder of images of one class",
                found=f"{len(inside & outside)} files that are called as images elsewhere, which "
                "label maps are",
                remedy="name a table of labels by --labels, and keep maps in a folder of their own",
            )


def patch_keys(shapes: Sequence[tuple[int, ...]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys of `[tokenizer]` and of `[tokenizer.patches]`, so that no volume is cut.

    Args:
        shapes: Of the stored volumes, channels last.
    """
    longest = [max(lengths) for lengths in zip(*(shape[:-1] for shape in shapes), strict=True)]
    name = "resize" if max(longest) > _LONGEST else "size"
    whole = [min(-(-length // _STEP) * _STEP, _LONGEST) for length in longest]
    patch = [min(_PATCH, max(length // 2, 1)) for length in whole]
    keys: Mapping[str, Any] = {"size": patch, "foreground_fraction": _FRACTION}
    return {name: whole}, {**keys, "foreground_above": 0, "evaluation": "grid"}


def _candidates(listing: Listing, table: tables.Table) -> list[str]:
    volumes = [item for item in listing.items if item.facts.get("format") == "NIfTI"]
    by_folder: dict[str, list[Item]] = {}
    for item in volumes:
        by_folder.setdefault(_telling_folder(item.key), []).append(item)
    names = {item.names["stem"] for item in by_folder.pop("", [])}
    said = {cell for row in table.rows for cell in row.cells}
    return [
        folder
        for folder, items in by_folder.items()
        if any(item.names["stem"] in names for item in items)
        and not any(item.key in said for item in items)
    ]


def _telling_folder(key: str) -> str:
    """The first folder on the way to a file whose name tells of label maps; "" without one."""
    folder = PurePosixPath()
    for part in key.split("/")[:-1]:
        folder /= part
        if names_label_maps(part):
            return folder.as_posix()
    return ""
