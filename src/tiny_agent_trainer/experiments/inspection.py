# SPDX-License-Identifier: Apache-2.0
"""One image on its way to the network: decoded, prepared, as tokens, augmented."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.experiments import pictures
from tiny_agent_trainer.experiments import prepare as parts_of
from tiny_agent_trainer.reports import inspection
from tiny_agent_trainer.reports.picture import Picture
from tiny_agent_trainer.tokenizer import cropping, statistics, tokenization
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.tokenizer.images import folder as images_folder
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.preparation import intensity, plan, prepare

_VERSIONS: Final = 4
"""Augmented versions that are shown."""

_PLANES: Final = ("first", "second", "third")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """Facts by their names, without identifiers, and the pictures in their order."""

    facts: dict[str, str]
    pictures: tuple[Picture, ...]


def inspect(path: Path, config: TrainerConfig) -> Inspected:
    """Follow one image, or the one volume that a folder holds, to the network's input.

    Mean and deviation come from the range of the type: the training split is not known here.

    Raises:
        DatasetMissingError: There is no such path.
        DatasetError: It cannot be decoded or prepared.
    """
    image = images_folder.read_path(path, parts_of.images_options(config))
    stored = _shown(image.values)
    steps = plan.build_plan(image, config.tokenizer, path.name)
    whole = prepare.prepare(image, config.tokenizer, path.name)[np.newaxis]
    patches = config.tokenizer.patches
    prepared = (
        cropping.centre_crops(whole, np.zeros(1, np.int64), patches) if patches.size else whole
    )
    ratios = np.array([steps.plane_ratio(image)])
    tokenization.require_square_pixels(config.tokenizer, ratios)
    normalization = statistics.half_range(prepared.dtype, prepared.shape[1])
    tokenizer = tokenization.build_tokenizer(
        config.tokenizer, prepared.shape[1:], prepared.dtype, normalization
    )
    tokens = tokenizer.encode(prepared)
    shown = [
        *_planes("decoded", np.moveaxis(stored, -1, 0)),
        *_planes("as the network sees it", tokenizer.decode(tokens)[0]),
        *_augmented(prepared, tokenizer, config, ratios),
    ]
    return Inspected(facts=_facts(image, stored, tokens, config), pictures=tuple(shown))


def _shown(values: npt.NDArray[Any]) -> npt.NDArray[np.integer]:
    """Decoded values as integers that can be drawn: wider ones from smallest to largest."""
    if values.dtype in (np.uint8, np.uint16, np.int16):
        return values
    low, high = float(values.min()), float(values.max())
    return intensity.apply_window(values, low, high if high > low else low + 1)


def write_inspection(inspected: Inspected, output: Path) -> None:
    """Write a page (`.html`) or a sheet (`.png`).

    Raises:
        UsageError: The name ends otherwise.
        StorageError: The disk refuses.
    """
    ending = output.suffix.lower()
    if ending not in (".html", ".png"):
        raise errors.UsageError(
            where="--output",
            expected="a name that ends in .html or .png",
            found=output.name,
            remedy="name the file accordingly",
        )
    encoded = (
        inspection.encode_page(inspected.facts, inspected.pictures)
        if ending == ".html"
        else inspection.encode_sheet(inspected.pictures)
    )
    durable.write_atomic(output, encoded)


def _planes(label: str, values_CS: npt.NDArray[np.integer]) -> Iterator[Picture]:
    """An image; of a volume the middle of each direction."""
    if values_CS.ndim == 3:
        yield _draw(label, values_CS)
        return
    for dim, name in enumerate(_PLANES, start=1):
        middle = np.take(values_CS, values_CS.shape[dim] // 2, axis=dim)
        yield _draw(f"{label}, middle of the {name} direction", middle)


def _draw(label: str, values_CS: npt.NDArray[np.integer]) -> Picture:
    pixels = pictures.to_bytes(pictures.middle(values_CS))
    return Picture(
        sample=0,
        label=label,
        predicted=None,
        probability=None,
        width=pixels.shape[1],
        height=pixels.shape[0],
        channels=pixels.shape[2],
        pixels=pixels.tobytes(),
    )


def _augmented(
    prepared: npt.NDArray[np.integer],
    tokenizer: tokenization.AbstractTokenizer,
    config: TrainerConfig,
    plane_ratios: npt.NDArray[np.float64],
) -> Iterator[Picture]:
    changes = augmentation.Augmentation(config.tokenizer.augmentation, config.engine.base_seed)
    if not changes.is_active:
        return
    for epoch in range(1, _VERSIONS + 1):
        words = changes.draw(epoch, np.zeros(1, np.int64))
        moved = changes.move(prepared, words, plane_ratios)
        tokens = changes.tint(tokenizer.encode(moved), words)
        stored = tokenizer.decode(tokens)[0]
        middle = stored if stored.ndim == 3 else stored[:, stored.shape[1] // 2]
        yield _draw(f"augmented, version {epoch}", middle)


def _facts(
    image: Image,
    stored: npt.NDArray[np.integer],
    tokens: npt.NDArray[np.float32],
    config: TrainerConfig,
) -> dict[str, str]:
    return {
        "Modality": image.modality or "unknown",
        "Decoder": image.decoder,
        "Size": " x ".join(map(str, stored.shape[:-1])) + f", {stored.shape[-1]} channels",
        "Type": image.values.dtype.name,
        "Values": f"{image.values.min()} to {image.values.max()}",
        "Spacing in mm": " x ".join(f"{edge:.6g}" for edge in image.spacing_mm) or "unknown",
        "Orientation": image.orientation or "unknown",
        "Remarks": "; ".join(image.remarks) or "none",
        "Network's input": f"{config.tokenizer.kind}, {' x '.join(map(str, tokens.shape[1:]))}, "
        f"{tokens.min():.4g} to {tokens.max():.4g} by the range of the type",
    }
