# SPDX-License-Identifier: Apache-2.0
"""Standardised uptake values by body weight (SUVbw) of PET, or the reason why there are none.

Source: the vendor-neutral pseudo-code of QIBA's SUV technical committee, and PS3.3 C.8.9.1. Where
that assumes, a file is refused here: a date of injection that is missing for a nuclide that lives
for days, a second time of injection that says something else, a dose or a weight that no patient
has, more than ten half-lives between injection and scan. GE's private scan time is not read; the
mean of the frame's count rate, which the same source gives for any vendor, takes its place.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import pydicom
from pydicom import uid

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import elementary
from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.dicom import moments, privacy, tags

REMEDY: Final = (
    'write pet = "file" under [data.images.dicom] to train on values in the unit of the file, or '
    "leave the series out"
)

_GRAMS: Final = 1000.0
_DOSE_BQ: Final = (1e5, 1e12)
"""No patient is given less or more; megabecquerels in place of becquerels lie below."""

_WEIGHT_KG: Final = (0.01, 700.0)
"""A mouse, and more than any person; grams in place of kilograms lie above."""

_HALF_LIVES: Final = 10
"""After so many, 0.1 % of the dose is left: a wrong date, and nothing that a scanner sees."""

_DATELESS_S: Final = 6 * 3600.0
"""A longer half-life is imaged after days, so that a time of day does not tell when it began."""

_ALIKE: Final = 1.01
"""More than times rounded to seconds make of O-15, less than one bed's time makes of F-18."""

_SHORTEST_MS: Final = 1.0
"""Of a frame; below it nothing is left of a difference between float64."""

_ENHANCED: Final = (uid.EnhancedPETImageStorage, uid.LegacyConvertedEnhancedPETImageStorage)

_PHILIPS_GROUP: Final = "Philips PET Private Group"


@dataclasses.dataclass(frozen=True, slots=True)
class _Injection:
    """What was injected.

    Attributes:
        dose_bq: Activity at the time of injection.
        half_life_s: Of the nuclide.
        item: Where the time of injection stands.
    """

    dose_bq: float
    half_life_s: float
    item: pydicom.Dataset


def factor_of(dataset: pydicom.Dataset, key: str) -> float:
    """What brings values in the unit of the file to SUVbw, in g/ml.

    Args:
        dataset: With the elements `privacy.UPTAKE` of a PET file.
        key: For messages.

    Guarantees:
        Single IEEE operations of float64 in a written order, and powers, exponentials and
        logarithms of `exact.elementary`: the same bits on every machine.

    Raises:
        DatasetError: The values cannot be made SUV; the message names the tag.
    """
    _require_classic(dataset, key)
    unit = tags.text(dataset, "Units", key)
    if unit == "GML":
        return _require_body_weight(dataset, key)
    if unit not in ("BQML", "CNTS"):
        raise _refused("Units", "BQML, GML, or CNTS of Philips", unit or "nothing", key)
    _require_corrected(dataset, key)
    return _factor_of_philips(dataset, key) if unit == "CNTS" else _factor_of_activity(dataset, key)


def require_alike(factors: Sequence[float], key: str) -> None:
    """Refuse a volume whose files come to factors that differ by more than 1 %.

    Raises:
        DatasetError: They do: the times of some contradict those of others.
    """
    low, high = min(factors), max(factors)
    if high > low * _ALIKE:
        found = f"{low:.6g} to {high:.6g} g/ml per unit of the file"
        raise refusing.refusal(key, "one factor for SUV in all files of a volume", found, REMEDY)


def _require_classic(dataset: pydicom.Dataset, key: str) -> None:
    """Enhanced PET says neither the unit of its values nor that of the dose beyond doubt."""
    if tags.text(dataset, "SOPClassUID", key) in _ENHANCED:
        expected = "PET with one file for each slice"
        raise _refused("SOPClassUID", expected, "enhanced multi-frame PET", key)


def _require_body_weight(dataset: pydicom.Dataset, key: str) -> float:
    """GML without a type is by body weight (PS3.3 C.8.9.1.1.3)."""
    kind = tags.text(dataset, "SUVType", key) or "BW"
    if kind != "BW":
        raise _refused("SUVType", "BW, by body weight", kind, key)
    return 1.0


def _require_corrected(dataset: pydicom.Dataset, key: str) -> None:
    corrected = tags.words(dataset, "CorrectedImage", key)
    if not {"ATTN", "DECAY"} <= set(corrected):
        found = ", ".join(corrected) or "nothing"
        raise _refused("CorrectedImage", "ATTN and DECAY among what is corrected", found, key)


def _factor_of_philips(dataset: pydicom.Dataset, key: str) -> float:
    if tags.text(dataset, privacy.PHILIPS_CREATOR, key) == _PHILIPS_GROUP:
        factor = (tags.numbers(dataset, privacy.PHILIPS_FACTOR, key, 1) or (0.0,))[0]
        if factor > 0:
            return factor
    expected = "counts with (7053,1000) SUV Scale Factor of Philips"
    raise _refused("Units", expected, "CNTS without it", key)


