# SPDX-License-Identifier: Apache-2.0
"""Starting weights come from a file whose digest was written down, tensor by tensor.

Not tested here: where a user gets such a file.
"""

import hashlib
import json
import struct

import pytest
import safetensors.torch
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.models import CnnOptions, WeightsOptions
from tiny_agent_trainer.model import shape, weights
from tiny_agent_trainer.model.build import build_network

IMAGE = shape.InputShape(kind="image", sizes=(1, 16, 16), classes=2)


def network_of(classes=2, width=4, **options):
    target = shape.InputShape(kind="image", sizes=(1, 16, 16), classes=classes)
    return build_network(CnnOptions(width=width, layers=2, **options), target, 0)


def ones():
    state = network_of().network.state_dict()
    return {name: torch.ones_like(tensor) for name, tensor in state.items()}


@pytest.fixture
def file(tmp_path):
    """Writes tensors, or any bytes, and gives the options that name them."""

    def write(content, **options):
        data = content if isinstance(content, bytes) else safetensors.torch.save(content)
        (tmp_path / "weights.safetensors").write_bytes(data)
        options.setdefault("sha256", hashlib.sha256(data).hexdigest())
        return WeightsOptions(path=str(tmp_path / "weights.safetensors"), **options)

    return write


def refused(options):
    with pytest.raises(errors.ModelError) as caught:
        network_of(weights=options)
    assert options.path in caught.value.where
    return str(caught.value)


def test_every_tensor_is_replaced_and_listed(file):
    built = network_of(weights=file(ones()))
    state = built.network.state_dict()
    assert all(bool((tensor == 1).all()) for tensor in state.values())
    assert [match.name for match in built.matches] == sorted(state)
    assert {match.verdict for match in built.matches} == {"loaded"}
    assert all(match.shapes[0] == match.shapes[1] for match in built.matches)


def test_without_a_file_nothing_is_listed():
    assert network_of().matches == ()


def test_the_table_says_what_became_of_every_tensor(file):
    tensors = ones()
    head = max(name for name in tensors if name.endswith("weight"))
    tensors[head] = torch.ones(7, 3)
    lost = min(tensors)
    del tensors[lost]
    tensors["extra"] = torch.ones(())
    built = network_of(weights=file(tensors, require_all=False))
    verdicts = {match.name: match.verdict for match in built.matches}
    assert (verdicts[head], verdicts[lost], verdicts["extra"]) == (
        "other shape",
        "only in the network",
        "only in the file",
    )
    assert list(verdicts.values()).count("loaded") == len(tensors) - 2
    plain = network_of().network.state_dict()
    for name in (head, lost):
        assert torch.equal(built.network.state_dict()[name], plain[name])
    table = weights.describe(list(built.matches)).splitlines()
    assert len(table) == len(verdicts)
    (line,) = [line for line in table if line.startswith("extra ")]
    assert line.split() == ["extra", "only", "in", "the", "file", "file", "scalar", "network", "-"]


def test_a_tensor_that_is_missing_is_refused_with_the_table(file):
    tensors = ones()
    name = min(tensors)
    del tensors[name]
    message = refused(file(tensors))
    assert name in message
    assert "only in the network" in message
    assert "require_all = false" in message


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(file):
    tensors = ones()
    name = max(name for name in tensors if tensors[name].ndim == 2)
    tensors[name] = torch.ones(5, 6)
    message = refused(file(tensors))
    assert "other shape" in message
    assert "file 5x6" in message


def test_tensors_that_only_the_file_has_are_no_fault(file):
    assert network_of(weights=file({**ones(), "extra": torch.ones(2)})).matches


def test_another_content_is_refused_with_both_digests(file):
    message = refused(file(ones(), sha256="0" * 64))
    assert "0" * 64 in message
    assert hashlib.sha256(safetensors.torch.save(ones())).hexdigest() in message


def test_an_absent_file_is_refused(tmp_path):
    options = WeightsOptions(path=str(tmp_path / "absent"), sha256="0" * 64)
    assert "no such file" in refused(options)


def header(about):
    text = json.dumps(about).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 7, b"\xff" * 64, b"PK\x03\x04 a pickle in a zip", b"\x80\x04\x95 a pickle",
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F99", "shape": [0], "data_offsets": [0, 0]}}),
        header({"a": 3}), header([1]), struct.pack("<Q", 3) + b"{{{",
    ],
)  # fmt: skip
def test_what_is_not_safetensors_is_refused_and_never_unpickled(file, data):
    message = refused(file(data))
    assert "convert the file to safetensors" in message


def test_a_file_of_another_network_is_refused_name_by_name(file):
    other = safetensors.torch.save(dict(network_of(width=8).network.state_dict()))
    message = refused(file(other))
    assert message.count("other shape") > 3
