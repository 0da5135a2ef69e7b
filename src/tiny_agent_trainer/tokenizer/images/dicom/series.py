# SPDX-License-Identifier: Apache-2.0
"""Files -> series -> what can be read: single images, multi-frame files and volumes."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.images import image, orientation, refusing
from tiny_agent_trainer.tokenizer.images.dicom import (
    directory,
    geometry,
    headers,
    reading,
    remembered,
    resample,
)

Found = image.Item | image.Refusal | image.LeftOut


def list_files(
    root: Path,
    keys: Sequence[str],
    options: ImagesOptions,
    progress: samples.Progress,
    open_memory: remembered.OpenMemory | None = None,
) -> Iterator[Found]:
    """Say what the DICOM files below a root hold; their pixels are not decoded.

    Args:
        root: Where keys begin.
        keys: Of files that look like DICOM, in byte order.
        options: Which of them are taken, and what becomes a volume.
        progress: Told after every header.
        open_memory: What is known of files by their digests; None to digest none.
    """
    read = remembered.Headers(root, open_memory)
    by_series: dict[str, list[headers.Header]] = {}
    for done, key in enumerate(keys, start=1):
        try:
            with refusing.silence():
                header = read.read(key)
            if header is None:
                yield from directory.missing_files(root, key)
            elif options.modality not in ("", header.modality):
                yield image.LeftOut(key=key, modality=header.modality)
            else:
                by_series.setdefault(header.series or key, []).append(header)
        except errors.DatasetError as error:
            yield image.Refusal(key=key, reason=refusing.reason_of(error, key))
        progress("reading DICOM headers", done, len(keys))
    read.close()
    for members in by_series.values():
        for found in _list_series(root, members, options.dicom):
            yield _with_digests(found, read.files)


def _with_digests(found: Found, digested: Mapping[str, samples.SourceFile]) -> Found:
    if not digested or not isinstance(found, image.Item):
        return found
    return dataclasses.replace(found, files=tuple(digested[key] for key in found.paths))


def _list_series(
    root: Path, members: Sequence[headers.Header], options: DicomOptions
) -> Iterator[Found]:
    usable = []
    for header in members:
        if header.is_localiser and options.volumes != "never":
            reason = "a localiser, by (0008,0008) ImageType; no image of a study"
            yield image.Refusal(key=header.key, reason=reason)
        elif len(header.planes) > 1:
            yield _multi_frame(root, header, options)
        else:
            usable.append(header)
    if _is_volume(usable, options):
        yield from _list_volumes(root, usable, options)
    else:
        for header in usable:
            yield _file_item(root, header, options)


def _multi_frame(root: Path, header: headers.Header, options: DicomOptions) -> Found:
    """The item of a multi-frame file, unless its frames are none that can be read."""
    try:
        chosen = headers.chosen_frames(header, options)
        planes = [plane for plane in header.planes if plane is not None]
        if len(chosen) == 1:
            return _file_item(root, header, options)
        facts = _grid_facts(planes, header.key, options)
    except errors.DatasetError as error:
        return image.Refusal(key=header.key, reason=refusing.reason_of(error, header.key))
    return dataclasses.replace(
        _file_item(root, header, options), facts={**_facts(header), "files": "1", **facts}
    )


def _is_volume(members: Sequence[headers.Header], options: DicomOptions) -> bool:
    if options.volumes != "auto":
        return options.volumes == "always" and bool(members)
    return len(members) > 1 and members[0].modality in headers.QUANTITATIVE


def _list_volumes(
    root: Path, members: Sequence[headers.Header], options: DicomOptions
) -> Iterator[Found]:
    """One volume for each orientation and shape of a series, or why there is none."""
    absent = [header for header in members if header.planes[0] is None]
    if absent:
        reason = f"a series of {len(members)} files, {len(absent)} of them without a place: "
        yield image.Refusal(key=members[0].key, reason=f"{reason}missing {absent[0].missing}")
        return
    groups = _group(members)
    if len(groups) > 1 and min(map(len, groups)) == 1:
        reason = (
            f"mixed orientation or size: {len(members)} files in {len(groups)} directions or "
            "sizes, some with one file only; no volume"
        )
        yield image.Refusal(key=members[0].key, reason=reason)
        return
    for group in groups:
        try:
            yield _volume_item(root, group, options)
        except errors.DatasetError as error:
            reason = refusing.reason_of(error, group[0].key)
            yield image.Refusal(key=group[0].key, reason=reason)


def _plane(header: headers.Header) -> geometry.Plane:
    plane = header.planes[0]
    if plane is None:
        raise refusing.refusal(header.key, "a place in the patient", f"missing {header.missing}")
    return plane


def _group(members: Sequence[headers.Header]) -> list[list[headers.Header]]:
    groups: list[list[headers.Header]] = []
    for header in members:
        for group in groups:
            is_equal_size = group[0].layout.is_as_large_as(header.layout)
            if is_equal_size and geometry.is_parallel(_plane(group[0]), _plane(header)):
                group.append(header)
                break
        else:
            groups.append([header])
    return groups


def _volume_item(root: Path, group: Sequence[headers.Header], options: DicomOptions) -> image.Item:
    first = group[0]
    if len(group) < 2:
        raise refusing.refusal(first.key, "two or more slices", "one, whose depth nobody knows")
    facts = _grid_facts([_plane(header) for header in group], first.key, options)
    keys = tuple(header.key for header in group)
    return image.Item(
        key=first.key,
        names={**_names(first), "sop_uid": ""},
        facts={**_facts(first), "files": str(len(group)), **facts},
        read=functools.partial(reading.read_series, root, keys, options),
        paths=keys,
    )


def _grid_facts(
    planes: Sequence[geometry.Plane], key: str, options: DicomOptions
) -> Mapping[str, str]:
    """What is known of a volume before it is decoded.

    Raises:
        DatasetError: The planes make none.
    """
    stack = resample.stack_of(planes, key, may_resample=options.on_irregular == "resample")
    spacing = (stack.step_mm, *planes[0].spacing_mm)
    letters = orientation.letters_of(
        (planes[0].normal, planes[0].along_column, planes[0].along_row)
    )
    return {
        "slices": str(len(planes)),
        "spacing_mm": " x ".join(f"{edge:.6g}" for edge in spacing),
        "orientation": letters,
    }


def _file_item(root: Path, header: headers.Header, options: DicomOptions) -> image.Item:
    plane = header.planes[0]
    spacing = plane.spacing_mm if plane else ()
    facts = {
        "files": "1",
        "frames": str(len(header.planes)),
        "spacing_mm": " x ".join(f"{edge:.6g}" for edge in spacing),
    }
    return image.Item(
        key=header.key,
        names=_names(header),
        facts={**_facts(header), **facts},
        read=functools.partial(reading.read_file, root, header.key, options),
        paths=(header.key,),
    )


def _names(header: headers.Header) -> Mapping[str, str]:
    return {"file": header.key, "stem": PurePosixPath(header.key).stem, **header.names}


def _facts(header: headers.Header) -> Mapping[str, str]:
    return {
        "format": "DICOM",
        "modality": header.modality,
        "rows": str(header.layout.rows),
        "columns": str(header.layout.columns),
    }
