# SPDX-License-Identifier: Apache-2.0
"""Resident memory does not grow with the dataset.

Not tested here: time (benchmarks).
"""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from pathlib import Path
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import batches, cohort, samples
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.tokenizer.cache.store import Store

COUNT, EDGE = int(sys.argv[2]), 96

class Images:
    def __len__(self):
        return COUNT
    def __getitem__(self, index):
        if index >= COUNT:
            raise IndexError
        pixels = np.arange(EDGE * EDGE, dtype=np.uint32) + np.uint32(index * EDGE * EDGE % 2**32)
        for shift, factor in ((16, 2146121005), (15, 2221713035)):  # noise: no two look alike
            pixels = (pixels ^ (pixels >> shift)) * np.uint32(factor)
        return (pixels >> 8).astype(np.uint16).reshape(EDGE, EDGE, 1)

splits = ["train"] * 8 + ["val", "test"]
listed = [samples.Sample(key=str(i), patient=str(i), label=(i // 10 % 2,), split=splits[i % 10])
          for i in range(COUNT)]
dataset = samples.Dataset(name="x", task="multiclass", classes=("a", "b"), dims=2, samples=listed,
                          images=Images(), files=())
section = TokenizerSection()
made = cohort.build_cohort(dataset, section, allow_leaks=False,
                           store=Store(Path(sys.argv[1]), 10**11))
feed = batches.Feed(cohort=made, tokenizer=made.build_tokenizer(section),
                    augmentation=augmentation.Augmentation(section.augmentation, 0), base_seed=0)
order = feed.training_order(1)
total = 0.0
for start in range(0, len(order), 64):
    total += float(feed.training_batch(1, order[start:start + 64]).inputs[0, 0, 0, 0])
print(made.prepared_NCS.nbytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_of(folder, count):
    command = [sys.executable, "-c", PROGRAM, str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


@pytest.mark.long
def test_a_hundred_thousand_images_need_less_than_a_gigabyte(tmp_path):
    held_bytes, peak_bytes = peak_of(tmp_path, 100_000)
    assert held_bytes > 18 * 10**8
    assert peak_bytes < 10**9


def test_images_of_twelve_times_the_number_need_no_more_memory_than_their_names(tmp_path):
    _, few = peak_of(tmp_path, 1_000)
    held_bytes, many = peak_of(tmp_path, 12_000)
    assert held_bytes > 22 * 10**7
    assert many - few < held_bytes // 4
