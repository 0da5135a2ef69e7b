# SPDX-License-Identifier: Apache-2.0
"""`[data.split]`: each method, and split files that are written once and applied again.

Not tested here: how patients are dealt (test_fractions.py, test_folds.py).
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.config import splits
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.splits import division, split_file

DIGESTS = [f"{index:064x}" for index in range(30)]


def undivided(count=30, named=None):
    return division.Undivided(
        task="multiclass",
        keys=[f"k{i}" for i in range(count)],
        patients=[f"p{i // 2}" for i in range(count)],
        labels=[(i % 2,) for i in range(count)],
        pixel_digests=DIGESTS[:count],
        named=named or [""] * count,
    )


class TestMethods:
    @pytest.mark.parametrize(
        "options",
        [
            splits.FractionsOptions(),
            splits.FractionsOptions(repeat=3),
            splits.FoldsOptions(method="folds", folds=3, fold=1),
        ],
        ids=["fractions", "repeat", "folds"],
    )
    def test_no_patient_is_divided(self, tmp_path, options):
        found = division.divide(undivided(), options, tmp_path)
        assert set(found) == set(samples.SPLITS)
        for first in range(0, 30, 2):
            assert found[first] == found[first + 1]

    def test_a_column_is_taken_at_its_word(self, tmp_path):
        named = (["train"] * 4 + ["val"] * 3 + ["test"] * 3) * 3
        options = splits.ColumnOptions(method="column", column="fold")
        assert division.divide(undivided(named=named), options, tmp_path) == named

    def test_other_words_in_a_column_are_all_named(self, tmp_path):
        named = ["train", "Training", ""] * 10
        options = splits.ColumnOptions(method="column", column="fold")
        with pytest.raises(errors.DatasetError, match="20 without") as caught:
            division.divide(undivided(named=named), options, tmp_path)
        assert "k1 ('Training'), k2 ('')" in caught.value.found

    def test_a_split_file_is_applied_by_pixels(self, tmp_path):
        chosen = division.divide(undivided(), splits.FractionsOptions(), tmp_path)
        rows = zip(DIGESTS, chosen, strict=True)
        split_file.write_split_file(tmp_path / "split.json", rows)
        options = splits.FileOptions(method="file", path="split.json")
        assert division.divide(undivided(), options, tmp_path) == chosen
        assert division.divide(undivided(7), options, tmp_path) == chosen[:7]

    def test_an_image_that_the_file_does_not_know_is_named(self, tmp_path):
        split_file.write_split_file(tmp_path / "s.json", [(DIGESTS[0], "train")])
        options = splits.FileOptions(method="file", path="s.json")
        with pytest.raises(errors.DatasetError, match="2 without: k1, k2"):
            division.divide(undivided(3), options, tmp_path)

    @pytest.mark.parametrize("path", ["../s.json", "link.json"])
    def test_no_split_file_outside_of_the_root(self, tmp_path, path):
        root = tmp_path / "root"
        root.mkdir()
        split_file.write_split_file(tmp_path / "s.json", [(DIGESTS[0], "train")])
        (root / "link.json").symlink_to(tmp_path / "s.json")
        options = splits.FileOptions(method="file", path=path)
        with pytest.raises(errors.DatasetError, match="leads out of it"):
            division.divide(undivided(1), options, root)

    def test_an_absent_file_is_missing_data(self, tmp_path):
        options = splits.FileOptions(method="file", path="s.json")
        with pytest.raises(errors.DatasetMissingError, match="no such file"):
            division.divide(undivided(1), options, tmp_path)


class TestSplitFile:
    """docs/formats/split-v1.md."""

    @given(st.dictionaries(st.sampled_from(DIGESTS), st.sampled_from(samples.SPLITS), min_size=1))
    def test_clauses_1_and_2_it_is_canonical_and_read_back(self, rows):
        content = split_file.encode_split_file(rows.items())
        assert canonical.decode_canonical(content) == {"schema": "split-v1", "samples": rows}
        assert split_file.decode_split_file(content, "x") == rows

    def test_clause_4_one_digest_in_two_splits_is_not_written(self):
        rows = [(DIGESTS[0], "train"), (DIGESTS[0], "test")]
        with pytest.raises(errors.DatasetError, match="in train and in test"):
            split_file.encode_split_file(rows)

    def test_clause_6_a_data_manifest_is_read_too(self):
        rows = [
            {"sample": 0, "pixels_sha256": DIGESTS[0], "split": "val", "key": "secret"},
            {"sample": 1, "pixels_sha256": DIGESTS[0], "split": "val", "key": "secret"},
        ]
        content = json.dumps({"schema": "data-manifest-v1", "samples": rows}).encode()
        assert split_file.decode_split_file(content, "x") == {DIGESTS[0]: "val"}
        rows[1]["split"] = "test"
        content = json.dumps({"schema": "data-manifest-v1", "samples": rows}).encode()
        with pytest.raises(errors.DatasetError, match="in val and in test"):
            split_file.decode_split_file(content, "x")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"[]", "schema None"),
            (b'{"schema": "split-v2"}', "schema 'split-v2'"),
            (b'{"schema": "split-v1"}', "no sample"),
            (b'{"schema": "split-v1", "samples": [1]}', "no sample"),
            (b'{"schema": "split-v1", "samples": {"00": "train"}}', "pixel digest '00'"),
            (b'{"schema": "split-v1", "samples": {"%s": "dev"}}' % (b"0" * 64), "split 'dev'"),
            (b'{"schema": "split-v1", "samples": {"%s": []}}' % (b"0" * 64), "split '\\[\\]'"),
            (b'{"schema": "data-manifest-v1", "samples": [1]}', "no object"),
        ],
    )
    def test_anything_else_is_refused(self, content, said):
        with pytest.raises(errors.DatasetError, match=said):
            split_file.decode_split_file(content, "x")

    def test_a_file_too_large_is_not_read(self, tmp_path, monkeypatch):
        split_file.write_split_file(tmp_path / "s.json", [(DIGESTS[0], "train")])
        monkeypatch.setattr(split_file, "SIZE_LIMIT_BYTES", 10)
        with pytest.raises(errors.DatasetError, match="more than 10 bytes"):
            split_file.read_split_file(tmp_path / "s.json")
