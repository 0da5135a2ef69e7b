# SPDX-License-Identifier: Apache-2.0
"""A second run decodes nothing, has the same bits, and finds and mends what was damaged.

Not tested here: files of every format (tests of the images), that memory does not grow
(tests/property/test_memory_of_large_datasets.py).
"""

import dataclasses
import threading

import numpy as np
import pytest
from PIL import Image as Pillow

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import DicomOptions, ImagesOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import batches, cohort, samples
from tiny_agent_trainer.tokenizer.augmentation.augmentation import Augmentation
from tiny_agent_trainer.tokenizer.cache import entry, items, keys
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.images import folder
from tiny_agent_trainer.tokenizer.preparation import prepare

SPLITS = ("train", "train", "val", "test")
NOTER = items.Noter(name="test-v1", note=lambda image: {"modality": image.modality})


@pytest.fixture
def root(tmp_path):
    """A folder with twelve gray images."""
    made = tmp_path / "images"
    made.mkdir()
    for index in range(12):
        pixels = (np.arange(48).reshape(6, 8) * 3 + index).astype(np.uint8)
        Pillow.fromarray(pixels).save(made / f"{index:02d}.png")
    return made


@pytest.fixture
def store(tmp_path):
    (tmp_path / "cache").mkdir()
    return Store(tmp_path / "cache", 10**9)


class Counting:
    """Items of a folder that count how often they are decoded."""

    def __init__(self, root):
        self.decoded = 0
        self.items = [
            dataclasses.replace(item, read=lambda item=item: self._read(item))
            for item in folder.list_folder(root, ImagesOptions()).items
        ]

    def _read(self, item):
        self.decoded += 1
        return item.read()


def build(root, store, counting=None, **options):
    """A cohort by the way that a reader goes, and how many images were decoded for it."""
    counting = counting or Counting(root)
    section = TokenizerSection(**options)
    looker = items.Looker(
        store=store, root=root, decoding=ImagesOptions(), preparation=section, noter=NOTER
    )
    looks = items.Looks(looker)
    seen = [looks.look(item) for item in counting.items]
    looks.close()
    dataset = samples.Dataset(
        name="made", task="multiclass", classes=("no", "yes"), dims=2,
        samples=[
            samples.Sample(
                key=one.item.key, patient=one.item.key, label=(i % 2,), split=SPLITS[i // 2 % 4]
            )
            for i, one in enumerate(seen)
        ],
        images=items.PreparedImages(looker, seen), files=tuple(f for s in seen for f in s.files),
        marks=tuple(samples.Fingerprint(pixels=one.pixels, looks=b"") for one in seen),
    )  # fmt: skip
    made = cohort.build_cohort(dataset, section, allow_leaks=False, store=store)
    return made, counting.decoded


def files_of(store, kind):
    return sorted(store.directory.rglob(f"*.{kind}"))


def test_each_image_is_decoded_once_and_in_a_second_run_never(root, store):
    first, decoded = build(root, store)
    assert decoded == 12
    again, decoded = build(root, store)
    assert decoded == 0
    plain, _ = build(root, None)
    for made in (again, plain):
        assert made.prepared_NCS.tobytes() == first.prepared_NCS.tobytes()
        assert made.pixel_digests == first.pixel_digests
        assert made.files == first.files
    assert len(files_of(store, "entry")) == 12
    assert len(files_of(store, "rows")) == 1


def test_mapped_images_cannot_be_changed_and_feed_the_same_batches(root, store):
    mapped, held = build(root, store)[0], build(root, None)[0]
    with pytest.raises(ValueError, match="read-only"):
        mapped.prepared_NCS[0] = 1
    found = []
    for members in (mapped, held):
        section = TokenizerSection()
        feed = batches.Feed(
            cohort=members, tokenizer=members.build_tokenizer(section),
            augmentation=Augmentation(section.augmentation, 0), base_seed=0,
        )  # fmt: skip
        found.append(feed.training_batch(1, feed.training_order(1)).inputs.tobytes())
    assert found[0] == found[1]


def test_other_options_and_other_files_are_other_images(root, store):
    build(root, store)
    assert build(root, store, resize=4)[1] == 12
    assert build(root, store, resize=4)[1] == 0
    assert build(root, store, resize=4, normalization="half")[1] == 0
    pixels = np.full((6, 8), 200, np.uint8)
    Pillow.fromarray(pixels).save(root / "03.png")
    made, decoded = build(root, store)
    assert decoded == 1
    assert (made.prepared_NCS == 200).all(axis=(1, 2, 3)).sum() == 1


@pytest.mark.parametrize("kind", ["entry", "rows", "notes"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "grow", "swap"])
def test_a_damaged_file_is_found_and_made_anew(root, store, kind, damage):
    first, _ = build(root, store)
    if kind == "entry":
        for path in files_of(store, "rows"):
            path.unlink()
    others = files_of(store, "entry")
    for path in files_of(store, kind):
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) * 3 // 4] ^= 1
        changed = {
            "flip": bytes(data), "cut": bytes(data[:-5]), "empty": b"", "grow": bytes(data) + b"x",
            "swap": next(other for other in others if other != path).read_bytes(),
        }[damage]  # fmt: skip
        path.unlink()  # a file that is mapped is never written to
        path.write_bytes(changed)
    again, decoded = build(root, store)
    assert again.prepared_NCS.tobytes() == first.prepared_NCS.tobytes()
    assert decoded == (12 if kind == "entry" else 0) or damage in ("swap", "flip")
    assert build(root, store)[1] == 0, "what was damaged has been mended"


