# SPDX-License-Identifier: Apache-2.0
"""Where a configuration says that prepared images are kept, and what is not kept.

Not tested here: the files themselves (tests of the cache).
"""

import numpy as np
import pytest

from tiny_agent_trainer.config.trainer_config import parse_config
from tiny_agent_trainer.experiments import prepare
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.cache import place
from tiny_agent_trainer.training import parts

COUNT = 12


class OnDemand:
    """Images that count how often they are asked for."""

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        if index >= COUNT:
            raise IndexError
        self.asked += 1
        return np.full((4, 4, 1), index, np.uint8)


@pytest.fixture
def read(monkeypatch):
    """Reads images on demand by a configuration; returns the data and how often one was read."""
    monkeypatch.delenv(place.VARIABLE, raising=False)

    def read(text):
        images = OnDemand()
        splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
        listed = [
            samples.Sample(key=str(i), patient=str(i), label=(i % 2,), split=split)
            for i, split in enumerate(splits)
        ]
        dataset = samples.Dataset(
            name="x", task="multiclass", classes=("a", "b"), dims=2, samples=listed,
            images=images, files=(),
        )  # fmt: skip

        class Reader:
            def read(self):
                return dataset

        monkeypatch.setattr(parts, "build_part", lambda *_: Reader())
        config = parse_config(text.encode(), "x.toml")
        return prepare.read_data(config, None, samples.silent), images.asked

    return read


def test_a_second_reading_asks_for_no_image_to_be_prepared(read, tmp_path):
    text = f'[data]\ncache = "{tmp_path}"\n'
    first, asked = read(text)
    again, asked_again = read(text)
    assert (asked, asked_again) == (2 * COUNT, COUNT)  # once for its digest in either case
    assert again.manifest == first.manifest
    assert len(list(tmp_path.rglob("*.rows"))) == 1


def test_without_a_cache_the_same_images_are_held_in_memory(read, tmp_path):
    mapped, _ = read(f'[data]\ncache = "{tmp_path}"\n')
    held, _ = read('[data]\ncache = ""\n')
    assert held.manifest == mapped.manifest
    assert held.cohort.prepared_NCS.tobytes() == mapped.cohort.prepared_NCS.tobytes()
    assert held.cohort.prepared_NCS.flags.writeable
    assert not mapped.cohort.prepared_NCS.flags.writeable


def test_the_environment_has_the_last_word(read, monkeypatch, tmp_path):
    monkeypatch.setenv(place.VARIABLE, str(tmp_path / "other"))
    read(f'[data]\ncache = "{tmp_path / "named"}"\n')
    assert not (tmp_path / "named").exists()
    assert len(list((tmp_path / "other").rglob("*.rows"))) == 1


def test_images_that_are_in_memory_make_no_directory(monkeypatch, tmp_path):
    monkeypatch.delenv(place.VARIABLE, raising=False)
    text = f'[data]\npatients = 30\nimage_size = 16\ncache = "{tmp_path / "cache"}"\n'
    prepare.read_data(parse_config(text.encode(), "x.toml"), None, samples.silent)
    assert not (tmp_path / "cache").exists()
