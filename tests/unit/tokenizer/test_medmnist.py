# SPDX-License-Identifier: Apache-2.0
"""Official files are known by their MD5, and nothing else is used.

Not tested here: the publisher's server, which no test asks.
"""

import collections
import hashlib
import io
import re
import urllib.error
from email.message import Message

import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import MedmnistOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import cohort, download, medmnist

BREAST_MD5 = "750601b1f35ba3300ea97c75c52ff8f6"
PUBLISHED_SETS = {
    "adrenalmnist3d", "bloodmnist", "breastmnist", "chestmnist", "dermamnist", "fracturemnist3d",
    "nodulemnist3d", "octmnist", "organamnist", "organcmnist", "organmnist3d", "organsmnist",
    "pathmnist", "pneumoniamnist", "retinamnist", "synapsemnist3d", "tissuemnist", "vesselmnist3d",
}  # fmt: skip


def options(dataset="breastmnist", **others):
    return MedmnistOptions(reader="medmnist", dataset=dataset, **others)


def read(**others):
    return medmnist.MedmnistReader(options(**others)).read()


@pytest.fixture(autouse=True)
def _lonely(monkeypatch, tmp_path):
    """No network, an empty cache, and no directory named by the environment."""

    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(medmnist.ENVIRONMENT_VARIABLE, raising=False)


class TestListing:
    """The table of published files."""

    def test_it_holds_the_eighteen_published_sets(self):
        assert set(medmnist.listing()) == PUBLISHED_SETS
        assert len(PUBLISHED_SETS) == 18

    def test_every_file_has_an_md5_of_its_own(self):
        files = [file for about in medmnist.listing().values() for file in about["files"].values()]
        assert all(re.fullmatch(r"[0-9a-f]{32}", file["md5"]) for file in files)
        assert len({file["md5"] for file in files}) == len({f["name"] for f in files}) == len(files)
        assert medmnist.listing()["breastmnist"]["files"]["28"]["md5"] == BREAST_MD5

    def test_every_set_is_described(self):
        for name, about in medmnist.listing().items():
            assert about["dims"] == (3 if name.endswith("3d") else 2)
            assert set(about["files"]) == ({"28", "64"} if about["dims"] == 3 else
                                           {"28", "64", "128", "224"})  # fmt: skip
            assert about["channels"] in (1, 3)
            assert about["task"] == ("multilabel" if name == "chestmnist" else "multiclass")
            assert set(about["samples"]) == {"train", "val", "test"}
            assert len(about["classes"]) >= 2

    @pytest.mark.parametrize(
        ("others", "said"),
        [
            ({"dataset": "brainmnist"}, "breastmnist"),
            ({"dataset": "organmnist3d", "size": 224}, "a size of 28, 64"),
        ],
    )
    def test_what_was_never_published_is_refused(self, others, said):
        with pytest.raises(errors.DatasetError, match=said):
            read(**others)


