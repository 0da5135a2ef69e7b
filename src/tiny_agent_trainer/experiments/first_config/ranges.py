# SPDX-License-Identifier: Apache-2.0
"""Which range of values images share, so that they can stand in one array."""

import collections
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.first_config import survey
from tiny_agent_trainer.tokenizer.images.dicom import headers
from tiny_agent_trainer.tokenizer.images.image import Item

Chosen = tuple[Mapping[str, Any], tuple[str, ...]]
"""Keys of `[tokenizer]`, and why, one sentence each."""

_SUV: Final = (0.0, 20.0)
"""In g/ml. Lesions and organs lie within; a full bladder, which may lie above, becomes white."""

_HOUNSFIELD: Final = (-1024.0, 3071.0)
"""What 12 bits of a scanner hold; metal beyond becomes white."""

NIFTI: Final = "NIfTI"
"""What stands for the modality of files that never say one."""

_NOTHING: Final[Chosen] = ({}, ())


def of_modality(modalities: Collection[str]) -> Chosen:
    """What is known before an image is read: PET is in SUV, which are fractions."""
    if set(modalities) != {"PT"}:
        return _NOTHING
    reason = f"PET: standardised uptake values from {_SUV[0]:g} to {_SUV[1]:g} become 0 to 65535"
    return {"intensity": "window", "window": list(_SUV)}, (reason,)


def of_fractions(modalities: Collection[str]) -> Chosen:
    """For values that are no integers of at most 16 bits, or are of several types.

    CT has a unit; elsewhere only the order of values within each image means something.
    """
    if set(modalities) == {"CT"}:
        low, high = _HOUNSFIELD
        reason = f"CT in fractions: Hounsfield units from {low:g} to {high:g} become 0 to 65535"
        return {"intensity": "window", "window": [low, high]}, (reason,)
    reason = (
        "values are fractions, beyond 16 bits or of several types: of each image its percentiles "
        "0.5 to 99.5 become 0 to 65535, then the mean and deviation of the training split are "
        "taken off, as is usual for MR (intensity)"
    )
    return {"intensity": "percentile"}, (reason,)


def count_modalities(items: Iterable[Item]) -> Mapping[str, int]:
    """Images of each modality; of NIfTI files as `NIFTI`, of others "" when unknown."""
    return collections.Counter(
        NIFTI if item.facts.get("format") == "NIfTI" else item.facts.get("modality", "")
        for item in items
    )


def have_no_unit(modalities: Collection[str]) -> bool:
    """Whether values of images may be compared within an image alone: MR, and NIfTI files."""
    return set(modalities) <= {"MR", NIFTI}


def require_one(counts: Mapping[str, int]) -> None:
    """Refuse to mix images whose values mean different things.

    Args:
        counts: As `count_modalities` gives them.

    Raises:
        UsageError: There are several, one of which is measured in a unit.
    """
    named = {
        name: counts[name] for name in sorted(counts) if name not in ("", NIFTI) or "PT" in counts
    }
    measured = [name for name in named if name in headers.QUANTITATIVE]
    if len(named) < 2 or not measured:
        return
    raise errors.UsageError(
        where="the images",
        expected="images of one modality, whose values mean the same",
        found=", ".join(f"{count} of {name or 'none'}" for name, count in named.items()),
        remedy="choose one of them with --modality, such as "
        + " or ".join(f"--modality {name}" for name in measured),
    )


def one_range(seen: survey.Survey) -> Chosen:
    """One range for displays of 8 and 16 bits; nothing where all images have one type.

    Raises:
        DatasetError: Values of several types of which nobody knows what is black and white.
    """
    types = seen.types
    if len(types) < 2:
        return _NOTHING
    wide = [kind for kind in seen.kinds if kind.dtype != "uint8"]
    if not all(_is_wide_display(kind) for kind in wide):
        raise _several(types)
    reason = (
        f"{types['uint8']} images of 8 bits stand beside {types['uint16']} DICOM displays of 16: "
        "black to white of both becomes 0 to 65535 (intensity)"
    )
    return {"intensity": "display"}, (reason,)


def _is_wide_display(kind: survey.Kind) -> bool:
    """Whether 0 is black and 65535 white, as DICOM displays are made; a PNG file may use less."""
    is_shown = bool(kind.modality) and kind.modality not in headers.QUANTITATIVE
    return kind.dtype == "uint16" and is_shown


def _several(types: Mapping[str, int]) -> errors.DatasetError:
    return errors.DatasetError(
        where="the images",
        expected="values of one type, or 8-bit images beside DICOM displays of 16 bits",
        found=", ".join(f"{types[dtype]} of {dtype}" for dtype in sorted(types)),
        remedy="keep them in folders of their own, with tables of their own; or write "
        'intensity = "percentile" under [tokenizer] of a configuration of your own',
    )
