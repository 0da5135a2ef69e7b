# SPDX-License-Identifier: Apache-2.0
"""Files -> pixels -> values -> `Image`: single images, multi-frame files and series."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from tiny_agent_trainer.config.images import DicomOptions
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.images import image, orientation, refusing, sources
from tiny_agent_trainer.tokenizer.images.dicom import (
    colour,
    decode,
    enhanced,
    files,
    geometry,
    grayscale,
    headers,
    privacy,
    resample,
    tags,
    uptake,
    windows,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One decoded frame.

    Attributes:
        values: Shape (rows, columns, channels): RGB, or gray in its unit.
        padding: Which pixels are padding; None when none can be.
        voi: The window of a frame that is to be shown.
        is_inverted: Whether small values are white.
        plane: Its place in the patient.
    """

    values: npt.NDArray[Any]
    padding: npt.NDArray[np.bool_] | None
    voi: windows.Voi | None
    is_inverted: bool
    plane: geometry.Plane | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """Some frames of one file; `factor` brought its values to standardised uptake values."""

    header: headers.Header
    frame: enhanced.Frame
    parts: tuple[_Part, ...]
    decoder: str
    remarks: tuple[str, ...]
    file: samples.SourceFile
    factor: float


def read_file(root: Path, key: str, options: DicomOptions) -> image.Image:
    """Read one file: an image, or the volume that its frames make.

    Raises:
        DatasetError: It cannot be decoded; or its frames neither make a volume nor is one chosen.
    """
    with refusing.silence():
        loaded = _load(root, key, options)
        is_volume = options.volumes == "always" and len(loaded.header.planes) == 1
        if len(loaded.parts) > 1 or is_volume:
            return _volume([loaded], options)
        return _flat(loaded, options)


def read_series(root: Path, keys: Sequence[str], options: DicomOptions) -> image.Image:
    """Read the files of a series as one volume, shape (slices, rows, columns, channels).

    Raises:
        DatasetError: A file cannot be decoded, or they are not one regular grid.
    """
    with refusing.silence():
        loaded: list[_Loaded] = []
        for key in keys:
            loaded.append(_load(root, key, options))
            sources.require_values(key, loaded[0].parts[0].values.size * len(keys))
        return _volume(loaded, options)


def _load(root: Path, key: str, options: DicomOptions) -> _Loaded:
    data, file = sources.read(root, key)
    dataset = files.decode(data, key)
    headers.require_image(dataset, key)
    frames = enhanced.frames_of(dataset, key)
    header = headers.of(dataset, frames, key)
    chosen = headers.chosen_frames(header, options)
    is_uptake = _is_uptake(header, options)
    factor = uptake.factor_of(files.decode_uptake(data, key), key) if is_uptake else 1.0
    decoded = decode.decode_frames(dataset, header.layout, key, chosen)
    parts = tuple(
        _part(stored, decoded, frames[index], header.planes[index], header, options, factor)
        for stored, index in zip(decoded.stored, chosen, strict=True)
    )
    return _Loaded(
        header=header,
        frame=frames[chosen[0]],
        parts=parts,
        decoder=decoded.decoder,
        remarks=(*decoded.remarks, *_remarks(dataset, parts, header, is_uptake=is_uptake)),
        file=file,
        factor=factor,
    )


def _is_uptake(header: headers.Header, options: DicomOptions) -> bool:
    """Whether values are to be standardised uptake values."""
    is_pet = header.modality == "PT" and not headers.is_display(header.modality, options)
    return is_pet and options.pet == "suv"


def _part(
    stored: npt.NDArray[Any],
    decoded: decode.Frames,
    frame: enhanced.Frame,
    plane: geometry.Plane | None,
    header: headers.Header,
    options: DicomOptions,
    factor: float,
) -> _Part:
    photometric = decoded.photometric
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        rgb = colour.to_rgb(stored, photometric, frame.dataset, header.key)
        return _Part(values=rgb, padding=None, voi=None, is_inverted=False, plane=plane)
    if stored.ndim != 2:
        raise refusing.refusal(header.key, "one sample per gray pixel", f"{stored.shape[-1]}")
    values = grayscale.quantify(stored, frame, header.layout, factor)
    voi = None
    if headers.is_display(header.modality, options):
        is_signed = bool(values.min() < 0) or header.layout.is_signed
        voi = windows.voi_of(frame, options.voi_index, is_signed=is_signed)
    return _Part(
        values=values[..., None],
        padding=_padding(stored, frame),
        voi=voi,
        is_inverted=photometric == "MONOCHROME1",
        plane=plane,
    )


def _padding(stored: npt.NDArray[Any], frame: enhanced.Frame) -> npt.NDArray[np.bool_] | None:
    """Pixels that no one measured (PS3.3 C.7.5.1.1.2); None when the file names no such value."""
    value = tags.integers(frame.dataset, "PixelPaddingValue", frame.key)
    limit = tags.integers(frame.dataset, "PixelPaddingRangeLimit", frame.key)
    if len(value) != 1:
        return None
    low, high = sorted((value[0], limit[0] if len(limit) == 1 else value[0]))
    found: npt.NDArray[np.bool_] = stored == low
    if low != high:
        found = (stored >= low) & (stored <= high)
    return found[..., None] if found.any() else None


