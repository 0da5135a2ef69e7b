# SPDX-License-Identifier: Apache-2.0
"""The label maps of a folder's images: found below one folder, paired by name, read and checked."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import NiftiOptions
from tiny_agent_trainer.tokenizer import pixels, samples
from tiny_agent_trainer.tokenizer.images import nifti, pairing, refusing
from tiny_agent_trainer.tokenizer.images.image import Item, Listing, Refusal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Label maps by the keys of their images, and what is wrong with others, in byte order."""

    label_maps: Mapping[str, samples.LabelMap]
    faults: tuple[Refusal, ...]


def divide(listing: Listing, folder: str) -> tuple[Listing, Listing]:
    """The images of a listing, and the label maps: what lies below a folder of that name.

    Raises:
        DatasetError: Nothing lies there.
    """
    start = folder.removeprefix("./").rstrip("/") + "/"
    images, label_maps = (
        dataclasses.replace(
            listing,
            items=tuple(one for one in listing.items if one.key.startswith(start) is is_below),
            refusals=tuple(r for r in listing.refusals if r.key.startswith(start) is is_below),
        )
        for is_below in (False, True)
    )
    if not label_maps.items and not label_maps.refusals:
        raise errors.DatasetError(
            where="[data] label_maps",
            expected="a folder below `root` with label maps",
            found=f"no image below {start}",
            remedy="write the path of the folder, seen from `root`",
        )
    return images, label_maps


def find(root: Path, images: Sequence[Item], label_maps: Listing, options: NiftiOptions) -> Found:
    """Pair label maps with images and read each once.

    Args:
        root: Where keys begin.
        images: All images of the folder; those that nobody trains on too.
        label_maps: What lies in the folder of label maps.
        options: How NIfTI files are decoded.
    """
    scans = _volumes(Listing(items=tuple(images), refusals=()), "no NIfTI image, and has no map")
    paired = pairing.pair_label_maps(scans, _volumes(label_maps, "no NIfTI label map"))
    found, faults = {}, list(paired.faults)
    for scan, label in paired.pairs:
        try:
            found[scan.key] = _read(root, label.key, options)
        except errors.DatasetError as error:
            reason = refusing.reason_of(error, label.key)
            faults.append(Refusal(key=label.key, reason=reason))
    ordered = sorted(faults, key=lambda fault: fault.key.encode())
    return Found(label_maps=found, faults=tuple(ordered))


def _volumes(listing: Listing, reason: str) -> Listing:
    """NIfTI files of a listing, which alone say their grid before they are decoded."""
    is_nifti = [item.facts.get("format") == "NIfTI" for item in listing.items]
    pairs = list(zip(listing.items, is_nifti, strict=True))
    others = tuple(Refusal(key=item.key, reason=reason) for item, is_one in pairs if not is_one)
    return Listing(
        items=tuple(item for item, is_one in pairs if is_one),
        refusals=(*listing.refusals, *others),
    )


def _read(root: Path, key: str, options: NiftiOptions) -> samples.LabelMap:
    read = functools.partial(nifti.read_label_map, root, key, options)
    image = read()
    (file,) = image.files
    return samples.LabelMap(pixels=pixels.digest_pixels(image.values), file=file, read=read)
