# SPDX-License-Identifier: Apache-2.0
"""MedMNIST v2: official `.npz` files, known by the MD5 that their authors published.

A file is looked for in `[data] root`, then `$TINY_AGENT_TRAINER_DATA`, then the user's cache, and
fetched into the cache when it is in none of them. No file is used before its digest is checked.

Source:
    Yang et al., "MedMNIST v2", Scientific Data 10:41 (2023); Zenodo record 10519652.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import canonical, digests, errors
from tiny_agent_trainer.config.data import MedmnistOptions
from tiny_agent_trainer.tokenizer import download, places, samples

_PUBLISHER = "https://zenodo.org/records/10519652/files/"
ENVIRONMENT_VARIABLE = "TINY_AGENT_TRAINER_DATA"


@functools.cache
def listing() -> Mapping[str, Mapping[str, Any]]:
    """Every published set: task, classes, channels, dims, samples per split, files with MD5."""
    file = resources.files("tiny_agent_trainer.tokenizer") / "medmnist_files.json"
    return cast("Mapping[str, Mapping[str, Any]]", canonical.decode(file.read_bytes()))


@dataclasses.dataclass(frozen=True, slots=True)
class MedmnistReader:
    """Reader of one MedMNIST file."""

    options: MedmnistOptions
    progress: samples.Progress = samples.silent

    def read(self) -> samples.Dataset:
        """Find, fetch if need be, check and read the file.

        Raises:
            DatasetMissingError: Not on this machine and not to be fetched.
            DatasetError: An unknown set, or a file whose digest is not the published one.
        """
        about, file = self._published()
        path = self._find(file["name"]) or self._fetch(file)
        self._require_published(path, file["md5"])
        with np.load(path, allow_pickle=False) as arrays:
            parts = {split: _read_split(arrays, split, about) for split in samples.SPLITS}
        listed = [sample for part, _ in parts.values() for sample in part]
        return samples.Dataset(
            name=file["name"].removesuffix(".npz"),
            task=about["task"],
            classes=tuple(about["classes"]),
            dims=about["dims"],
            samples=listed,
            images=[image for _, images in parts.values() for image in images],
            files=(_source_file(path),),
        )

    def _published(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        sets = listing()
        about = sets.get(self.options.dataset)
        file = about["files"].get(str(self.options.size)) if about else None
        if about is None or file is None:
            sizes = ", ".join(about["files"]) if about else ""
            raise errors.DatasetError(
                where="[data] dataset, size",
                expected=f"one of {', '.join(sets)}" if about is None else f"a size of {sizes}",
                found=f"{self.options.dataset!r} at {self.options.size} pixels",
                remedy="choose a set and size that MedMNIST published",
            )
        return about, file

    def _places(self) -> list[Path]:
        named = [self.options.root, os.environ.get(ENVIRONMENT_VARIABLE, "")]
        return [Path(place) for place in named if place] + [places.user_cache()]

    def _find(self, name: str) -> Path | None:
        return next((place / name for place in self._places() if (place / name).is_file()), None)

    def _fetch(self, file: Mapping[str, str]) -> Path:
        target = places.user_cache() / file["name"]
        problem = "[data] download = false"
        if self.options.download:
            url = f"{_PUBLISHER}{file['name']}?download=1"
            problem = download.fetch(url, target, file["md5"], self.progress)
        if problem:
            raise errors.DatasetMissingError(
                where=f"MedMNIST {self.options.dataset}",
                expected=f"{file['name']} (MD5 {file['md5']})",
                found="no such file in "
                + ", ".join(str(place) for place in self._places())
                + f"; not fetched: {problem}",
                remedy=f"put {file['name']} from {_PUBLISHER}{file['name']} into one of them, "
                f"or name its directory with --data or ${ENVIRONMENT_VARIABLE}",
            )
        return target

    def _require_published(self, path: Path, expected_md5: str) -> None:
        with path.open("rb") as opened:
            found = hashlib.file_digest(
                opened, functools.partial(hashlib.md5, usedforsecurity=False)
            ).hexdigest()
        if found != expected_md5:
            raise errors.DatasetError(
                where=str(path),
                expected=f"the published file with MD5 {expected_md5}",
                found=f"MD5 {found} ({path.stat().st_size} bytes): "
                "the right name, but another, cut or damaged content",
                remedy="delete it and run again to fetch it, or put the published file there",
            )


def _source_file(path: Path) -> samples.SourceFile:
    return samples.SourceFile(
        path=path.name, size_bytes=path.stat().st_size, sha256=digests.sha256_file(path)
    )


def _read_split(
    arrays: Mapping[str, npt.NDArray[np.uint8]], split: samples.Split, about: Mapping[str, Any]
) -> tuple[list[samples.Sample], npt.NDArray[np.uint8]]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.ndim == about["dims"] + 1:
        images = images[..., None]
    listed = [
        samples.Sample(
            key=f"{split}/{index}",
            patient=f"{split}/{index}",
            label=tuple(int(value) for value in label),
            split=split,
        )
        for index, label in enumerate(labels)
    ]
    return listed, images
