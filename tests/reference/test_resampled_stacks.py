# SPDX-License-Identifier: Apache-2.0
"""Resampled stacks against linear interpolation by scipy.

Not tested here: its bits (tests/golden/test_images.py).
"""

import numpy as np
import pytest
from scipy import ndimage

from tiny_agent_trainer.tokenizer.images.dicom import geometry, resample

PLACES_MM = (0.0, 1.1, 2.0, 3.3, 4.0, 5.0, 6.2, 7.0)
SPACING_MM = (0.5, 0.25)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.3, -0.7), (-0.123, 0.0)])
def test_a_tilted_irregular_stack(dtype, tilt):
    draws = np.random.default_rng(1).integers(-1000, 3000, (8, 40, 30)).astype(dtype)
    planes = [
        geometry.Plane(
            along_row=(1.0, 0.0, 0.0), along_column=(0.0, 1.0, 0.0),
            position=(tilt[0] * z, tilt[1] * z, z), spacing_mm=SPACING_MM,
        )
        for z in PLACES_MM
    ]  # fmt: skip
    stack = geometry.stack(planes)
    grid = resample.to_regular([one[..., None] for one in draws], stack, SPACING_MM, "x")
    assert grid.dtype == dtype
    rows, columns = np.mgrid[:40, :30].astype(float)
    straight = [
        ndimage.map_coordinates(
            one.astype(float),
            [rows - tilt[1] * z / SPACING_MM[0], columns - tilt[0] * z / SPACING_MM[1]],
            order=1,
            mode="nearest",
        )
        for one, z in zip(draws, PLACES_MM, strict=True)
    ]
    wanted_mm = np.arange(len(grid)) * stack.step_mm
    assert stack.step_mm == pytest.approx(1.0)
    for found, place in zip(grid[..., 0], wanted_mm, strict=True):
        above = min(np.searchsorted(PLACES_MM, place, side="right"), len(PLACES_MM) - 1)
        start, end = PLACES_MM[above - 1], PLACES_MM[above]
        part = (place - start) / (end - start)
        expected = straight[above - 1] * (1 - part) + straight[above] * part
        # Three weights off by at most 1/2048 each, of differences of at most 4000.
        assert np.abs(found - expected).max() <= 3 * 4000 / 2048 + 0.5
