# SPDX-License-Identifier: Apache-2.0
"""A folder of medical files of any format -> everything that it holds, found but not decoded."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.tokenizer import places, samples
from tiny_agent_trainer.tokenizer.images import arrays, image, nifti, raster, refusing, sources
from tiny_agent_trainer.tokenizer.images.dicom import files, reading, remembered, series

_DICOM_ENDINGS: Final = (".dcm", ".dicom", ".ima")
"""Endings that promise DICOM; files without them are recognised by their content."""

_ANALYZE: Final = (
    "a part of an Analyze 7.5 image or of NIfTI in two files, which often do not say where left "
    "and right are; convert both parts to one .nii or .nii.gz file, and check its sides"
)
_ZIPPED_DICOM: Final = "a gzipped DICOM file; unpack it with gunzip"
_KNOWN_OTHERS: Final = (
    ((".hdr", ".img", ".hdr.gz", ".img.gz"), _ANALYZE),
    (tuple(f"{ending}.gz" for ending in _DICOM_ENDINGS), _ZIPPED_DICOM),
)
"""Images that are not read here, by the ends of their names, with the way out."""

_FILE_LIMIT: Final = 10_000_000
"""Files below one root."""

_START_BYTES: Final = 256


def list_folder(
    root: Path,
    options: ImagesOptions,
    progress: samples.Progress = samples.silent,
    open_memory: remembered.OpenMemory | None = None,
) -> image.Listing:
    """Find every image and volume below a folder.

    Hidden files and folders, and files of other kinds, are left out; gzipped DICOM and Analyze
    images are refused. Links to folders are not
    followed.

    Args:
        root: The folder.
        options: How its files are to be decoded.
        progress: Told how far the search is.
        open_memory: What is known of DICOM files by their digests; None to digest none.

    Raises:
        DatasetMissingError: There is no such folder.
    """
    places.require_folder(root)
    found: list[series.Found] = []
    dicom: list[str] = []
    for done, key in enumerate(_walk(root, found), start=1):
        kind = _kind(root, key, found)
        if kind == "dicom":
            dicom.append(key)
        elif kind and options.modality:
            found.append(image.LeftOut(key=key, modality=""))
        elif kind:
            found.append(_item(root, key, kind, options))
        progress("looking at files", done, None)
    found += series.list_files(root, dicom, options, progress, open_memory)
    ordered = sorted(found, key=lambda one: os.fsencode(one.key))
    return image.Listing(
        items=tuple(one for one in ordered if isinstance(one, image.Item)),
        refusals=tuple(one for one in ordered if isinstance(one, image.Refusal)),
        left_out=tuple(one for one in ordered if isinstance(one, image.LeftOut)),
    )


def read_path(path: Path, options: ImagesOptions) -> image.Image:
    """Read one file, or a folder that holds exactly one image or volume.

    Raises:
        DatasetMissingError: There is no such path.
        DatasetError: It cannot be decoded, or the folder holds none or several.
    """
    if path.is_dir():
        return _only_item(list_folder(path, options), path.name).read()
    if not path.is_file():
        raise errors.DatasetMissingError(
            where=path.name,
            expected="a file or folder",
            found="no such path",
            remedy="correct the path",
        )
    faults: list[series.Found] = []
    kind = _kind(path.parent, path.name, faults)
    if faults or not kind:
        found = faults[0].reason if faults else "another kind of file"  # type: ignore[union-attr]
        raise refusing.refusal(path.name, "an image that can be read", found)
    return _readers(path.parent, path.name, options)[kind]()


def _only_item(listing: image.Listing, where: str) -> image.Item:
    if len(listing.items) != 1:
        reasons = "".join(f"; {one.key}: {one.reason}" for one in listing.refusals[:5])
        found = f"{len(listing.items)} images{reasons}"
        raise refusing.refusal(where, "a folder with one image or volume", found)
    return listing.items[0]


def _walk(root: Path, found: list[series.Found]) -> Iterator[str]:
    """Keys of plain files in byte order; others and links to folders become refusals."""
    waiting = [PurePosixPath()]
    seen = 0
    while waiting:
        folder = waiting.pop()
        for entry in _entries(root, folder, found):
            key = (folder / entry.name).as_posix()
            seen += 1
            if seen > _FILE_LIMIT:
                raise refusing.refusal(key, f"at most {_FILE_LIMIT} files", "more")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(folder / entry.name)
            elif entry.is_file():
                yield key
            else:
                reason = "a link to a folder or to nothing, or a special file; not followed"
                found.append(image.Refusal(key=key, reason=reason))


def _entries(
    root: Path, folder: PurePosixPath, found: list[series.Found]
) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        reason = f"a folder that cannot be listed: {error.strerror}"
        found.append(image.Refusal(key=folder.as_posix(), reason=reason))
        return ()
    return sorted(shown, key=lambda entry: os.fsencode(entry.name))


def _kind(root: Path, key: str, found: list[series.Found]) -> str:
    """What a file is; "" for other kinds and refused ones."""
    lower = key.lower()
    for kind, endings in (
        ("raster", raster.ENDINGS),
        ("nifti", nifti.ENDINGS),
        ("array", arrays.ENDINGS),
    ):
        if lower.endswith(endings):
            return kind
    try:
        if files.is_dicom(sources.read_start(root, key, _START_BYTES)):
            return "dicom"
    except errors.DatasetError as error:
        found.append(image.Refusal(key=key, reason=refusing.reason_of(error, key)))
        return ""
    others = (*_KNOWN_OTHERS, (_DICOM_ENDINGS, "no DICOM file, in spite of its ending"))
    reasons = (reason for endings, reason in others if lower.endswith(endings))
    found.extend(image.Refusal(key=key, reason=reason) for reason in reasons)
    return ""


def _item(root: Path, key: str, kind: str, options: ImagesOptions) -> series.Found:
    try:
        facts: Mapping[str, str] = {}
        if kind == "raster":
            facts = raster.facts_of(root, key)
        elif kind == "nifti":
            facts = nifti.facts_of(root, key, options.nifti)
        elif kind == "array":
            facts = arrays.facts_of(root, key)
    except errors.DatasetError as error:
        return image.Refusal(key=key, reason=refusing.reason_of(error, key))
    return image.Item(
        key=key,
        names={"file": key, "stem": stem_of(key)},
        facts=facts,
        read=_readers(root, key, options)[kind],
        paths=(key,),
    )


def _readers(
    root: Path, key: str, options: ImagesOptions
) -> Mapping[str, Callable[[], image.Image]]:
    return {
        "raster": functools.partial(raster.read_raster, root, key),
        "nifti": functools.partial(nifti.read_nifti, root, key, options.nifti),
        "array": functools.partial(arrays.read_array, root, key),
        "dicom": functools.partial(reading.read_file, root, key, options.dicom),
    }


def stem_of(key: str) -> str:
    """A file's name without its ending, of which ".nii.gz" is one."""
    name = PurePosixPath(key).name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else PurePosixPath(name).stem
