# SPDX-License-Identifier: Apache-2.0
"""Volumes and their label maps: which belong together, and what is wrong between them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

from tiny_agent_trainer.tokenizer.images import image

AGREEMENT_MM: Final = 0.001
"""How far entries of two affines may lie apart; rounding to float32 moves them by less."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Images with their label maps, and everything that could not be paired, in byte order."""

    pairs: tuple[tuple[image.Item, image.Item], ...]
    faults: tuple[image.Refusal, ...]


def pair_label_maps(images: image.Listing, labels: image.Listing) -> Pairing:
    """Pair files of equal name without endings; nothing is decoded.

    Args:
        images: What the folder of images holds.
        labels: What the folder of label maps holds.

    Returns:
        The pairs whose shapes and places agree. A fault for every file without a partner, every
        name that stands twice, every pair that differs in shape or affine, and every refused file.
    """
    faults = [*images.refusals, *labels.refusals]
    named_images = _by_stem(images, "images", faults)
    named_labels = _by_stem(labels, "label maps", faults)
    pairs = []
    for stem in sorted(named_images.keys() | named_labels.keys(), key=str.encode):
        scan, label = named_images.get(stem), named_labels.get(stem)
        if scan is None or label is None:
            faults.append(_alone(scan, label))
        elif fault := _difference(scan.facts, label.facts):
            faults.append(image.Refusal(key=scan.key, reason=f"{fault} (label map {label.key})"))
        else:
            pairs.append((scan, label))
    ordered = sorted(faults, key=lambda fault: fault.key.encode())
    return Pairing(pairs=tuple(pairs), faults=tuple(ordered))


def _by_stem(
    listing: image.Listing, what: str, faults: list[image.Refusal]
) -> dict[str, image.Item]:
    found: dict[str, image.Item] = {}
    for item in listing.items:
        stem = item.names["stem"]
        if stem in found:
            reason = f"the same name as {found[stem].key} among the {what}"
            faults.append(image.Refusal(key=item.key, reason=reason))
        else:
            found[stem] = item
    return found


def _alone(scan: image.Item | None, label: image.Item | None) -> image.Refusal:
    if scan is not None:
        return image.Refusal(key=scan.key, reason="no label map of this name")
    key = label.key if label is not None else ""
    return image.Refusal(key=key, reason="a label map without an image of this name")


def _difference(scan: Mapping[str, str], label: Mapping[str, str]) -> str:
    """What differs between image and label map; "" if nothing does."""
    shapes = scan.get("shape", ""), label.get("shape", "")
    if shapes[0] != shapes[1]:
        return f"shape {shapes[0]}, but {shapes[1]} in the label map"
    affines = [_numbers(facts.get("affine", "")) for facts in (scan, label)]
    if len(affines[0]) != len(affines[1]):
        return "only one of image and label map has an affine"
    apart = max((abs(a - b) for a, b in zip(*affines, strict=True)), default=0.0)
    if not apart <= AGREEMENT_MM or math.isnan(apart):
        return f"affines up to {apart:.4g} mm apart"
    return ""


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]
