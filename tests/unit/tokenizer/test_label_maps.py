# SPDX-License-Identifier: Apache-2.0
"""Label maps are paired by name, refused with every fault, marked as their images are prepared.

Not tested here: reading NIfTI and comparing grids (tests/unit/tokenizer/images/test_nifti.py),
whole runs on published volumes (tests/story/test_label_maps.py).
"""

import nibabel
import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import data, trainer_config
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.experiments import data_manifest
from tiny_agent_trainer.tokenizer import cohort, folder, marking, pixels, samples, tokenization
from tiny_agent_trainer.tokenizer.cache import store
from tiny_agent_trainer.tokenizer.images.image import Image
from tiny_agent_trainer.tokenizer.preparation import prepare

COUNT = 12
SHAPE = (5, 6, 7)
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
PATCHES = {"size": (2, 2, 2), "foreground_fraction": 1.0}


def write(root, name, values, affine=LAS):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(nibabel.Nifti1Image(values, affine).to_bytes())


def marked_voxel(number):
    return number % 5, number % 3, number % 7


@pytest.fixture
def root(tmp_path):
    """Volumes of noise, each with one voxel of class 2 in its map and two of class 1."""
    dice = np.random.default_rng(1)
    rows = ["image,finding"]
    for number in range(COUNT):
        write(tmp_path, f"images/v{number}.nii", dice.integers(0, 999, SHAPE).astype(np.int16))
        label = np.zeros(SHAPE, np.uint8)
        label[0, 5, :2] = 1
        label[marked_voxel(number)] = 2
        write(tmp_path, f"labels/v{number}.nii", label)
        rows.append(f"v{number},{'no' if number % 2 else 'yes'}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def read(root, **others):
    table = {"file": "table.csv", "id_column": "image", "column": "finding"}
    labels = {**table, "each_image_is_a_patient": True, **others.pop("labels", {})}
    options = data.FolderOptions(
        reader="folder", root=str(root), labels=labels, **{"label_maps": "labels", **others}
    )
    return folder.FolderReader(options).read()


def build(root, section=None, kept=None, **others):
    section = section or TokenizerSection(patches={**PATCHES, "foreground_above": 1})
    return cohort.build_cohort(read(root, **others), section, allow_leaks=False, store=kept)


def number_of(sample):
    return int(sample.key.removeprefix("images/v").removesuffix(".nii"))


class TestMarks:
    def test_each_sample_has_the_marks_of_its_own_map(self, root):
        found = build(root)
        assert len(found.samples) == COUNT
        for sample, marked in zip(found.samples, found.marked_NCS, strict=True):
            x, y, z = marked_voxel(number_of(sample))
            assert np.argwhere(marked[0]).tolist() == [[SHAPE[0] - 1 - x, y, z]]

    def test_the_store_keeps_the_same_bits(self, root, tmp_path_factory):
        kept = store.Store(tmp_path_factory.mktemp("cache"), 1 << 30)
        held, mapped, again = build(root), build(root, kept=kept), build(root, kept=kept)
        for one in (mapped, again):
            assert one.marked_NCS.dtype == np.uint8
            assert (one.marked_NCS == held.marked_NCS).all()
        other = TokenizerSection(patches={**PATCHES, "foreground_above": 0})
        assert build(root, other, kept).marked_NCS.sum() > held.marked_NCS.sum()

    def test_a_map_is_turned_spaced_and_cut_as_its_image(self):
        label = np.zeros((6, 8, 4, 1), np.uint8)
        label[1:3, 2:5, 1:3] = 1
        place = {"spacing_mm": (1.0, 1.0, 2.0), "orientation": "RAS"}
        section = TokenizerSection(
            orientation="IPR", spacing_mm=(1.0, 2.0, 1.5), size=(8, 3, 3), pad_value=7, channels=3,
            intensity="window", window=(0.0, 1.0),
        )  # fmt: skip
        (marked,) = marking.mark_all([map_of(Image(values=label, **place))], section, None)
        shown = prepare.prepare(Image(values=label, **place), section)
        assert marked.shape[1:] == shown.shape[1:]
        is_filled = shown[0] > (0 if section.pad_value == 0 else 7)
        assert (marked[0].astype(bool) == is_filled).all()
        assert 0 < marked.sum() < marked.size

    def test_one_voxel_is_still_marked_where_hundreds_become_one(self):
        label = np.zeros((32, 32, 32, 1), np.uint8)
        label[31, 0, 17] = 3
        section = TokenizerSection(resize=2)
        (marked,) = marking.mark_all([map_of(Image(values=label))], section, None)
        assert np.argwhere(marked[0]).tolist() == [[1, 0, 1]]

    def test_slices_that_become_channels_keep_their_marks(self):
        label = np.zeros((5, 4, 4, 1), np.uint8)
        label[3, 1, 2] = 1
        section = TokenizerSection(slices=3)
        (marked,) = marking.mark_all([map_of(Image(values=label))], section, None)
        assert np.argwhere(marked).tolist() == [[2, 1, 2]]

    def test_a_map_that_changes_while_it_is_read_is_refused(self):
        one, other = (Image(values=np.full((2, 2, 2, 1), n, np.uint8)) for n in (0, 1))
        changed = samples.LabelMap(
            pixels=map_of(one).pixels, file=map_of(one).file, read=lambda: other
        )
        with pytest.raises(errors.DatasetError, match="digested before"):
            marking.mark_all([changed], TokenizerSection(), None)


def map_of(image):
    file = samples.SourceFile(path="l.nii", size_bytes=1, sha256="0" * 64)
    digest = pixels.digest_pixels(image.values)
    return samples.LabelMap(pixels=digest, file=file, read=lambda: image)


class TestManifest:
    """Other label maps make other data; the same ones do not."""

    def manifest(self, root):
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        return data_manifest.encode_data_manifest(build(root), plain)

    def test_a_changed_voxel_and_exchanged_maps_change_it(self, root):
        first = self.manifest(root)
        assert first == self.manifest(root)
        assert first.count(b"label_map_sha256") == COUNT
        one, other = (root / f"labels/v{number}.nii" for number in (3, 4))
        contents = one.read_bytes(), other.read_bytes()
        one.write_bytes(contents[1])
        other.write_bytes(contents[0])
        exchanged = self.manifest(root)
        other.write_bytes(contents[0][:-1] + b"\1")
        assert len({first, exchanged, self.manifest(root)}) == 3

    def test_without_maps_it_does_not_speak_of_them(self, root):
        (root / "labels").rename(root / "aside")
        (root / "aside").rename(root.parent / f"{root.name}_aside")
        plain = tokenization.Normalization(mean=(0.0,), deviation=(1.0,))
        found = build(root, TokenizerSection(), label_maps="")
        assert b"label_map" not in data_manifest.encode_data_manifest(found, plain)
        assert found.marked_NCS is None


class TestFaults:
    """All faults of both sides at once."""

    @pytest.fixture
    def faulty(self, root):
        (root / "labels/v1.nii").unlink()
        write(root, "labels/stranger.nii", np.zeros(SHAPE, np.uint8))
        write(root, "labels/v2.nii", np.zeros((5, 6, 8), np.uint8))
        write(root, "labels/v3.nii", np.full(SHAPE, 0.5, np.float32))
        np.save(root / "labels/v4.npy", np.zeros(SHAPE))
        return root

    def test_they_are_refused_with_both_sides(self, faulty):
        with pytest.raises(errors.DatasetError) as caught:
            read(faulty)
        said = str(caught.value)
        assert "5 that cannot" in said
        assert "images/v1.nii: no label map of this name" in said
        assert "labels/stranger.nii: a label map without an image of this name" in said
        assert "images/v2.nii: shape 5 x 6 x 7, but 5 x 6 x 8 in the label map" in said
        assert "labels/v3.nii: expected a label map of whole numbers" in said
        assert "labels/v4.npy: no NIfTI label map" in said

    def test_or_left_out_and_told(self, faulty):
        found = read(faulty, on_refused="list")
        numbers = {number_of(sample) for sample in found.samples}
        assert numbers == set(range(COUNT)) - {1, 2, 3}
        assert any("5 files or series could not be used" in said for said in found.remarks)

    def test_images_that_nobody_trains_on_need_no_map(self, root):
        (root / "labels/v0.nii").unlink()
        table = (root / "table.csv").read_text().replace("v0,yes\n", "")
        (root / "table.csv").write_text(table)
        found = read(root, labels={"id_name": "stem", "on_unmatched": "list"})
        assert len(found.samples) == COUNT - 1

    def test_images_that_are_no_volumes_have_no_map(self, root):
        np.save(root / "images/v0.npy", np.zeros((4, 4, 1), np.uint8))
        (root / "images/v0.nii").unlink()
        with pytest.raises(errors.DatasetError, match=r"images/v0.npy: no NIfTI image"):
            read(root)

    def test_no_map_at_all(self, root):
        for path in (root / "labels").iterdir():
            path.unlink()
        with pytest.raises(errors.DatasetError, match="no image below labels/"):
            read(root)

    def test_the_folder_may_be_written_with_dots_and_slashes(self, root):
        assert len(read(root, label_maps="./labels/").samples) == COUNT


class TestConfiguration:
    @pytest.mark.parametrize("patches", ["", "size = [2, 2, 2]", "foreground_fraction = 0.5"])
    def test_maps_that_would_do_nothing_are_refused(self, patches):
        text = (
            '[data]\nreader = "folder"\nlabel_maps = "labels"\n[data.labels]\nfile = "t.csv"\n'
            f'id_column = "i"\ncolumn = "c"\n[tokenizer.patches]\n{patches}\n'
        )
        with pytest.raises(errors.ConfigError, match="foreground_fraction"):
            trainer_config.parse_config(text.encode(), "x.toml")