def _factor_of_activity(dataset: pydicom.Dataset, key: str) -> float:
    weight_kg = _number(dataset, "PatientWeight", _WEIGHT_KG, "kg", key)
    injection = _injection(dataset, key)
    correction = tags.text(dataset, "DecayCorrection", key)
    if correction not in ("START", "ADMIN"):
        raise _refused("DecayCorrection", "START or ADMIN", correction or "nothing", key)
    dose_bq = injection.dose_bq
    if correction == "START":
        passed_s = _seconds_to_scan(dataset, injection, key)
        dose_bq *= elementary.power(2.0, -(passed_s / injection.half_life_s))
    return weight_kg * _GRAMS / dose_bq


def _injection(dataset: pydicom.Dataset, key: str) -> _Injection:
    keyword = "RadiopharmaceuticalInformationSequence"
    found = tags.items(dataset, keyword, key)
    if len(found) != 1:
        raise _refused(keyword, "one radiopharmaceutical", f"{len(found)}", key)
    return _Injection(
        dose_bq=_number(found[0], "RadionuclideTotalDose", _DOSE_BQ, "Bq", key),
        half_life_s=_number(found[0], "RadionuclideHalfLife", (1.0, 1e8), "s", key),
        item=found[0],
    )


def _number(
    dataset: pydicom.Dataset, keyword: str, bounds: tuple[float, float], unit: str, key: str
) -> float:
    numbers = tags.numbers(dataset, keyword, key, 1)
    if not numbers or not bounds[0] <= numbers[0] <= bounds[1]:
        found = f"{numbers[0]:g}" if numbers else "nothing"
        expected = f"between {bounds[0]:g} and {bounds[1]:g} {unit}"
        raise _refused(keyword, expected, found, key)
    return numbers[0]


def _seconds_to_scan(dataset: pydicom.Dataset, injection: _Injection, key: str) -> float:
    """From injection to the moment that values are corrected to."""
    scan, more_s = _start_of_scan(dataset, injection, key)
    zone = tags.text(dataset, "TimezoneOffsetFromUTC", key)
    dated = moments.moment_of(injection.item, "RadiopharmaceuticalStartDateTime", zone, key)
    timed = moments.time_of(injection.item, "RadiopharmaceuticalStartTime", key)
    begun = _begin_of_injection(dated, timed, scan, injection, key)
    passed_s = (scan - begun) / moments.SECOND + more_s
    if passed_s < 0 and dated is None:  # over midnight
        passed_s += moments.DAY / moments.SECOND
    if not 0 <= passed_s <= _HALF_LIVES * injection.half_life_s:
        expected = f"an injection at most {_HALF_LIVES} half-lives before the scan"
        found = f"{passed_s:g} s at a half-life of {injection.half_life_s:g} s"
        raise _refused("RadiopharmaceuticalStartTime", expected, found, key)
    return passed_s


def _begin_of_injection(
    dated: int | None, timed: int | None, scan: int, injection: _Injection, key: str
) -> int:
    """The moment of injection; on the day of the scan where only a time of day is known."""
    keyword = "RadiopharmaceuticalStartDateTime"
    if dated is not None:
        if timed is not None and abs(dated % moments.DAY - timed) >= moments.SECOND:
            expected = "the time that RadiopharmaceuticalStartTime says"
            raise _refused(keyword, expected, "another one", key)
        return dated
    if timed is None:
        raise _refused(keyword, "it, or RadiopharmaceuticalStartTime", "neither", key)
    if injection.half_life_s > _DATELESS_S:
        expected = f"a date, for a half-life above {_DATELESS_S:g} s"
        raise _refused(keyword, expected, "a time of day alone", key)
    return scan - scan % moments.DAY + timed


def _start_of_scan(dataset: pydicom.Dataset, injection: _Injection, key: str) -> tuple[int, float]:
    """The moment of the scan's start, as microseconds and seconds to be added to them.

    The start of the series; or, where a later processing has written that anew, the middle of the
    frame's counts less its distance from the scan's start.
    """
    series = _moment(dataset, "Series", key)
    acquired = _moment(dataset, "Acquisition", key)
    if series <= acquired:
        return series, 0.0
    reference_ms = tags.numbers(dataset, "FrameReferenceTime", key, 1) or (0.0,)
    duration_ms = tags.numbers(dataset, "ActualFrameDuration", key, 1) or (0.0,)
    if reference_ms[0] <= 0 or duration_ms[0] < _SHORTEST_MS:
        expected = "a series that does not begin after its acquisition, or FrameReferenceTime and "
        raise _refused("SeriesTime", f"{expected}ActualFrameDuration", "neither", key)
    middle_s = _middle_of_counts(duration_ms[0] / 1000.0, injection.half_life_s)
    return acquired, middle_s - reference_ms[0] / 1000.0


def _moment(dataset: pydicom.Dataset, kind: str, key: str) -> int:
    day = moments.day_of(dataset, f"{kind}Date", key)
    time = moments.time_of(dataset, f"{kind}Time", key)
    if day is None or time is None:
        raise _refused(f"{kind}{'Date' if day is None else 'Time'}", "a value", "nothing", key)
    return day + time


def _middle_of_counts(duration_s: float, half_life_s: float) -> float:
    """When the activity of a frame is its mean, in seconds from the frame's start."""
    decays = elementary.log(2.0) / half_life_s
    lost = decays * duration_s
    return elementary.log(lost / (1.0 - elementary.exp(-lost))) / decays


def _refused(keyword: str, expected: str, found: str, key: str) -> errors.DatasetError:
    where = f"{key}, {tags.named(keyword)}"
    return refusing.refusal(where, f"for SUV {expected}", found, REMEDY)