@pytest.mark.parametrize("place", range(0, 400, 7))
def test_no_flipped_byte_of_an_entry_is_believed(place):
    values = np.arange(40, dtype=np.int16).reshape(1, 5, 8)
    made = entry.Prepared(pixels="0" * 64, facts={"a": 1}, values=values)
    data = bytearray(b"".join(entry.encode("k", made)))
    assert (entry.decode(bytes(data), "k").values == values).all()
    assert entry.decode(bytes(data), "other") is None
    data[place % len(data)] ^= 64
    assert entry.decode(bytes(data), "k") is None


def test_two_runs_at_once_have_the_same_bits(root, store):
    found = []
    runs = [threading.Thread(target=lambda: found.append(build(root, store)[0])) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 3
    assert len({made.prepared_NCS.tobytes() for made in found}) == 1


def test_what_is_noted_of_an_image_holds_without_its_file_and_never_for_another(root, store):
    first, _ = build(root, store)
    for path in files_of(store, "entry"):
        path.unlink()
    again, decoded = build(root, store)
    assert (decoded, again.pixel_digests) == (0, first.pixel_digests)
    Pillow.fromarray(np.full((6, 8), 7, np.uint8)).save(root / "00.png")
    other, decoded = build(root, store)
    assert decoded == 12, "one is new, and no other is kept apart from its row"
    assert len(set(other.pixel_digests) - set(first.pixel_digests)) == 1
    assert build(root, store)[1] == 0


def test_files_that_change_between_two_looks_are_refused(root, store):
    looker = items.Looker(
        store=None, root=root, decoding=ImagesOptions(), preparation=TokenizerSection(),
        noter=NOTER,
    )  # fmt: skip
    item = Counting(root).items[0]
    seen = items.Looks(looker).look(item)
    Pillow.fromarray(np.zeros((6, 8), np.uint8)).save(root / item.key)
    with pytest.raises(errors.DatasetError, match="leave the files alone"):
        looker.fetch(seen)


def test_arrays_that_are_read_on_demand_are_mapped_and_those_in_memory_are_not(store):
    class OnDemand:
        def __len__(self):
            return 8

        def __getitem__(self, index):
            if index >= 8:
                raise IndexError
            return np.full((2, 2, 1), index, np.uint8)

    listed = [
        samples.Sample(key=str(i), patient=str(i), label=(i % 2,), split=SPLITS[i // 2 % 4])
        for i in range(8)
    ]
    found = []
    for images in (OnDemand(), [np.full((2, 2, 1), i, np.uint8) for i in range(8)]):
        dataset = samples.Dataset(
            name="x", task="multiclass", classes=("a", "b"), dims=2, samples=listed,
            images=images, files=(),
        )  # fmt: skip
        made = cohort.build_cohort(dataset, TokenizerSection(), allow_leaks=False, store=store)
        found.append(made.prepared_NCS)
    assert found[0].tobytes() == found[1].tobytes()
    assert [array.flags.writeable for array in found] == [False, True]


def test_no_name_and_no_path_is_in_any_file(root, store):
    (root / "Doe Jane").mkdir()
    (root / "00.png").rename(root / "Doe Jane" / "00.png")
    build(root, store)
    assert len(files_of(store, "notes")) == 1
    for path in (path for kind in ("entry", "notes", "rows") for path in files_of(store, kind)):
        assert b"Doe" not in path.read_bytes()
        assert b".png" not in path.read_bytes()


class TestKeys:
    """A key covers everything that could change the image, and nothing else."""

    FILES = (samples.SourceFile(path="a", size_bytes=1, sha256="1" * 64),)

    def key(self, files=FILES, decoding=None, facts="f", **options):
        made = keys.of_making(decoding or ImagesOptions(), TokenizerSection(**options), facts)
        return keys.of_image(files, made)

    def test_every_option_of_the_tokenizer_is_covered_or_changes_no_image(self):
        others = {"kind", "patch_size", "normalization", "patches", "augmentation"}
        assert set(TokenizerSection.model_fields) == set(prepare.OPTIONS) | others

    def test_what_changes_it(self):
        window = {"intensity": "window", "window": (0.0, 1.0)}
        variants = [
            self.key(), self.key(resize=3), self.key(size=(3, 3)), self.key(**window),
            self.key(orientation="LP"), self.key(facts="g"), self.key(channels=3),
            self.key(decoding=ImagesOptions(dicom=DicomOptions(intensity="display"))),
            self.key(files=(dataclasses.replace(self.FILES[0], sha256="2" * 64),)),
            self.key(files=self.FILES * 2),
        ]  # fmt: skip
        assert len(set(variants)) == len(variants)

    def test_what_does_not(self):
        moved = (dataclasses.replace(self.FILES[0], path="b"),)
        assert self.key(files=moved) == self.key() == self.key(normalization="half")

    def test_versions_and_source_are_covered(self, monkeypatch):
        before = self.key()
        monkeypatch.setattr(keys, "_makers", lambda: ("pydicom 0.0",))
        assert self.key() != before
