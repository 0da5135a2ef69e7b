# SPDX-License-Identifier: Apache-2.0
"""A folder and a table become a dataset: joined, divided, decoded on demand, nothing lost unseen.

Not tested here: finding and decoding images (tokenizer/images), labels, splits and leaks by
themselves (their own tests), training on such data (tests/story).
"""

import sys

import dicom_files
import numpy as np
import plain_folder
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import data, trainer_config
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import batches, cohort, folder, pixels, samples
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.tokenizer.splits import split_file

HEADER = ("image", "label", "sex", "fold")
SPLITS = ("train", "train", "train", "val", "test")


def options(root, labels=(), **others):
    table = {"file": "labels.csv", "id_column": "image", "column": "label", **dict(labels)}
    return data.FolderOptions(reader="folder", root=str(root), labels=table, **others)


def read(root, labels=(), **others):
    reader = folder.FolderReader(
        options(root, labels, **others), list_folder=plain_folder.list_folder
    )
    return reader.read()


def fill(root, count=20, **changes):
    """`count` images of half as many patients, labelled by turns."""
    pictures = plain_folder.pictures(count)
    images = {f"p{i // 2}_{i}.npy": picture for i, picture in enumerate(pictures)}
    rows = [(f"p{i // 2}_{i}", ("no", "yes")[i // 2 % 2], "FM"[i // 2 % 2], SPLITS[i // 2 % 5])
            for i in range(count)]  # fmt: skip
    plain_folder.write(root, images, HEADER, rows, **changes)
    return pictures


class TestDataset:
    def test_images_labels_patients_and_attributes_come_together(self, tmp_path):
        pictures = fill(tmp_path)
        found = read(tmp_path, {"attributes": ("sex",)})
        assert (found.name, found.task, found.classes, found.dims) == (
            "folder", "multiclass", ("no", "yes"), 2,
        )  # fmt: skip
        by_key = {sample.key: index for index, sample in enumerate(found.samples)}
        for i, picture in enumerate(pictures):
            index = by_key[f"p{i // 2}_{i}.npy"]
            assert (found.images[index].values == picture[..., 0]).all()
            assert found.samples[index].label == (i // 2 % 2,)
            assert found.samples[index].patient == f"p{i // 2}"
            assert found.samples[index].attributes == {"sex": "FM"[i // 2 % 2]}
        assert len(found.files) == 21
        assert found.files[0].path == "labels.csv"

    def test_it_becomes_a_cohort_without_leaks(self, tmp_path):
        fill(tmp_path)
        found = cohort.build_cohort(read(tmp_path), TokenizerSection(), allow_leaks=False)
        assert found.prepared_NCS.shape == (20, 1, 20, 20)
        assert found.leaks == ()
        for ordinal, digest in enumerate(found.pixel_digests):
            stored = np.moveaxis(found.prepared_NCS[ordinal], 0, -1)
            assert pixels.digest_pixels(stored) == digest

    def test_the_splits_of_a_column(self, tmp_path):
        fill(tmp_path)
        found = read(tmp_path, split={"method": "column", "column": "fold"})
        assert [found.samples[i].split for i in (0, 2, 4)] == ["train", "train", "train"]
        assert {sample.split for sample in found.samples} == set(samples.SPLITS)

    def test_a_split_file_carries_a_division_over_to_renamed_files(self, tmp_path):
        fill(tmp_path)
        first = read(tmp_path, split={"method": "folds", "folds": 5, "fold": 2})
        pairs = zip(first.marks, first.samples, strict=True)
        rows = [(mark.pixels, sample.split) for mark, sample in pairs]
        split_file.write_split_file(tmp_path / "split.json", rows)
        for path in sorted(tmp_path.glob("*.npy")):
            path.rename(path.with_name(f"z{path.name}"))
        table = (tmp_path / "labels.csv").read_text()
        (tmp_path / "labels.csv").write_text(table.replace("\np", "\nzp"))
        second = read(tmp_path, split={"method": "file", "path": "split.json"})
        again = {m.pixels: s.split for m, s in zip(second.marks, second.samples, strict=True)}
        assert again == dict(rows)
        assert b"p0" not in (tmp_path / "split.json").read_bytes()

    def test_the_order_of_rows_changes_no_bit(self, tmp_path):
        fill(tmp_path / "a")
        fill(tmp_path / "b")
        table = tmp_path / "b" / "labels.csv"
        header, *rows = table.read_text().splitlines(keepends=True)
        table.write_text("".join([header, *rows[::-1]]))
        one, other = (
            cohort.build_cohort(read(tmp_path / name), TokenizerSection(), allow_leaks=False)
            for name in "ab"
        )
        assert one.samples == other.samples
        assert one.pixel_digests == other.pixel_digests

    def test_the_configuration_is_read_from_toml_with_its_faults(self, tmp_path):
        text = (
            '[data]\nreader = "folder"\n[data.labels]\nfile = "x.csv"\nid_column = "id"\n'
            'scheme = "{}"\ncolumn = "c"\n[data.split]\nmethod = "{}"\n'
        )
        good = trainer_config.parse_config(text.format("pipe", "folds").encode(), "x.toml")
        assert good.data.labels.scheme == "pipe"
        assert good.data.split.folds == 5
        for scheme, method, said in (("pip", "folds", "pipe"), ("pipe", "fold", "folds")):
            with pytest.raises(errors.ConfigError, match=f"did you mean {said}"):
                trainer_config.parse_config(text.format(scheme, method).encode(), "x.toml")


class TestLongPixels:
    """What DICOM says of the spacing reaches the turns of the training images."""

    OPTIONS = TokenizerSection(augmentation={"rotate_degrees": 45.0})
    TURNS = TokenizerSection(augmentation={"quarter_turns": True})

    def members(self, root, spacing, section):
        root.mkdir()
        for i, picture in enumerate(plain_folder.pictures(20)):
            values = {"Modality": "DX", "PixelSpacing": spacing, "PatientID": f"p{i}",
                      "SeriesInstanceUID": f"1.{i}", "SOPInstanceUID": f"2.{i}"}  # fmt: skip
            (root / f"{i}.dcm").write_bytes(dicom_files.make(picture[..., 0], **values))
        lines = ["image,label", *(f"{i},{'ab'[i % 2]}" for i in range(20))]
        (root / "labels.csv").write_text("\n".join(lines) + "\n")
        reader = folder.FolderReader(options(root, {"id_name": "stem"}))
        dataset = reader.preparing(section, None).read()
        return cohort.build_cohort(dataset, section, allow_leaks=False)

    def feed(self, root, spacing):
        members = self.members(root, spacing, self.OPTIONS)
        return batches.Feed(
            cohort=members,
            tokenizer=members.build_tokenizer(self.OPTIONS),
            augmentation=augmentation.Augmentation(self.OPTIONS.augmentation, 0),
            base_seed=0,
        )

    def test_images_with_long_pixels_are_turned_in_millimetres(self, tmp_path):
        spacings = {"square": [0.5, 0.5], "long": [0.5, 0.25], "none": None}
        feeds = {name: self.feed(tmp_path / name, edges) for name, edges in spacings.items()}
        assert set(feeds["long"].cohort.plane_ratios) == {0.5}
        members = feeds["long"].cohort.splits["train"]
        inputs = {name: feed.training_batch(1, members).inputs for name, feed in feeds.items()}
        assert (inputs["square"] == inputs["none"]).all()
        assert (inputs["square"] != inputs["long"]).any()

    def test_they_are_not_turned_by_quarters(self, tmp_path):
        long = self.members(tmp_path / "long", [0.5, 0.25], self.TURNS)
        count = len(long.splits["train"])
        said = f"{count} of {count} whose columns lie 0.5 times as far apart"
        with pytest.raises(errors.DatasetError, match=said) as caught:
            long.build_tokenizer(self.TURNS)
        assert "quarter_turns" in caught.value.where
        for name, spacing in (("square", [0.5, 0.5]), ("none", None)):
            members = self.members(tmp_path / name, spacing, self.TURNS)
            assert members.build_tokenizer(self.TURNS)

    def test_unless_they_are_made_square(self, tmp_path):
        options = {"spacing_mm": (0.5, 0.5), "size": (10, 10)}
        section = TokenizerSection(augmentation={"quarter_turns": True}, **options)
        assert self.members(tmp_path / "x", [0.5, 0.25], section).build_tokenizer(section)


class TestOnDemand:
    """Memory does not grow with the dataset."""

    def test_images_are_not_held(self, tmp_path):
        fill(tmp_path)
        images = read(tmp_path).images
        assert images[0] is not images[0]
        assert (images[0].values == images[0].values).all()
        assert len(images) == 20
        assert (images[3:5][1].values == images[4].values).all()
        assert sum(1 for _ in images) == 20

    def test_an_image_that_changed_meanwhile_is_refused(self, tmp_path):
        fill(tmp_path)
        found = read(tmp_path)
        np.save(tmp_path / found.samples[3].key, np.zeros((20, 20, 1), np.uint8))
        with pytest.raises(errors.DatasetError, match="that were digested before") as caught:
            found.images[3]
        assert caught.value.where == found.samples[3].key

    def test_images_are_not_taken_for_those_that_other_options_prepare(self, tmp_path):
        fill(tmp_path)
        found = read(tmp_path)
        with pytest.raises(ValueError, match="by other options"):
            cohort.build_cohort(found, TokenizerSection(resize=10), allow_leaks=False)
        others = TokenizerSection(patches={"size": (8, 8)})
        made = cohort.build_cohort(found, others, allow_leaks=False)
        assert made.prepared_NCS.shape == (20, 1, 20, 20)


class TestRefusals:
    def test_files_that_cannot_be_used_are_all_named(self, tmp_path):
        fill(tmp_path)
        for name in ("a.bad", "b.bad"):
            (tmp_path / name).touch()
        with pytest.raises(errors.DatasetError, match=r"2 that cannot") as caught:
            read(tmp_path)
        assert "a.bad: not an image" in str(caught.value)
        assert "b.bad: not an image" in str(caught.value)
        found = read(tmp_path, on_refused="list")
        assert found.remarks == ("2 files or series could not be used and were left out.",)

    def test_images_that_cannot_be_decoded_are_all_named(self, tmp_path):
        fill(tmp_path)
        for name in ("p0_0.npy", "p1_2.npy"):
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(errors.DatasetError, match=r"(?s)2 that cannot.*p0_0.*p1_2"):
            read(tmp_path)
        found = read(tmp_path, on_refused="list")
        assert len(found.samples) == 18
        assert "2 files or series" in found.remarks[0]

    def test_unmatched_rows_and_images_are_refused_or_listed_and_reported(self, tmp_path):
        fill(tmp_path)
        with (tmp_path / "labels.csv").open("a") as table:
            table.write("p99_9,no,F,train\n")
        np.save(tmp_path / "q_1.npy", plain_folder.pictures(1, seed=9)[0])
        with pytest.raises(errors.DatasetError, match="1 images without row"):
            read(tmp_path, {"id_name": "stem"})
        found = read(tmp_path, {"id_name": "stem", "on_unmatched": "list"})
        assert len(found.samples) == 20
        assert [line.split()[:2] for line in found.remarks] == [["1", "images"], ["1", "rows"]]
        assert "p99_9" in (tmp_path / ".tiny-agent-trainer" / "unmatched.txt").read_text()

    def test_what_images_say_of_themselves_is_counted(self, tmp_path):
        fill(tmp_path)
        lossy = tmp_path / "lossy"
        lossy.mkdir()
        (tmp_path / "p0_0.npy").rename(lossy / "p0_0.npy")
        assert read(tmp_path).remarks == ("1 of 20 images: lossy compression.",)

    def test_images_and_volumes_are_not_mixed(self, tmp_path):
        fill(tmp_path)
        np.save(tmp_path / "p0_0.npy", np.zeros((3, 20, 20, 1), np.uint8))
        with pytest.raises(errors.DatasetError, match="19 images and 1 volumes"):
            read(tmp_path)

    def test_an_absent_folder(self, tmp_path):
        with pytest.raises(errors.DatasetMissingError, match="no directory"):
            read(tmp_path / "gone")

    def test_the_lister_of_images_is_found_when_it_is_needed(self, tmp_path, monkeypatch):
        fill(tmp_path)
        plain_folder.install(monkeypatch)
        assert len(folder.FolderReader(options(tmp_path)).read().samples) == 20
        assert plain_folder.MODULE in sys.modules
