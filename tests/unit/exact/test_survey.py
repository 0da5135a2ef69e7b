# SPDX-License-Identifier: Apache-2.0
"""A survey notes everything that exact arithmetic would refuse, and goes on.

Not tested here: the command that prints it (tests/story/test_doctor.py).
"""

import pytest
import torch
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import mode, places, survey


class Strange(nn.Module):
    """Two operations without an exact definition, and a third in its backward pass."""

    def forward(self, x):
        return torch.linalg.qr(x).R + torch.cummax(x, 0).values


class Halving(nn.Module):
    def forward(self, x):
        return x.half().float()


class Precise(nn.Module):
    def forward(self, x):
        return torch.exp(x.double()).float()


def operations(found):
    return [(refusal.operation, refusal.place) for refusal in found]


class TestRecording:
    """Not only the first refusal, each once, each with its module."""

    def test_notes_all_of_them_with_their_modules(self):
        network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Strange()), nn.ReLU(), Strange())
        with survey.recording() as found:
            for _ in range(2):
                network(torch.eye(3)).sum().backward()
        assert operations(found)[:4] == [
            ("aten.linalg_qr.default", "module 1.0 (Strange)"),
            ("aten.cummax.default", "module 1.0 (Strange)"),
            ("aten.linalg_qr.default", "module 3 (Strange)"),
            ("aten.cummax.default", "module 3 (Strange)"),
        ]
        behind = operations(found)[4:]
        assert behind
        assert {place for _, place in behind} == {places.OUTSIDE}
        assert len(found) == len(set(found))

    def test_what_is_defined_is_computed_as_in_training(self):
        network, x = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 2)), torch.eye(5)
        with mode.arithmetic():
            expected = network(x).detach()
        with survey.recording() as found:
            answer = network(x).detach()
        assert torch.equal(answer, expected)
        assert found == []

    @pytest.mark.parametrize(
        ("network", "operation", "reason"),
        [
            (Halving(), "aten._to_copy.default", "float16"),
            (Precise(), "aten.exp.default", "float64"),
        ],
    )
    def test_a_known_operation_on_other_operands_says_which(self, network, operation, reason):
        with survey.recording() as found:
            network(torch.ones(2))
        assert found[0].operation == operation
        assert reason in found[0].reason
        assert type(network).__name__ in found[0].place

    def test_autocast_is_refused_as_ever(self):
        refused = pytest.raises(errors.UnsupportedOperationError, match="autocast")
        with torch.autocast("cpu"), refused, survey.recording():
            pass

    def test_afterwards_operations_are_refused_again(self):
        with survey.recording():
            pass
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError):
            Strange()(torch.eye(2))

    def test_a_refusal_for_its_operands_names_the_module_in_training_too(self):
        with (
            mode.arithmetic(),
            pytest.raises(errors.UnsupportedOperationError, match=r"module .* \(Precise\)"),
        ):
            Precise()(torch.ones(2))
