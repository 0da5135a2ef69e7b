# SPDX-License-Identifier: Apache-2.0
"""Which range of values images share, so that they can stand in one array."""

import collections
from collections.abc import Mapping
from typing import Any, Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.first_config import survey
from tiny_agent_trainer.tokenizer.images.dicom import headers
from tiny_agent_trainer.tokenizer.images.image import Listing

Chosen = tuple[Mapping[str, Any], tuple[str, ...]]
"""Keys of `[tokenizer]`, and why, one sentence each."""

_SUV: Final = (0.0, 20.0)
"""In g/ml. Lesions and organs lie within; a full bladder, which may lie above, becomes white."""

_NOTHING: Final[Chosen] = ({}, ())


def of_modality(listing: Listing) -> Chosen:
    """What is known before an image is read: PET is in SUV, which are fractions."""
    if {item.facts.get("modality", "") for item in listing.items} != {"PT"}:
        return _NOTHING
    reason = f"PET: standardised uptake values from {_SUV[0]:g} to {_SUV[1]:g} become 0 to 65535"
    return {"intensity": "window", "window": list(_SUV)}, (reason,)


def one_range(seen: survey.Survey) -> Chosen:
    """One range for displays of 8 and 16 bits; nothing where all images have one type.

    Raises:
        DatasetError: Values of several types of which nobody knows what is black and white.
    """
    types = collections.Counter[str]()
    for kind, count in seen.kinds.items():
        types[kind.dtype] += count
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
