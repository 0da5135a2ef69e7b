# SPDX-License-Identifier: Apache-2.0
"""Epochs over images from DICOM files, next to MONAI's caches of what it prepared.

All sides read the same files, scale each from its smallest to its largest value and bring it to 64
pixels by area, and deliver batches of tensors. `cold` begins with nothing and ends with one epoch;
`warm` is one more epoch; `next run` begins with what a cold one left on the disk (`CacheDataset`
leaves nothing). Ours lists the folder, digests every file, looks for leaks and divides the
patients, and does so again in the next run; MONAI is given a list of paths, and takes a file that
it prepared for what is there now.
"""

import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset, PersistentDataset
from monai.data.image_reader import PydicomReader
from monai.transforms.compose import Compose
from monai.transforms.intensity.array import ScaleIntensity
from monai.transforms.io.array import LoadImage
from monai.transforms.spatial.array import Resize
from monai.transforms.utility.array import EnsureChannelFirst, EnsureType
from torch.utils.data import Dataset

from benchmarks import prepared_study
from tiny_agent_trainer.experiments import prepare

_BATCH = 16
_COLD_PAIRS = 5


def compare(source: Path, keys: Sequence[str], pairs: int) -> None:
    """Print medians of all sides and how many times longer MONAI's take."""
    torch.set_num_threads(1)
    steps = _steps()
    with tempfile.TemporaryDirectory() as scratch:
        usable = [key for key in keys if _is_alike(steps, source / key)]
        study = prepared_study.Study(source, usable, Path(scratch) / "study")
        paths = [os.fspath(path) for path in study.paths]
        print(f"epochs at {prepared_study.EDGE} pixels: {len(paths)} files, one core")
        persistent = _Monai(lambda cache: PersistentDataset(paths, steps, cache), Path(scratch))
        cached = _Monai(
            lambda _: CacheDataset(paths, steps, num_workers=None, progress=False), Path(scratch)
        )
        sides = (_Ours(study), persistent, cached)
        for side in sides:  # what a process loads and compiles once is nobody's
            side.cold()
        _print("cold", [side.cold for side in sides], len(paths), min(pairs, _COLD_PAIRS))
        _print("warm", [side.warm for side in sides], len(paths), pairs)
        runs = [side.next_run for side in sides[:2]]
        _print("next run", runs, len(paths), pairs)


class _Ours:
    """The reader of folders, its store and its batches."""

    def __init__(self, study: prepared_study.Study) -> None:
        self._study, self._number = study, 0
        self._data: prepare.PreparedData | None = None

    def cold(self) -> None:
        self._number += 1
        self.next_run()

    def next_run(self) -> None:
        self._data = self._study.read(self._study.scratch / f"cache{self._number}")
        self.warm()

    def warm(self) -> None:
        if self._data is None:
            raise RuntimeError("warm before cold")
        feed = self._data.feed
        every = np.arange(len(feed.cohort.labels))
        for start in range(0, len(every), _BATCH):
            torch.from_numpy(feed.plain_batch(every[start : start + _BATCH]).inputs)


class _Monai:
    """One of MONAI's datasets, which keeps what it prepared, and its loader.

    Args:
        build: The dataset with a directory for its files.
        scratch: Where the directories are made, a new one for each cold start.
    """

    def __init__(self, build: Callable[[Path], Dataset[Any]], scratch: Path) -> None:
        self._build, self._scratch, self._number = build, scratch, 0
        self._dataset: Dataset[Any] | None = None

    def cold(self) -> None:
        self._number += 1
        self.next_run()

    def next_run(self) -> None:
        self._dataset = self._build(self._scratch / f"monai{self._number}")
        self.warm()

    def warm(self) -> None:
        if self._dataset is None:
            raise RuntimeError("warm before cold")
        for _ in DataLoader(self._dataset, batch_size=_BATCH):
            pass


def _steps() -> Compose:
    with contextlib.redirect_stdout(io.StringIO()):
        reader = PydicomReader()
    return Compose(
        [
            LoadImage(reader=reader, image_only=True),
            EnsureChannelFirst(),
            ScaleIntensity(),
            Resize((prepared_study.EDGE, prepared_study.EDGE), mode="area"),
            EnsureType(track_meta=False),
        ]
    )


def _is_alike(steps: Compose, path: Path) -> bool:
    """Whether MONAI reads a file as one gray image, as ours does."""
    try:
        found = steps(os.fspath(path))
    except Exception:  # noqa: BLE001 (whatever its reader stumbles over is left out on both sides)
        return False
    return tuple(found.shape) == (1, prepared_study.EDGE, prepared_study.EDGE)


def _print(what: str, sides: Sequence[Callable[[], None]], count: int, pairs: int) -> None:
    timed = [[_seconds(side) for side in sides] for _ in range(pairs)]
    ours, *peers = (statistics.median(times) for times in zip(*timed, strict=True))
    names = ("PersistentDataset", "CacheDataset")
    listed = "   ".join(
        f"{name} {peer * 1e3 / count:7.3f} ms/file ({peer / ours:.2f} times ours)"
        for name, peer in zip(names, peers, strict=False)
    )
    print(f"{what:9} ours {ours * 1e3 / count:7.3f} ms/file   {listed}", flush=True)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
