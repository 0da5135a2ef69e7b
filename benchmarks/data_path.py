# SPDX-License-Identifier: Apache-2.0
"""Reading DICOM cold, next to bare pydicom on the same core; listing, next to bare headers.

    python -m benchmarks.data_path [FOLDER] [PAIRS]

Without a folder, the phantom's studies are written and read. The peer of reading is the decoding
alone: `pydicom.dcmread` and `pixel_array`, without slope and intercept. Ours reads the same files,
hashes them, checks headers and bits, and gives display or Hounsfield values of 16 bits. Pairs run
in alternation on one core; medians and the ratio of rates are printed. Files that either side
cannot read are left out of both. `against_monai` and `warm_epoch` go on with the same files.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom

from benchmarks import against_monai, warm_epoch
from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import DicomPhantomOptions
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.tokenizer import dicom_phantom
from tiny_agent_trainer.tokenizer.images import folder
from tiny_agent_trainer.tokenizer.images.dicom import reading

_SINGLE = DicomOptions(volumes="never")


def main() -> None:
    """Print medians of both sides and their ratio."""
    named = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        for title, root in [("named", named)] if named else _phantoms(scratch):
            keys = _readable(root)
            if not keys:
                raise SystemExit(f"{root}: no DICOM file that both sides read")
            _measure(title, root, keys, pairs)
            against_monai.compare(root, keys, pairs)
            warm_epoch.share(root, keys, pairs)


def _phantoms(scratch: str) -> list[tuple[str, Path]]:
    """Radiographs of 512 pixels and slices of 256."""
    made = []
    for studies, size in (("radiographs", 512), ("volumes", 256)):
        options = DicomPhantomOptions.model_validate(
            {"reader": "dicom_phantom", "root": scratch, "studies": studies,
             "patients": 20, "images_per_patient": 1, "image_size": size}
        )  # fmt: skip
        made.append((f"{studies} {size}", dicom_phantom.DicomPhantomReader(options).place()))
    return made


def _readable(root: Path) -> list[str]:
    keys = []
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        if not path.is_file() or path.suffix.lower() not in (".dcm", ""):
            continue
        try:
            reading.read_file(root, key, _SINGLE)
            _bare(path)
        except (errors.DatasetError, AttributeError, ValueError, OSError, RuntimeError):
            continue
        except pydicom.errors.InvalidDicomError:
            continue
        keys.append(key)
    return keys


def _measure(title: str, root: Path, keys: Sequence[str], pairs: int) -> None:
    options = ImagesOptions(dicom=_SINGLE)
    read = _alternate(
        pairs,
        lambda: [reading.read_file(root, key, _SINGLE) for key in keys],
        lambda: [_bare(root / key) for key in keys],
    )
    listed = _alternate(
        pairs,
        lambda: folder.list_folder(root, options),
        lambda: [pydicom.dcmread(root / key, stop_before_pixels=True) for key in keys],
    )
    print(f"{title}: {len(keys)} files, medians of {pairs} pairs, one core")
    for name, (ours, peer) in (("reading", read), ("listing", listed)):
        scale = 1e3 / len(keys)
        print(
            f"{name}  ours {ours * scale:7.3f} ms/file   pydicom {peer * scale:7.3f} ms/file   "
            f"rate of ours to pydicom's {peer / ours:.2f}"
        )


def _bare(path: Path) -> np.ndarray:
    return pydicom.dcmread(path).pixel_array


def _alternate(
    pairs: int, ours: Callable[[], object], peer: Callable[[], object]
) -> tuple[float, float]:
    timed = [(_seconds(ours), _seconds(peer)) for _ in range(pairs)]
    first, second = zip(*timed, strict=True)
    return statistics.median(first), statistics.median(second)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
