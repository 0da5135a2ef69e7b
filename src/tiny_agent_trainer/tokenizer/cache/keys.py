# SPDX-License-Identifier: Apache-2.0
"""What the key of a prepared image covers: everything that could make it another one."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, digests
from tiny_agent_trainer.config import section
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.preparation import prepare

VERSION: Final = 2
"""Of the form of entries and rows; another one finds nothing of this one."""

_DECODERS: Final = (
    "nibabel", "numpy", "pillow", "pydicom", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg",
    "pylibjpeg-rle", "python-gdcm",
)  # fmt: skip

_ROOMS: Final = ("images", "preparation", "cache", "leaks")


def of_image(files: Iterable[samples.SourceFile], made: str) -> str:
    """The key of one image, as 64 hexadecimal digits.

    Args:
        files: All that it is read from, in their order.
        made: How it is made of them: `of_making`.
    """
    return digests.sha256_hex("\n".join((made, *(file.sha256 for file in files))).encode())


def of_making(decoding: ImagesOptions, preparation: TokenizerSection, facts: str) -> str:
    """How images are made, the same for all of a dataset, as 64 hexadecimal digits.

    Args:
        decoding: How files are decoded.
        preparation: How an image is prepared.
        facts: Name and version of what is noted beside it.
    """
    options = section.semantic_values(decoding), of_preparation(preparation)
    return _digest("image", *options, facts, _makers())


def of_rows(images: Sequence[str], preparation: TokenizerSection) -> str:
    """The key of all images of a dataset, in their order, as 64 hexadecimal digits.

    Args:
        images: The key of each of them, or the digest of its pixels.
        preparation: How they are prepared.
    """
    return _digest("rows", list(images), of_preparation(preparation), _makers())


def of_headers(first: str) -> str:
    """The key of what is noted of a folder's DICOM files, as 64 hexadecimal digits.

    Args:
        first: SHA-256 of the first of them.
    """
    return _digest("headers", first, _makers())


def of_looks(first: str) -> str:
    """The key of what is noted of a dataset's images, as 64 hexadecimal digits.

    Args:
        first: The key of the first of them.
    """
    return _digest("looks", first)


def of_marks(label_maps: Iterable[samples.LabelMap], preparation: TokenizerSection) -> str:
    """The key of what the label maps of a dataset mark, as 64 hexadecimal digits.

    Args:
        label_maps: All of them, in their order.
        preparation: How they are prepared, and which class numbers are foreground.
    """
    read = [[one.file.sha256, one.pixels] for one in label_maps]
    above = preparation.patches.foreground_above
    return _digest("marks", read, of_preparation(preparation), above, _makers())


def of_preparation(options: TokenizerSection) -> canonical.JsonValue:
    """The options that change a prepared image, as JSON values."""
    values = section.semantic_values(options)
    return {name: values[name] for name in prepare.OPTIONS}


def _digest(*parts: canonical.JsonValue) -> str:
    return digests.sha256_hex(canonical.encode(["tiny-agent-trainer/prepared", VERSION, *parts]))


@functools.cache
def _makers() -> tuple[str, ...]:
    """Versions of decoders, and the digest of the source that decodes, prepares and notes."""
    found = []
    for name in _DECODERS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return (*found, _digest_source())


def _digest_source() -> str:
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    paths = [path for room in _ROOMS for path in (root / room).rglob("*.py")]
    paths += [root / "pixels.py", root / "marking.py"]
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