class TestPublishedFiles:
    """The real files, as their authors published them."""

    @pytest.mark.parametrize(
        ("name", "counts"),
        [
            ("breastmnist", {"train": 546, "val": 78, "test": 156}),
            ("pneumoniamnist", {"train": 4708, "val": 524, "test": 624}),
        ],
    )
    def test_they_hold_what_the_authors_say(self, shared_data, name, counts):
        dataset = read(dataset=name, root=str(shared_data / "medmnist"))
        found = [sample.split for sample in dataset.samples]
        assert {split: found.count(split) for split in counts} == counts
        assert counts == medmnist.listing()[name]["samples"]
        assert {image.shape for image in dataset.images} == {(28, 28, 1)}
        assert (dataset.name, dataset.task, dataset.dims) == (name, "multiclass", 2)
        (file,) = dataset.files
        data = (shared_data / "medmnist" / file.path).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())

    def test_the_known_leak_of_breastmnist_is_found_with_its_two_labels(self, shared_data):
        dataset = read(root=str(shared_data / "medmnist"))
        with pytest.raises(errors.LeakError, match="equal pixels in two splits") as caught:
            cohort.build_cohort(dataset, TokenizerSection(), allow_leaks=False)
        assert "test/76 = train/115" in str(caught.value)
        leaks = cohort.build_cohort(dataset, TokenizerSection(), allow_leaks=True).leaks
        equal, contradictory, *near = leaks
        assert equal.what == "equal pixels"
        assert contradictory.what == "equal pixels with different labels"
        for leak in (equal, contradictory):
            assert {(split, label) for _, split, label in leak.members} == {
                ("train", (0,)),
                ("test", (1,)),
            }
        assert {leak.what for leak in near} == {"near duplicates"}
        assert len(near) == 74

    def test_the_known_leaks_of_pneumoniamnist_are_found(self, shared_data):
        dataset = read(dataset="pneumoniamnist", root=str(shared_data / "medmnist"))
        found = cohort.build_cohort(dataset, TokenizerSection(), allow_leaks=True)
        assert [leak.what for leak in found.leaks] == ["equal pixels"] * 8
        for leak in found.leaks:
            assert {split for _, split, _ in leak.members} == {"train", "val"}
        digests = collections.Counter(found.pixel_digests)
        assert sum(count > 1 for count in digests.values()) == 27

    def test_the_directory_may_be_named_by_the_environment(self, shared_data, monkeypatch):
        monkeypatch.setenv(medmnist.ENVIRONMENT_VARIABLE, str(shared_data / "medmnist"))
        assert len(read().samples) == 780

    @pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
    def test_a_damaged_copy_is_refused(self, shared_data, tmp_path, damage):
        data = bytearray((shared_data / "medmnist" / "breastmnist.npz").read_bytes())
        if damage == "cut":
            del data[-1:]
        elif damage == "longer":
            data += b"\0"
        else:
            data[len(data) // 2] ^= 1
        (tmp_path / "breastmnist.npz").write_bytes(data)
        with pytest.raises(errors.DatasetError, match=BREAST_MD5):
            read(root=str(tmp_path))


class TestAbsent:
    """A file that is not here is asked for by name, digest and places."""

    def test_offline_it_is_named_with_its_digest_and_every_place(self, tmp_path, monkeypatch):
        monkeypatch.setenv(medmnist.ENVIRONMENT_VARIABLE, str(tmp_path / "named"))
        with pytest.raises(errors.DatasetMissingError) as caught:
            read(root=str(tmp_path / "root"))
        text = str(caught.value)
        for part in ("breastmnist.npz", BREAST_MD5, "no route to host", "zenodo.org"):
            assert part in text
        for place in ("root", "named", "cache/tiny-agent-trainer"):
            assert str(tmp_path / place) in text

    def test_without_permission_to_download_nobody_is_asked(self, monkeypatch):
        monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
        with pytest.raises(errors.DatasetMissingError, match="download = false"):
            read(download=False)

    @pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut", b"<html>not found</html>"])
    def test_another_content_of_the_right_name_is_refused_with_both_digests(self, tmp_path, data):
        (tmp_path / "breastmnist.npz").write_bytes(data)
        with pytest.raises(errors.DatasetError) as caught:
            read(root=str(tmp_path))
        assert BREAST_MD5 in caught.value.expected
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() in caught.value.found
        assert f"({len(data)} bytes)" in caught.value.found

    def test_a_directory_of_that_name_is_no_file(self, tmp_path):
        (tmp_path / "breastmnist.npz").mkdir()
        with pytest.raises(errors.DatasetMissingError):
            read(root=str(tmp_path))


def serve(monkeypatch, data, breaks_after=None):
    """Let the publisher answer with `data`, and break the connection after so many bytes."""
    asked = []

    class Answer(io.BytesIO):
        headers = Message()

        def read(self, size=-1):
            if breaks_after is not None and self.tell() >= breaks_after:
                raise ConnectionResetError("the connection was reset")
            return super().read(size if breaks_after is None else min(size, breaks_after))

    def urlopen(url, timeout):
        asked.append((url, timeout))
        answer = Answer(data)
        answer.headers["Content-Length"] = str(len(data))
        return answer

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


class TestDownload:
    """Checked before it gets its name."""

    data = bytes(range(256)) * 4000
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def fetch(self, target, md5=None):
        seen = []
        problem = download.fetch(
            "https://example.org/x", target, md5 or self.md5, lambda *told: seen.append(told)
        )
        return problem, seen

    def test_the_right_bytes_get_their_name(self, monkeypatch, tmp_path):
        asked = serve(monkeypatch, self.data)
        problem, seen = self.fetch(tmp_path / "deep" / "x.npz")
        assert problem == ""
        assert (tmp_path / "deep" / "x.npz").read_bytes() == self.data
        assert seen[-1] == ("fetching x.npz", len(self.data), len(self.data))
        assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
        assert [url for url, _ in asked] == ["https://example.org/x"]
        assert all(timeout > 0 for _, timeout in asked)

    def test_wrong_bytes_leave_nothing_behind(self, monkeypatch, tmp_path):
        serve(monkeypatch, self.data)
        problem, _ = self.fetch(tmp_path / "x.npz", md5="0" * 32)
        assert self.md5 in problem
        assert "0" * 32 in problem
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("breaks_after", [0, 1, 1000])
    def test_a_broken_connection_leaves_nothing_behind(self, monkeypatch, tmp_path, breaks_after):
        serve(monkeypatch, self.data, breaks_after)
        problem, _ = self.fetch(tmp_path / "x.npz")
        assert "could not be reached" in problem
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_is_there_stays_when_a_new_one_is_wrong(self, monkeypatch, tmp_path):
        (tmp_path / "x.npz").write_bytes(b"old")
        serve(monkeypatch, self.data[:-1])
        problem, _ = self.fetch(tmp_path / "x.npz")
        assert problem
        assert (tmp_path / "x.npz").read_bytes() == b"old"

    def test_a_reader_fetches_into_the_cache_and_reads_from_there_next_time(
        self, monkeypatch, tmp_path
    ):
        written = io.BytesIO()
        arrays = {}
        for number, split in enumerate(("train", "val", "test")):
            arrays[f"{split}_images"] = np.full((2, 28, 28), number, np.uint8)
            arrays[f"{split}_labels"] = np.array([[0], [1]], np.uint8)
        np.savez(written, **arrays)
        md5 = hashlib.md5(written.getvalue(), usedforsecurity=False).hexdigest()
        about = {**medmnist.listing()["breastmnist"]}
        about["files"] = {"28": {"name": "breastmnist.npz", "md5": md5}}
        monkeypatch.setattr(medmnist, "listing", lambda: {"breastmnist": about})
        asked = serve(monkeypatch, written.getvalue())
        assert len(read().samples) == 6
        assert len(asked) == 1
        assert "breastmnist.npz" in asked[0][0]
        assert (tmp_path / "cache" / "tiny-agent-trainer" / "breastmnist.npz").is_file()
        monkeypatch.setattr("urllib.request.urlopen", pytest.fail)
        assert len(read().samples) == 6

    def test_a_publisher_that_sends_something_else_is_told_apart_from_an_absent_network(
        self, monkeypatch, tmp_path
    ):
        serve(monkeypatch, b"<html>maintenance</html>")
        with pytest.raises(errors.DatasetMissingError, match="what came has MD5"):
            read()
        assert list((tmp_path / "cache" / "tiny-agent-trainer").iterdir()) == []
