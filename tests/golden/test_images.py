# SPDX-License-Identifier: Apache-2.0
"""Bits that must not change between machines or versions: windows, colours, resampled stacks.

Not tested here: that they are right (tests/unit/tokenizer/images, tests/reference).
"""

import numpy as np
import pytest

from tiny_agent_trainer.tokenizer import pixels
from tiny_agent_trainer.tokenizer.images.dicom import colour, geometry, resample, windows

EVERY_INT16 = np.arange(-32768, 32768, dtype=np.int16).reshape(256, 256, 1)

WINDOWS = {
    "LINEAR": "db6d0d61a04873cfbbe7873f91b1ed27e5ebc033c2cf16babac4985a46796909",
    "LINEAR_EXACT": "f85b54828038156fbfe7006764262c377d9a7d15a612a03666568108d464a6f0",
    "SIGMOID": "64175f5c7df1c0a22228ff649e1d05c3add06b884fac57b7be9a10935afb5602",
}


@pytest.mark.parametrize("function", WINDOWS)
def test_windows(function):
    shown = windows.window(function, 40.0, 400.0, "x")(EVERY_INT16)
    assert pixels.digest_pixels(shown) == WINDOWS[function]


def test_colours():
    every = np.arange(1 << 24, dtype=np.uint32)[:: 1 << 6]
    ybr = np.stack([every >> 16, every >> 8 & 255, every * 37 & 255], axis=-1).astype(np.uint8)
    assert pixels.digest_pixels(colour.ybr_full_to_rgb(ybr)) == (
        "ac5dd57926e9b04c19628a1d6520cfdf791a5c2ff79bbaa68fb4ca396a91c36a"
    )


@pytest.mark.parametrize(
    ("dtype", "digest"),
    [("int16", "416de8dd86496fc4f36f4d7ca842e6d799c776bb929a82051bae7baa26160e84"),
     ("float32", "8aec138cea23dd867fed1767d1de227a43490535487ed9c8b1c943a818dd1b3b")],
)  # fmt: skip
def test_resampled_stacks(dtype, digest):
    base = (np.arange(8 * 40 * 30, dtype=np.int64) * 7919 % 4001 - 1000).reshape(8, 40, 30, 1)
    slices = list((base if dtype == "int16" else base / 7).astype(dtype))
    planes = [
        geometry.Plane(
            along_row=(1.0, 0.0, 0.0), along_column=(0.0, 1.0, 0.0),
            position=(0.3 * z, -0.7 * z, z), spacing_mm=(0.5, 0.25),
        )
        for z in (0.0, 1.1, 2.0, 3.3, 4.0, 5.0, 6.2, 7.0)
    ]  # fmt: skip
    grid = resample.to_regular(slices, geometry.stack(planes), (0.5, 0.25), "x")
    assert pixels.digest_pixels(grid) == digest