def _remarks(
    dataset: pydicom.Dataset, parts: Sequence[_Part], header: headers.Header, *, is_uptake: bool
) -> list[str]:
    found = []
    if any(part.padding is not None for part in parts):
        found.append("pixel padding (0028,0120)")
    if tags.text(dataset, "BurnedInAnnotation", header.key) == "YES":
        found.append(privacy.BURNED_IN)
    if is_uptake:
        found.append("standardised uptake values by body weight, in g/ml")
    elif header.modality == "PT":
        unit = tags.text(dataset, "Units", header.key)
        is_plain = unit.isascii() and unit.isalnum() and len(unit) <= 16
        found.append(f"values in {unit if is_plain else 'an unknown unit'}, not made SUV")
    return found


def _flat(loaded: _Loaded, options: DicomOptions) -> image.Image:
    values, shown = _finished(loaded.parts, loaded.header, options)
    spacing, spacing_remark = headers.flat_spacing(loaded.frame.dataset, loaded.frame)
    return _image([loaded], values[0], spacing, "", (*shown, spacing_remark))


def _volume(loaded: Sequence[_Loaded], options: DicomOptions) -> image.Image:
    key = loaded[0].header.key
    parts = [part for one in loaded for part in one.parts]
    planes = [part.plane for part in parts if part.plane is not None]
    if len(planes) != len(parts) or len(parts) < 2:
        found = f"{len(parts)} slices; missing: {loaded[0].header.missing or 'none'}"
        raise refusing.refusal(key, "two or more slices with their places", found)
    if len({part.values.shape for part in parts}) > 1:
        raise refusing.refusal(key, "slices of one shape", "several shapes")
    uptake.require_alike([one.factor for one in loaded], key)
    stack = resample.stack_of(planes, key, may_resample=options.on_irregular == "resample")
    finished, shown = _finished(parts, loaded[0].header, options)
    slices = _of_one_type([finished[index] for index in stack.order])
    remarks = shown
    if stack.irregular:
        volume = resample.to_regular(slices, stack, planes[0].spacing_mm, key)
        remarks = (*shown, resample.remark(stack))
    else:
        volume = np.stack(slices)
    first = planes[0]
    letters = orientation.letters_of((first.normal, first.along_column, first.along_row))
    spacing = (stack.step_mm, *first.spacing_mm)
    return _image(loaded, volume, spacing, letters, remarks)


def _of_one_type(slices: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """All as the widest type of any: int16, int32, float32; a slope of its own may ask for it."""
    names = {one.dtype.name for one in slices}
    widest = next((name for name in ("float32", "int32") if name in names), "")
    return [one.astype(widest) if widest else one for one in slices]


def _finished(
    parts: Sequence[_Part], header: headers.Header, options: DicomOptions
) -> tuple[list[npt.NDArray[Any]], tuple[str, ...]]:
    """Values as they are wanted, and what the record says of them."""
    if parts[0].values.shape[-1] == 3:
        return [part.values for part in parts], ()
    if not headers.is_display(header.modality, options):
        return [part.values for part in parts], ("quantitative values",)
    low, high = (0.0, 0.0) if all(part.voi for part in parts) else _range_of(parts)
    finished, names = [], dict[str, None]()
    for part in parts:
        show = part.voi.show if part.voi else windows.full_range(low, high)
        shown = show(part.values)
        if part.is_inverted:
            shown = windows.invert(shown)
        if part.padding is not None:
            shown = np.where(part.padding, np.uint16(0), shown)
        finished.append(shown)
        names[part.voi.name if part.voi else "no window, smallest to largest value"] = None
    listed = list(names)
    more = f" and {len(listed) - 1} others" if len(listed) > 1 else ""
    return finished, (f"display values: {listed[0]}{more}",)


def _range_of(parts: Sequence[_Part]) -> tuple[float, float]:
    """The smallest and the largest value of an image or volume, padding left out."""
    lows, highs = [], []
    for part in parts:
        kept = part.values if part.padding is None else part.values[~part.padding]
        if kept.size:
            lows.append(float(kept.min()))
            highs.append(float(kept.max()))
    return (min(lows), max(highs)) if lows else (0.0, 0.0)


def _image(
    loaded: Sequence[_Loaded],
    values: npt.NDArray[Any],
    spacing: tuple[float, ...],
    letters: str,
    remarks: Sequence[str],
) -> image.Image:
    first = loaded[0]
    said = [*remarks, *(remark for one in loaded for remark in one.remarks)]
    return image.Image(
        values=np.ascontiguousarray(values),
        spacing_mm=spacing,
        orientation=letters
        or headers.flat_orientation(first.frame.dataset, first.parts[0].plane, first.header.key),
        modality=first.header.modality,
        decoder=", ".join(sorted({one.decoder for one in loaded})),
        files=tuple(one.file for one in loaded),
        remarks=tuple(dict.fromkeys(filter(None, said))),
    )
