# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is the same bytes for the same state, reads back as it was, and trusts no header.

Not tested here: that a state continues a training (test_resume.py).
"""

import dataclasses
import json
import pickle
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer import canonical, durable, errors
from tiny_agent_trainer.training import checkpoint, store

POSITION = checkpoint.Position(
    step=7, epoch=1, step_in_epoch=2, epoch_losses=[(0.5, 6.0), (1e-300, 5.0)],
    data_order="ab" * 32, best_epoch=1, best_value=-0.25, stale=3, is_finished=True,
    stopped_early=True,
)  # fmt: skip


def state_of(**changes):
    values = {
        "experiment_digest": "sha256:x:0",
        "position": POSITION,
        "network": {
            "b.weight": torch.linspace(-1, 1, 6).reshape(2, 3),
            "a.bias": torch.tensor([0.0, -0.0, 1e-45, torch.inf]),
            "a.count": torch.tensor(5),
            "a.empty": torch.zeros(0, 3),
        },
        "optimizer": {"mean::b.weight": torch.ones(2, 3)},
        "mark": {"offset": 12, "deep": [None, "ä"]},
    }
    return checkpoint.CheckpointState(**{**values, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def written(path, state):
    checkpoint.write_checkpoint(path, state)
    return path.read_bytes()


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(errors.CheckpointError) as caught:
        checkpoint.read_checkpoint(path)
    assert caught.value.where == str(path)
    return caught.value.found


def header(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(about, rest=b""):
    text = about if isinstance(about, bytes) else json.dumps(about).encode()
    return struct.pack("<Q", len(text)) + text + rest


class TestBytes:
    """Equal states give equal bytes."""

    def test_the_order_of_tensors_has_no_influence(self, path):
        state = state_of()
        turned = dataclasses.replace(state, network=dict(reversed(state.network.items())))
        assert written(path, state) == written(path, turned)

    def test_views_and_transposed_tensors_are_written_as_their_values(self, path):
        whole = torch.arange(12.0).reshape(3, 4)
        plain = state_of(network={"w": whole[:, 1:].t().clone()})
        assert written(path, state_of(network={"w": whole[:, 1:].t()})) == written(path, plain)

    def test_there_is_one_metadata_key_and_it_is_canonical(self, path):
        about, _ = header(written(path, state_of()))
        assert list(about["__metadata__"]) == ["tiny-agent-trainer"]
        text = about["__metadata__"]["tiny-agent-trainer"].encode()
        assert canonical.encode(canonical.decode(text)) == text
        assert canonical.decode(text)["schema"] == "checkpoint-v1"

    def test_any_safetensors_reader_sees_the_networks_own_names(self, path):
        tensors = safetensors.torch.load(written(path, state_of()))
        assert set(tensors) == {
            "b.weight", "a.bias", "a.count", "a.empty", "optimizer::mean::b.weight",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "change",
        [
            {"experiment_digest": "sha256:x:1"}, {"mark": None}, {"optimizer": {}},
            {"position": dataclasses.replace(POSITION, step=8)},
            {"network": {"b.weight": torch.zeros(2, 3)}},
        ],
        ids=lambda change: next(iter(change)),
    )  # fmt: skip
    def test_every_part_is_in_the_bytes(self, path, change):
        assert written(path, state_of(**change)) != written(path, state_of())


class TestRoundTrip:
    """What was written comes back, bit for bit."""

    def test_of_a_whole_state(self, path):
        state = state_of()
        checkpoint.write_checkpoint(path, state)
        found = checkpoint.read_checkpoint(path)
        assert (found.experiment_digest, found.position, found.mark) == (
            state.experiment_digest,
            state.position,
            state.mark,
        )
        for ours, theirs in ((found.network, state.network), (found.optimizer, state.optimizer)):
            assert set(ours) == set(theirs)
            for name, tensor in theirs.items():
                assert ours[name].dtype == tensor.dtype
                assert ours[name].shape == tensor.shape, name
                assert ours[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes()

    finite = st.floats(allow_nan=False, allow_infinity=False)

    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(finite, finite), max_size=4), st.none() | finite,
        st.integers(0, 2**53 - 1),
    )  # fmt: skip
    def test_of_any_position(self, tmp_path_factory, losses, best, step):
        position = checkpoint.Position(epoch_losses=losses, best_value=best, step=step)
        path = tmp_path_factory.mktemp("position") / "x"
        checkpoint.write_checkpoint(path, state_of(position=position))
        assert checkpoint.read_checkpoint(path).position == position

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
    def test_of_every_type_of_buffer(self, path, dtype):
        tensor = torch.tensor([[0, 1, 1]]).to(dtype)
        checkpoint.write_checkpoint(path, state_of(network={"x": tensor}))
        assert torch.equal(checkpoint.read_checkpoint(path).network["x"], tensor)


class TestDigests:
    """Named parts of a state have digests of their own."""

    def test_each_part_changes_its_own_digest_only(self):
        one = state_of().digests()
        other = state_of(network={"x": torch.ones(1)}).digests()
        assert [key for key in one if one[key] != other[key]] == ["weights"]
        other = state_of(optimizer={}).digests()
        assert [key for key in one if one[key] != other[key]] == ["optimizer"]
        position = dataclasses.replace(POSITION, data_order="cd" * 32)
        other = state_of(position=position).digests()
        assert [key for key in one if one[key] != other[key]] == ["data_order"]

    def test_names_types_shapes_and_values_are_in_it(self):
        tensors = [
            {"a": torch.zeros(2, 3)}, {"b": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)},
            {"a": torch.zeros(2, 3, dtype=torch.int32)}, {"a": -torch.zeros(2, 3)},
            {"a": torch.zeros(2, 3), "b": torch.zeros(0)}, {}, {"a": torch.tensor(0.0)},
            {"a": torch.zeros(1)},
        ]  # fmt: skip
        found = {checkpoint.digest_tensors(some) for some in tensors}
        assert len(found) == len(tensors)
        assert all(len(digest) == 64 for digest in found)


class TestDamage:
    """Every damage is a checkpoint error that names the file."""

    def test_a_file_cut_anywhere(self, path):
        data = written(path, state_of())
        for length in [*range(0, len(data), 64), *range(9), len(data) - 1]:
            refused(path, data[:length])

    def test_bytes_behind_the_end(self, path):
        refused(path, written(path, state_of()) + b"\0")

    @pytest.mark.parametrize("length", [2**64 - 1, 2**63, 100_000_001, 10_000, 1])
    def test_a_header_length_that_lies(self, path, length):
        data = written(path, state_of())
        refused(path, struct.pack("<Q", length) + data[8:])

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"{}", b'{"__metadata__": 3}',
            b'{"__metadata__": []}', b'{"__metadata__": {}}',
            b'{"__metadata__": {"tiny-agent-trainer": 3}}',
            b'{"__metadata__": {"tiny-agent-trainer": "not json"}}',
            b'{"__metadata__": {"tiny-agent-trainer": "{}"}}',
            b'{"__metadata__": {"tiny-agent-trainer": "[]"}}',
            b'{"__metadata__": {"tiny-agent-trainer": "{\\"a\\":1,\\"a\\":1}"}}',
            b'{"__metadata__": {"format": "pt"}}',
            b"[" * 100_000, b'{"a":' * 100_000,
        ],
        ids=lambda text: text[:70].decode("latin-1"),
    )  # fmt: skip
    def test_a_header_that_is_not_ours(self, path, text):
        refused(path, with_header(text))

    @pytest.mark.parametrize("key", ["schema", "experiment_digest", "position", "mark"])
    def test_metadata_without_a_key(self, path, key):
        def drop(about):
            del about[key]

        refused(path, self.changed(path, drop))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("schema", "checkpoint-v2"), ("schema", None), ("position", None), ("position", []),
            ("position", {}), ("position", {"epoch_losses": 3, "best_value": 0}),
            ("position", {"epoch_losses": [[1]], "best_value": 0}),
            ("position", {"epoch_losses": [], "best_value": "x"}),
            ("position", {"epoch_losses": [], "best_value": None, "unknown": 1}),
        ],
    )  # fmt: skip
    def test_metadata_of_another_kind(self, path, key, value):
        refused(path, self.changed(path, lambda about: about.update({key: value})))

    def changed(self, path, change):
        about, rest = header(written(path, state_of()))
        ours = json.loads(about["__metadata__"]["tiny-agent-trainer"])
        change(ours)
        about["__metadata__"]["tiny-agent-trainer"] = json.dumps(ours)
        return with_header(about, rest)

    @pytest.mark.parametrize(
        "tensor",
        [
            {"dtype": "F32", "shape": [2], "data_offsets": [0, 8_000_000]},
            {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
            {"dtype": "X32", "shape": [2], "data_offsets": [0, 8]},
            {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]},
            {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]},
            {"shape": [2]}, 3,
        ],
        ids=str,
    )  # fmt: skip
    def test_a_tensor_that_is_not_there(self, path, tensor):
        about, _ = header(written(path, state_of(network={}, optimizer={})))
        refused(path, with_header({**about, "x": tensor}, b"\0" * 8))

    def test_a_pickle_is_never_opened(self, path, tmp_path):
        class Harm:
            def __reduce__(self):
                return (open, (str(tmp_path / "harm"), "w"))

        refused(path, pickle.dumps(Harm()))
        torch.save({"x": torch.ones(1)}, path)
        refused(path, path.read_bytes())
        assert not (tmp_path / "harm").exists()

    def test_a_full_disk_leaves_the_old_checkpoint(self, path, monkeypatch):
        old = written(path, state_of())

        def refuse(*_):
            raise OSError(28, "full")

        monkeypatch.setattr(durable, "_fsync", refuse)
        with pytest.raises(errors.StorageError):
            checkpoint.write_checkpoint(path, state_of(mark="new"))
        assert path.read_bytes() == old


class TestStore:
    """Which checkpoints a run holds."""

    def at(self, step):
        return state_of(position=dataclasses.replace(POSITION, step=step))

    @pytest.mark.parametrize(
        ("keep", "names"),
        [
            (("best",), ["best"]), (("last",), ["last"]), (("best", "last"), ["best", "last"]),
            (("all",), ["best", "last", "step_00000002", "step_00000004"]),
        ],
    )  # fmt: skip
    def test_what_a_finished_run_keeps(self, tmp_path, keep, names):
        kept = store.CheckpointStore(directory=tmp_path, keep=keep)
        kept.write(self.at(2), is_scheduled=True)
        kept.remember_best(self.at(3))
        kept.write(self.at(3), is_scheduled=False)
        kept.write(self.at(4), is_scheduled=True)
        kept.prune()
        expected = [f"{name}.safetensors" for name in names]
        assert sorted(path.name for path in tmp_path.iterdir()) == expected == kept.kept_names()
        assert kept.unkept_names() == []

    def test_best_is_written_before_last_and_once(self, tmp_path, monkeypatch):
        kept = store.CheckpointStore(directory=tmp_path, keep=("best", "last"))
        order = []
        monkeypatch.setattr(checkpoint, "write_checkpoint", lambda path, _: order.append(path.name))
        kept.write(self.at(1), is_scheduled=True)
        kept.remember_best(self.at(2))
        kept.write(self.at(2), is_scheduled=True)
        kept.write(self.at(3), is_scheduled=True)
        last, best = store.LAST, store.BEST
        assert order == [last, best, last, last]

    def test_a_new_process_reads_what_was_written(self, tmp_path):
        kept = store.CheckpointStore(directory=tmp_path, keep=("best",))
        assert kept.read_last() is None
        kept.remember_best(self.at(5))
        kept.write(self.at(6), is_scheduled=True)
        fresh = store.CheckpointStore(directory=tmp_path, keep=("best",))
        assert fresh.read_last().position.step == 6
        best = kept.read_best(checkpoint.Position())
        position = checkpoint.Position(best_weights=checkpoint.digest_tensors(best.network))
        assert fresh.read_best(position).position.step == best.position.step == 5

    def test_another_best_than_the_training_chose_is_refused(self, tmp_path):
        kept = store.CheckpointStore(directory=tmp_path, keep=("best",))
        kept.remember_best(self.at(5))
        kept.write(self.at(6), is_scheduled=True)
        fresh = store.CheckpointStore(directory=tmp_path, keep=("best",))
        position = checkpoint.Position(best_epoch=3, best_weights="0" * 64)
        with pytest.raises(errors.CheckpointError, match="the network of epoch 3"):
            fresh.read_best(position)
        (tmp_path / store.BEST).unlink()
        with pytest.raises(errors.CheckpointError, match="No such file"):
            fresh.read_best(position)


def test_a_checkpoint_of_no_tensors_is_a_checkpoint(path):
    checkpoint.write_checkpoint(path, state_of(network={}, optimizer={}))
    found = checkpoint.read_checkpoint(path)
    assert (found.network, found.optimizer) == ({}, {})
    assert isinstance(found.position.epoch_losses, list)
    assert np.isfinite(found.position.step)
