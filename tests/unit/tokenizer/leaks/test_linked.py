# SPDX-License-Identifier: Apache-2.0
"""Patients who share images are joined, so that no division of the joined leaks.

Not tested here: which images are nearly equal (test_near_duplicates.py).
"""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer.tokenizer.leaks import find, fingerprints, linked
from tiny_agent_trainer.tokenizer.samples import SPLITS, Fingerprint, Sample

NAMES = "abcdefgh"


def mark(pixels, looks=b""):
    return Fingerprint(pixels=pixels, looks=looks)


def test_equal_pixels_join_directly_and_through_others():
    marks = [mark(word) for word in ("1", "2", "2", "3", "3", "4")]
    links = linked.link(["d", "d", "b", "b", "c", "a"], marks)
    assert links.units == {"d": "b", "b": "b", "c": "b", "a": "a"}
    assert links.joined == {"b", "c", "d"}
    assert links.remarks()[0].startswith("3 patients share equal or nearly equal images")
    assert "their 1 groups" in links.remarks()[0]


def test_nearly_equal_images_join():
    shown = np.random.default_rng(0).integers(0, 256, (64, 64, 1)).astype(np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (64, 64, 1)).astype(np.uint8)
    changed = shown.copy()
    changed[0, 0, 0] ^= 1
    marks = list(fingerprints.take_all([shown, changed, other]))
    assert len({one.pixels for one in marks}) == 3
    assert linked.link(["x", "y", "z"], marks).units == {"x": "x", "y": "x", "z": "z"}


def test_without_links_everybody_is_alone_and_nothing_is_said():
    links = linked.link(["a", "b", "a"], [mark("1"), mark("2"), mark("3")])
    assert links == linked.unlinked(["a", "b", "a"])
    assert links.remarks() == ()


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 9)), min_size=1, max_size=20))
def test_no_division_of_the_joined_leaks(images):
    patients = [patient for patient, _ in images]
    marks = [mark(str(pixels)) for _, pixels in images]
    units = linked.link(patients, marks).units
    dealt = dict(zip(sorted(set(units.values())), itertools.cycle(SPLITS), strict=False))
    listed = [
        Sample(key=str(i), patient=name, label=(0,), split=dealt[units[name]])
        for i, name in enumerate(patients)
    ]
    assert list(find.find_leaks(listed, marks, "multiclass")) == []
    order = list(reversed(range(len(images))))
    again = linked.link([patients[i] for i in order], [marks[i] for i in order])
    assert again.units == units
