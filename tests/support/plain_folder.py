# SPDX-License-Identifier: Apache-2.0
"""A folder of `.npy` files and a table: what a folder reader needs, without a decoder."""

import hashlib
import sys
import types
from pathlib import Path

import numpy as np

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.images.image import Image, Item, Listing, Refusal
from tiny_agent_trainer.tokenizer.samples import SourceFile

MODULE = "tiny_agent_trainer.tokenizer.images.folder"


def read(path, key):
    content = path.read_bytes()
    if not content:
        raise errors.DatasetError(
            where=key, expected="an array", found="nothing", remedy="bring the file back"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    file = SourceFile(path=key, size_bytes=len(content), sha256=sha256)
    remarks = ("lossy compression",) if key.startswith("lossy") else ()
    values = np.load(path, allow_pickle=False)
    return Image(values=values, files=(file,), decoder="numpy", remarks=remarks)


def item_of(root, path):
    key = path.relative_to(root).as_posix()
    names = {"file": key, "stem": path.stem}
    if "_" in path.stem:
        names["patient_id"] = path.stem.split("_")[0]
    return Item(key=key, names=names, facts={}, read=lambda: read(path, key), paths=(key,))


def list_folder(root, options, progress, open_notes=None):
    del options, open_notes
    paths = sorted(root.rglob("*.npy"), key=lambda path: path.as_posix().encode())
    progress("looking at files", len(paths), len(paths))
    bad = tuple(
        Refusal(key=path.relative_to(root).as_posix(), reason="not an image")
        for path in sorted(root.rglob("*.bad"))
    )
    return Listing(items=tuple(item_of(root, path) for path in paths), refusals=bad)


def install(monkeypatch):
    """Let every folder reader find images in this way."""
    module = types.ModuleType(MODULE)
    module.list_folder = list_folder
    monkeypatch.setitem(sys.modules, MODULE, module)


def write(root: Path, images, header, rows, name="labels.csv"):
    """Arrays by file name, and a table beside them."""
    for key, values in images.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows)]
    (root / name).write_text("".join(f"{line}\n" for line in lines))


def pictures(count, edge=20, seed=0, dtype=np.uint8):
    """Noise: no two of them are alike."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, edge, edge, 1)).astype(dtype)
