# SPDX-License-Identifier: Apache-2.0
"""The bits of prepared and augmented images on every machine.

Not tested here: that they are the right ones (tests of preparation and augmentation).
"""

import hashlib

import numpy as np
import pytest

from tiny_agent_trainer.config.augmentation import AugmentationOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import cropping
from tiny_agent_trainer.tokenizer.augmentation.augmentation import Augmentation
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.pixels import digest_pixels
from tiny_agent_trainer.tokenizer.preparation import prepare

PREPARED = {
    "stored": ({}, "0795be7d8f86592c2d843a94a4609e4953663970c422391714f6329904808362"),
    "window": (
        {"intensity": "window", "window": (-160.5, 240.0)},
        "8ddf5f8deb12f991ff7eacab1b5c50a4c7f0e1b137f15fd1c8819e39f53304bf",
    ),
    "percentile": (
        {"intensity": "percentile", "percentiles": (0.5, 99.5)},
        "27895b46aa108a0ee507c442ef0a378d0358290fb3d75fe65fdfa1d400ebc442",
    ),
    "geometry": (
        {"orientation": "LSA", "spacing_mm": (0.7, 2.0, 1.1)},
        "48b1c9a517bda7be6b8ced670d61d56ea34fd79f45527b278580a087b4a41218",
    ),
    "2.5-D": (
        {"slices": 3, "resize": (5, 11), "size": (8, 8), "pad_value": -7},
        "edd31a52677b8c7e8547b8a67fd03ef418e59a710135b224b6a1242793faacd2",
    ),
}
AUGMENTED = {
    "old": (
        {
            "flip_horizontal": True,
            "flip_vertical": True,
            "quarter_turns": True,
            "shift_pixels": 2,
            "intensity_scale": 0.2,
            "intensity_offset": 0.3,
        },
        "a87ca33c9de85a91d7cb10f1a0a61897845e6c58f18da5512e484abcc4a92209",
    ),
    "warp": (
        {"rotate_degrees": 30.0, "scale": 0.2, "elastic_pixels": 1.5},
        "6684e06cee41f1acaf4dc50ec6cc1416971bf08d4cbbfbd691b83839f11c90eb",
    ),
    "tones": (
        {"blur_passes": 3, "gamma": 1.0, "noise": 0.5},
        "b0513233efc03d505df9b5b1d47425dddf02b526b516ad4a8fe44e212b18ab57",
    ),
}


def pattern(shape, dtype):
    values = np.arange(np.prod(shape), dtype=np.int64) * 2654435761 % 65537 - 32768
    return values.clip(-32768, 32767).astype(dtype).reshape(shape)


@pytest.mark.parametrize("name", PREPARED)
def test_prepared_images(name):
    options, digest = PREPARED[name]
    image = Image(
        values=pattern((6, 9, 10, 1), np.int16), spacing_mm=(2.0, 1.0, 0.9), orientation="SPL"
    )
    assert digest_pixels(prepare.prepare(image, TokenizerSection(**options))) == digest


@pytest.mark.parametrize("name", AUGMENTED)
def test_augmented_images(name):
    options, digest = AUGMENTED[name]
    found = hashlib.sha256()
    for shape in ((8, 1, 12, 12), (4, 2, 5, 8, 8)):
        changes = Augmentation(AugmentationOptions(**options), 7)
        words = changes.draw(3, np.arange(shape[0]))
        moved = changes.move(pattern(shape, np.int16), words)
        tokens = changes.tint(moved.astype(np.float32) / np.float32(1024), words)
        found.update(tokens.astype("<f4").tobytes())
    assert found.hexdigest() == digest


def test_patches():
    options = TokenizerSection(patches={"size": (3, 4), "foreground_fraction": 0.5}).patches
    images = pattern((6, 1, 9, 10), np.int16)
    crops = cropping.training_crops(images, np.arange(6), options, 2, 7)
    assert (
        digest_pixels(crops) == "b69148dee7676c6bc9f8a88cd3d18f006b5f83b002dfd89f55b3d6922910ba16"
    )
