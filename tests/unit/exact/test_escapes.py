# SPDX-License-Identifier: Apache-2.0
"""Doors out of the table: a network that takes one is refused, with its module and what to do.

Not tested here: operations that the table lacks (test_mode.py).
"""

import concurrent.futures
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import vmap

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import mode, places, survey


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Hidden(torch.autograd.Function):
    """Computes in numpy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient


KEPT = Hidden.apply
"""As users keep it: bound before exact arithmetic began."""


def in_a_thread(x):
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.linalg.svdvals(x)))
    thread.start()
    thread.join()
    return found[0]


def in_a_pool(x):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.linalg.svdvals, x).result()


@torch.jit.script
def scripted(x):
    return torch.sin(x) * 2


def compile_and_call(x):
    compiled = torch.compile(torch.sin)
    return compiled(x)


def into_memory(x):
    return torch.from_numpy(np.from_dlpack(x.detach()) * 2)


DOORS = {
    "numpy": (lambda x: torch.from_numpy(np.sin(x.detach().numpy())), r"Tensor\.numpy"),
    "asarray": (lambda x: torch.from_numpy(np.asarray(x.detach())), r"Tensor\.numpy"),
    "tolist": (lambda x: torch.tensor(x.tolist()), r"Tensor\.tolist"),
    "dlpack": (into_memory, r"Tensor\.__dlpack__"),
    "address": (lambda x: x * (x.data_ptr() % 64), r"Tensor\.data_ptr"),
    "storage": (lambda x: torch.tensor(list(x.untyped_storage())), r"Tensor\.untyped_storage"),
    "Python per element": (
        lambda x: x.detach().clone().apply_(lambda v: v * v), r"Tensor\.apply_",
    ),
    "a function": (lambda x: Hidden.apply(x * 1), r"autograd\.Function .*Hidden"),
    "a kept function": (KEPT, r"autograd\.Function .*Hidden"),
    "a function in vmap": (vmap(KEPT), r"autograd\.Function .*Hidden"),
    "a thread": (in_a_thread, "a thread of its own"),
    "a pool of threads": (in_a_pool, "a thread of its own"),
    "a script": (scripted, "TorchScript"),
    "compiling": (compile_and_call, r"torch\.compile"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOORS)
class TestDoors:
    """In a forward pass they are closed."""

    def test_is_refused_with_module_and_remedy(self, name):
        function, found = DOORS[name]
        network = nn.Sequential(nn.Identity(), nn.Sequential(Call(function)))
        with (
            mode.arithmetic(),
            pytest.raises(errors.UnsupportedOperationError, match=found) as caught,
        ):
            network(torch.eye(3))
        assert "module 1.0 (Call)" in str(caught.value)
        assert 'arithmetic = "native"' in str(caught.value)


@pytest.mark.parametrize("name", sorted(DOORS.keys() - {"compiling", "a function in vmap"}))
def test_a_survey_notes_it_and_goes_on(name):
    function, _ = DOORS[name]
    network = nn.Sequential(Call(function), Call(lambda x: torch.cummax(x.float(), 0).values))
    with survey.recording() as found:
        network(torch.eye(3))
    assert found[0].place == "module 0 (Call)"
    assert found[-1].operation == "aten.cummax.default"


class TestCompiled:
    """Code that was compiled before is refused too, and works again afterwards."""

    @pytest.fixture
    def compiled(self):
        network = torch.compile(nn.Sequential(nn.ReLU()), backend="eager")
        network(torch.ones(2))
        yield network
        torch._dynamo.reset()

    def test_is_refused(self, compiled):
        refused = pytest.raises(errors.UnsupportedOperationError, match="compile")
        with mode.arithmetic(), refused:
            compiled(torch.ones(2))
        assert compiled(torch.ones(2)).tolist() == [1, 1]

    def test_a_survey_lets_it_run_as_it_stands(self, compiled):
        with survey.recording() as found:
            answer = compiled(torch.tensor([-1.0, 2.0]))
        assert answer.tolist() == [0, 2]
        assert [refusal.operation for refusal in found] == ["code compiled by torch.compile"]


class TestTraced:
    """A network that TorchScript traced."""

    def test_is_refused_and_works_again(self):
        traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
        refused = pytest.raises(errors.UnsupportedOperationError, match="TorchScript")
        with mode.arithmetic(), refused:
            traced(torch.ones(1, 2))
        assert traced(torch.ones(1, 2)).shape == (1, 2)


class TestBackward:
    """Hooks of gradients are networks' code as well."""

    def test_a_hook_that_leaves_torch_is_refused(self):
        x = torch.ones(3, requires_grad=True)
        with mode.arithmetic():
            y = x * 2
            y.register_hook(lambda gradient: torch.from_numpy(np.sin(gradient.numpy())))
            with pytest.raises(errors.UnsupportedOperationError, match=r"Tensor\.numpy") as caught:
                y.sum().backward()
        assert places.OUTSIDE in str(caught.value)


class TestOpen:
    """What training itself needs, and single numbers."""

    def test_numbers_integers_and_text_may_leave(self):
        def forward(x):
            dims = torch.arange(1, x.dim()).tolist()  # as MONAI's losses have it
            assert "tensor" in repr(x)
            return x.sum(dims) * x[0, 0].item() if x.sum() > float(x.min()) else x

        with mode.arithmetic():
            assert Call(forward)(torch.eye(3)).tolist() == [1, 1, 1]

    def test_outside_of_a_network_values_may_be_read(self):
        with mode.arithmetic():
            y = torch.ones(2).mul(3)
            assert y.numpy().tolist() == y.tolist() == [3, 3]

    def test_nothing_stays_replaced(self):
        owners = (torch.Tensor, torch.autograd.function._SingleLevelFunction, threading.Thread)
        before = [dict(vars(owner)) for owner in owners]
        with pytest.raises(ZeroDivisionError), mode.arithmetic():
            raise ZeroDivisionError
        assert [dict(vars(owner)) for owner in owners] == before
        assert KEPT(torch.zeros(2)).tolist() == [0, 0]


class TestUninitialised:
    """Memory that was never written is refused where it is used, or seen at once."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: torch.empty(3),
            lambda: torch.empty_like(torch.ones(3)),
            lambda: torch.ones(2).new_empty(3),
            lambda: torch.empty_strided((3,), (2,)),
            lambda: torch.ones(2).new_empty_strided((3,), (1,)),
            lambda: torch.FloatTensor(3),
        ],
        ids=["empty", "like", "new", "strided", "new strided", "of old"],
    )
    def test_holds_no_numbers(self, make):
        with mode.arithmetic():
            assert make().isnan().all()
            with pytest.raises(errors.NotFiniteError):
                make().sum()

    def test_of_integers_and_truth_values(self):
        with mode.arithmetic():
            assert torch.empty(2, dtype=torch.int64).tolist() == [2**63 - 1] * 2
            assert torch.empty(2, dtype=torch.uint8).tolist() == [255] * 2
            assert torch.empty(2, dtype=torch.bool).tolist() == [True] * 2
