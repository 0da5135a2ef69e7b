# SPDX-License-Identifier: Apache-2.0
"""What preparation will do to the dims of an image, known before anything is computed."""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer.images import sources
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.preparation import channels

LENGTH_LIMIT: Final = 1 << 20
"""Pixels along a dim. Sums of weights times 16-bit values then stay far below 2^63."""

_ALIKE: Final = Fraction(1, 100)
"""A circle that is drawn as such an ellipse is off by half a pixel over 100."""

_AXES: Final = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The dims of an image after each step.

    Attributes:
        order: Which stored dim becomes each spatial dim.
        is_flipped: Whether it runs backwards then.
        spaced: Lengths after resampling to a spacing.
        slices: Numbers of the slices that become channels; () for the whole volume.
        resized: Lengths after `resize`.
        fitted: Lengths after `size`.
        channels: How many there are in the end.
    """

    order: tuple[int, ...]
    is_flipped: tuple[bool, ...]
    spaced: tuple[int, ...]
    slices: tuple[int, ...]
    resized: tuple[int, ...]
    fitted: tuple[int, ...]
    channels: int

    def plane_ratio(self, image: Image) -> float:
        """Distance of columns over distance of rows in the prepared image of this one.

        1 where the image does not say its spacing, and where they differ by less than 1 %, as
        lengths do that were rounded to whole pixels.
        """
        if min(image.spacing_mm, default=0.0) <= 0:
            return 1.0
        rows, columns = (
            Fraction(image.spacing_mm[stored]) * image.values.shape[stored] / length
            for stored, length in zip(self.order[-2:], self.resized[-2:], strict=True)
        )
        ratio = columns / rows
        return 1.0 if abs(ratio - 1) < _ALIKE else float(ratio)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the prepared image."""
        return (self.channels, *self.fitted)


def build_plan(image: Image, options: TokenizerSection, key: str) -> Plan:
    """What `options` mean for an image.

    Raises:
        DatasetError: The image does not say its orientation or spacing, has not as many dims as
            the options are for, or would become too large.
    """
    *stored, found_channels = image.values.shape
    order, is_flipped = _directions(image, options, key)
    lengths = tuple(stored[dim] for dim in order)
    spaced = lengths
    if options.spacing_mm:
        _require_count(options.spacing_mm, len(lengths), "spacing_mm", key)
        spaced = _spaced(lengths, _spacing(image, order, key), options.spacing_mm, key)
    slices = _slices(spaced, found_channels, options, key)
    plane = spaced[1:] if slices else spaced
    resized = _lengths(options.resize, plane, "resize", key)
    fitted = _lengths(options.size, resized, "size", key)
    count = channels.converted(found_channels, options.channels) * max(len(slices), 1)
    return Plan(
        order=order,
        is_flipped=is_flipped,
        spaced=spaced,
        slices=slices,
        resized=resized,
        fitted=fitted,
        channels=count,
    )


def _directions(
    image: Image, options: TokenizerSection, key: str
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    dims = image.values.ndim - 1
    wanted, found = options.orientation, image.orientation
    if not wanted:
        return tuple(range(dims)), (False,) * dims
    axes = [_AXES[letter] for letter in found]
    if sorted(axes) != sorted(_AXES[letter] for letter in wanted):
        raise errors.DatasetError(
            where=key,
            expected=f"an image whose dims can be turned to {wanted}",
            found=f"the orientation {found}" if found else "an image that does not say how it lies",
            remedy="write another `orientation` under [tokenizer], or leave it out",
        )
    order = tuple(axes.index(_AXES[letter]) for letter in wanted)
    pairs = zip(order, wanted, strict=True)
    return order, tuple(found[dim] != letter for dim, letter in pairs)


def _spacing(image: Image, order: Sequence[int], key: str) -> tuple[float, ...]:
    if not image.spacing_mm:
        raise errors.DatasetError(
            where=key,
            expected="the distance of pixels in millimetres, for `spacing_mm`",
            found="an image that does not say it",
            remedy="leave `spacing_mm` out under [tokenizer], or use `resize`",
        )
    return tuple(image.spacing_mm[dim] for dim in order)


def _spaced(
    lengths: Sequence[int], found: Sequence[float], wanted: Sequence[float], key: str
) -> tuple[int, ...]:
    """Lengths that come nearest to the wanted spacing, halves to even, at least 1."""
    rows = zip(lengths, found, wanted, strict=True)
    extents = [length * Fraction(old) / Fraction(new) for length, old, new in rows]
    spaced = _require_lengths([max(round(extent), 1) for extent in extents], "spacing_mm", key)
    sources.require_values(key, math.prod(spaced))
    return spaced


def _slices(
    lengths: Sequence[int], found_channels: int, options: TokenizerSection, key: str
) -> tuple[int, ...]:
    """Numbers of the chosen slices; those beyond the border repeat it."""
    if not options.slices:
        return ()
    single = channels.converted(found_channels, options.channels)
    if len(lengths) != 3 or (options.slices > 1 and single != 1):
        raise errors.DatasetError(
            where=key,
            expected="a volume" if len(lengths) != 3 else "a gray volume, for slices as channels",
            found=f"{len(lengths)} dims" if len(lengths) != 3 else f"{single} channels",
            remedy="leave `slices` out under [tokenizer], or write channels = 1",
        )
    depth, count = lengths[0], options.slices
    first = (depth - count) // 2 if options.slice == "middle" else options.slice - (count - 1) // 2
    if options.slice != "middle" and options.slice >= depth:
        raise errors.DatasetError(
            where=key,
            expected=f"more than {options.slice} slices",
            found=str(depth),
            remedy='choose another `slice` under [tokenizer], or "middle"',
        )
    return tuple(min(max(first + step, 0), depth - 1) for step in range(count))


def _lengths(
    wanted: int | Sequence[int], lengths: tuple[int, ...], name: str, key: str
) -> tuple[int, ...]:
    if not wanted:
        return lengths
    if isinstance(wanted, int):
        return _require_lengths([wanted] * len(lengths), name, key)
    _require_count(wanted, len(lengths), name, key)
    return _require_lengths(wanted, name, key)


def _require_count(values: Sequence[float], dims: int, name: str, key: str) -> None:
    if len(values) != dims:
        raise errors.DatasetError(
            where=key,
            expected=f"one value of `{name}` for each of the image's {dims} dims",
            found=f"{len(values)} values",
            remedy=f"correct `{name}` under [tokenizer]",
        )


def _require_lengths(lengths: Sequence[int], name: str, key: str) -> tuple[int, ...]:
    if max(lengths) > LENGTH_LIMIT:
        raise errors.DatasetError(
            where=key,
            expected=f"at most {LENGTH_LIMIT} pixels along every dim",
            found=" x ".join(map(str, lengths)),
            remedy=f"choose another `{name}` under [tokenizer]",
        )
    return tuple(lengths)


def num_values(plan: Plan) -> int:
    """The most values that a step holds at once."""
    steps = (plan.spaced, plan.resized)
    return max(math.prod(lengths) for lengths in steps)
