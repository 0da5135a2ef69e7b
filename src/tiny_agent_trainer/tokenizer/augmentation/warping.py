# SPDX-License-Identifier: Apache-2.0
"""Rotation, scale and elastic deformation in one interpolation of fixed-point places.

A pixel of the new image looks for its value at

    centre + turn(place - centre) / scale + displacement,

where turns are in the image plane (the last two dims), the scale is that of all dims, and the
displacement is interpolated linearly between the points of a coarse grid. Turns are in millimetres:
where columns lie further apart than rows, a circle in the patient stays one. Scale has no unit, and
displacements are in pixels.
"""

import dataclasses
from typing import Final

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.config.augmentation import AugmentationOptions
from tiny_agent_trainer.exact import distributions
from tiny_agent_trainer.exact.kernels import warp
from tiny_agent_trainer.tokenizer.augmentation import draws

_DEGREES: Final = 360.0

Ratios = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Warps:
    """Where the pixels of each image come from, in fixed point.

    Attributes:
        matrices: Cosine, minus sine times the ratio of a pixel's edges, sine over this ratio,
            cosine and one, each over the scale, in units of 2^-`warp.MATRIX_BITS`; int64, (n, 5).
        grids: Displacements in units of 2^-`warp.PLACE_BITS` pixels; int64, shape
            (n, dims, *points).
    """

    matrices: npt.NDArray[np.int64]
    grids: npt.NDArray[np.int64]


def is_wanted(options: AugmentationOptions) -> bool:
    """Whether any of the three is configured."""
    return bool(options.rotate_degrees or options.scale or options.elastic_pixels)


def warp_all(
    images_NCS: npt.NDArray[np.integer],
    words: randomness.Words,
    options: AugmentationOptions,
    plane_ratios: Ratios | None = None,
) -> npt.NDArray[np.integer]:
    """Warped images, shape (n, channels, *spatial); beyond the border it is continued.

    Guarantees:
        Places are multiples of 2^-15 pixels. A value is the exact linear interpolation of its 4 or
        8 neighbours, rounded once, half to even.

    Raises:
        DatasetError: As `draw_warps`.
    """
    dims = images_NCS.ndim - 2
    return apply(images_NCS, draw_warps(words, options, dims, plane_ratios))


def draw_warps(
    words: randomness.Words,
    options: AugmentationOptions,
    dims: int,
    plane_ratios: Ratios | None = None,
) -> Warps:
    """The warps of samples.

    Args:
        words: What decides, one block per sample.
        options: How much.
        dims: Spatial dims.
        plane_ratios: Distance of columns over that of rows of each image; None for square pixels,
            whose warps are those of the ratio 1.

    Guarantees:
        Angles and scales are uniform; cosines, sines and quotients are single float64 operations,
        rounded to fixed point once. Points of the grid are uniform integers.

    Raises:
        DatasetError: Pixels are so long that a rotation leaves the fixed point.
    """
    ratios = np.ones(len(words)) if plane_ratios is None else plane_ratios
    _require_turnable(ratios, options)
    choices = draws.more(words, draws.CHOICES, randomness.WORDS_PER_BLOCK)
    angle = draws.symmetric(choices[:, draws.ROTATE]).astype(np.float64)
    turns = angle * (options.rotate_degrees / _DEGREES)
    cosine, sine = distributions.turn(np.where(turns < 0, turns + 1.0, turns))
    zoom = 1.0 + draws.symmetric(choices[:, draws.ZOOM]).astype(np.float64) * options.scale
    rows = np.stack([cosine, -sine * ratios, sine / ratios, cosine, np.ones_like(cosine)], axis=1)
    matrices = np.rint(rows / zoom[:, None] * 2.0**warp.MATRIX_BITS).astype(np.int64)
    points = (options.elastic_points,) * dims
    most = round(options.elastic_pixels * 2**warp.PLACE_BITS)
    if not most:
        return Warps(matrices=matrices, grids=np.zeros((len(words), dims, *points), np.int64))
    drawn = draws.more(words, draws.ELASTIC, dims * options.elastic_points**dims)
    grids = draws.between(drawn, most).reshape(len(words), dims, *points)
    return Warps(matrices=matrices, grids=grids)


def _require_turnable(ratios: Ratios, options: AugmentationOptions) -> None:
    longest = max(float(ratios.max()), 1.0 / float(ratios.min()))
    if options.rotate_degrees and longest / (1.0 - options.scale) >= warp.MATRIX_LIMIT:
        raise errors.DatasetError(
            where="[tokenizer.augmentation] rotate_degrees",
            expected=f"pixels less than {warp.MATRIX_LIMIT} * (1 - scale) times longer than wide",
            found=f"{longest:.4g} times",
            remedy="resample by `spacing_mm` under [tokenizer], or leave the rotation out",
        )


def apply(images_NCS: npt.NDArray[np.integer], warps: Warps) -> npt.NDArray[np.integer]:
    """Images, shape (n, channels, *spatial), as seen through their warps."""
    images = np.ascontiguousarray(images_NCS)
    spatial, points = images.shape[2:], warps.grids.shape[2:]
    warped, count = np.empty_like(images), len(images)
    rows, columns = (_cells(spatial[dim], points[dim]) for dim in (-2, -1))
    if len(spatial) == 2:
        warp.warp_images(
            0, count, images, warps.matrices, warps.grids, *rows, *columns, warped
        )  # fmt: skip
    else:
        slices = _cells(spatial[0], points[0])
        warp.warp_volumes(
            0, count, images, warps.matrices, warps.grids, *slices, *rows, *columns, warped
        )  # fmt: skip
    return warped


def _cells(length: int, points: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each pixel along a dim the grid point before it, and its way to the next one."""
    whole = max(length - 1, 1)
    place = np.arange(length, dtype=np.int64) * (points - 1)
    cells = np.minimum(place // whole, points - 2)
    return cells, ((place - cells * whole) << warp.PLACE_BITS) // whole
