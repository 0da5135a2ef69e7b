# SPDX-License-Identifier: Apache-2.0
"""Initial weights are a function of the seed, the path and the distribution; nothing else is drawn.

Not tested here: numbers that a constructor draws from numpy or Python, which torch cannot see;
drawn tensors that a network keeps without registering them.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.models import CnnOptions, MlpOptions, VitOptions
from tiny_agent_trainer.model import drawing, initial, shape
from tiny_agent_trainer.model.build import build_network

REFUSE_BELOW = 1e-4
F = np.float32
IMAGE = shape.InputShape(kind="image", sizes=(1, 16, 16), classes=2)
PATCHES = shape.InputShape(kind="patches", sizes=(16, 16), classes=2)


def bits(network):
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


def make(constructor, seed=0):
    with drawing.recording() as recorder:
        network = constructor()
    initial.initialise(network, recorder, seed)
    return network


class Holder(nn.Module):
    """One parameter, made by a function."""

    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(function())


def drawn(function, seed=0):
    return make(lambda: Holder(function), seed).weight.detach()


def by(name, *arguments, size=(200, 300), **more):
    return drawn(lambda: getattr(nn.init, name)(torch.empty(size), *arguments, **more)).numpy()


class TestFunctionOfTheSeed:
    """Equal arguments give equal bits."""

    @pytest.mark.parametrize(
        ("options", "target"),
        [
            (CnnOptions(width=4), IMAGE),
            (MlpOptions(name="mlp", hidden=(8,)), IMAGE),
            (VitOptions(name="vit", layers=2, width=12), PATCHES),
        ],
        ids=["cnn", "mlp", "vit"],
    )
    def test_torchs_own_generator_has_no_influence_and_is_left_alone(self, options, target):
        found = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            state = torch.get_rng_state()
            found.append(bits(build_network(options, target, 5).network))
            assert torch.equal(torch.get_rng_state(), state)
        assert found[0] == found[1]

    def test_another_seed_changes_every_drawn_tensor(self):
        one, other = (build_network(CnnOptions(width=4), IMAGE, seed).network for seed in (0, 1))
        for name, weight in one.named_parameters():
            if weight.ndim > 1:
                assert not torch.equal(weight, other.get_parameter(name)), name

    def test_two_parameters_of_one_shape_get_different_values(self):
        network = make(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
        assert not torch.equal(network[0].weight, network[1].weight)

    def test_the_order_of_construction_has_no_influence(self):
        class Two(nn.Module):
            def __init__(self, names):
                super().__init__()
                for name in names:
                    self.add_module(name, nn.Linear(3, 5) if name == "a" else nn.Conv2d(2, 3, 3))

        forth, back = bits(make(lambda: Two("ab"))), bits(make(lambda: Two("ba")))
        assert forth == back

    def test_values_are_those_of_the_stream_of_the_path(self):
        alone = make(lambda: nn.ModuleDict({"x": nn.Linear(7, 3)}))
        among = make(lambda: nn.ModuleDict({"a": nn.Linear(9, 9), "x": nn.Linear(7, 3)}))
        renamed = make(lambda: nn.ModuleDict({"y": nn.Linear(7, 3)}))
        assert torch.equal(alone["x"].weight, among["x"].weight)
        assert not torch.equal(alone["x"].weight, renamed["y"].weight)

    def test_a_tied_parameter_takes_its_first_path_in_byte_order(self):
        def tie():
            network = nn.ModuleDict({"b": nn.Linear(4, 4), "a": nn.Linear(4, 4)})
            network["a"].weight = network["b"].weight
            return network

        tied, plain = make(tie), make(lambda: nn.ModuleDict({"a": nn.Linear(4, 4)}))
        assert tied["a"].weight is tied["b"].weight
        assert torch.equal(tied["a"].weight, plain["a"].weight)

    def test_two_parts_of_one_drawn_tensor_are_both_filled(self):
        class Halves(nn.Module):
            def __init__(self):
                super().__init__()
                whole = torch.randn(6)
                self.a, self.b = nn.Parameter(whole[:3]), nn.Parameter(whole[3:])

        network = make(Halves)
        assert bool((network.a != 0).all())
        assert bool((network.b != 0).all())
        assert not torch.equal(network.a, network.b)

    def test_constants_stay_what_the_constructor_made_them(self):
        network = make(lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Embedding(4, 2, padding_idx=1)))
        assert network[0].weight.tolist() == [1.0] * 3
        assert network[0].running_var.tolist() == [1.0] * 3
        assert network[1].weight[1].tolist() == [0.0, 0.0]
        assert bool((network[1].weight[[0, 2, 3]] != 0).all())

    def test_a_drawn_buffer_is_replayed(self):
        class Buffered(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("noise", torch.randn(5))

        assert bits(make(Buffered)) == bits(make(Buffered)) != bits(make(Buffered, seed=1))

    def test_the_stream_under_a_generator_of_its_own_is_ours(self):
        def own(seed):
            return drawn(lambda: torch.randn(3, generator=torch.Generator().manual_seed(seed)))

        assert torch.equal(own(1), own(2))
        assert bool((own(1) != 0).all())


CHANGES = {
    "times": (lambda x: x * 2.5, lambda x: x * F(2.5)),
    "times, from the left": (lambda x: 2.5 * x, lambda x: x * F(2.5)),
    "divided": (lambda x: x / 3, lambda x: x / F(3)),
    "plus": (lambda x: x + 0.1, lambda x: x + F(0.1)),
    "minus": (lambda x: x - 0.1, lambda x: x - F(0.1)),
    "negative": (lambda x: -x, lambda x: -x),
    "clamp": (lambda x: x.clamp(0.25, 0.5), lambda x: np.clip(x, F(0.25), F(0.5))),
    "clamp below": (lambda x: x.clamp(min=0.25), lambda x: np.maximum(x, F(0.25))),
    "clamp above": (lambda x: x.clamp(max=0.25), lambda x: np.minimum(x, F(0.25))),
    "clone": (lambda x: x.clone().detach(), lambda x: x),
    "copy": (lambda x: torch.empty_like(x).copy_(x), lambda x: x),
    "in place": (lambda x: x.mul_(2).sub_(1), lambda x: x * F(2) - F(1)),
    "zero": (lambda x: x.zero_(), np.zeros_like),
    "fill": (lambda x: x.fill_(3), lambda x: np.full_like(x, 3)),
    "overwrite": (lambda x: x.copy_(torch.ones(50)), np.ones_like),
}


class TestDistributions:
    """What torch.nn.init would have drawn, with our words."""

    @pytest.mark.parametrize(
        ("name", "bound"),
        [("xavier_uniform_", math.sqrt(6 / 500)), ("kaiming_uniform_", math.sqrt(6 / 300))],
    )
    def test_uniform_families_fill_their_interval(self, name, bound):
        found = by(name)
        assert found.dtype == np.float32
        assert 0.999 * bound < np.abs(found).max() <= np.float32(bound)
        assert stats.kstest(found.reshape(-1), "uniform", (-bound, 2 * bound)).pvalue > REFUSE_BELOW

    @pytest.mark.parametrize(
        ("name", "deviation"),
        [("xavier_normal_", math.sqrt(2 / 500)), ("kaiming_normal_", math.sqrt(2 / 300))],
    )
    def test_normal_families_have_their_deviation(self, name, deviation):
        found = by(name).reshape(-1)
        assert stats.kstest(found, "norm", (0, deviation)).pvalue > REFUSE_BELOW

    def test_normal_with_mean_and_deviation(self):
        found = by("normal_", 3.0, 0.5).reshape(-1)
        assert stats.kstest(found, "norm", (3, 0.5)).pvalue > REFUSE_BELOW
        assert stats.kstest(by("normal_", mean=3.0, std=0.5).reshape(-1), "norm",
                            (3, 0.5)).pvalue > REFUSE_BELOW  # fmt: skip

    def test_uniform_with_bounds(self):
        for found in (by("uniform_", 2.0, 3.0), by("uniform_", a=2.0, b=3.0)):
            assert found.min() >= 2
            assert found.max() <= 3
            assert stats.kstest(found.reshape(-1), "uniform", (2, 1)).pvalue > REFUSE_BELOW

    def test_truncated_normal_stays_within_its_bounds(self):
        found = by("trunc_normal_", 0.0, 0.02, -0.04, 0.03).reshape(-1)
        assert found.min() >= np.float32(-0.04)
        assert found.max() <= np.float32(0.03)
        expected = stats.truncnorm(-2, 1.5, scale=0.02)
        assert stats.kstest(found, expected.cdf).pvalue > REFUSE_BELOW

    def test_the_truncated_normal_that_monai_makes_by_the_inverse_error_function(self):
        def monai():
            tensor = torch.empty(200, 300)
            low, high = math.erf(-2 / math.sqrt(2)), math.erf(2 / math.sqrt(2))
            tensor.uniform_(low, high)
            return tensor.erfinv_().mul_(0.02 * math.sqrt(2.0)).add_(1.0).clamp_(min=0.96, max=1.04)

        found = drawn(monai).numpy().reshape(-1)
        assert found.min() >= np.float32(0.96)
        assert found.max() <= np.float32(1.04)
        expected = stats.truncnorm(-2, 2, loc=1, scale=0.02)
        assert stats.kstest(found, expected.cdf).pvalue > REFUSE_BELOW

    def test_bernoulli(self):
        found = drawn(lambda: torch.empty(10_000).bernoulli_(0.3)).numpy()
        assert set(found.tolist()) == {0.0, 1.0}
        assert abs(found.mean() - 0.3) < 4 * math.sqrt(0.21 / 10_000)

    @pytest.mark.parametrize("name", CHANGES)
    def test_what_is_done_to_drawn_values_is_done_to_the_replayed_ones(self, name):
        change, expected = CHANGES[name]
        plain = drawn(lambda: torch.rand(50)).numpy()
        assert drawn(lambda: change(torch.rand(50))).numpy().tobytes() == expected(plain).tobytes()


def half_random():
    weight = torch.zeros(4, 3)
    weight[:2].normal_()
    return weight


def partly_copied():
    weight = torch.zeros(4, 3)
    weight[:2] = torch.randn(2, 3)
    return weight


def own_seed():
    torch.manual_seed(5)
    return torch.zeros(3)


REFUSED = {
    "randperm": (lambda: torch.randperm(3).float(), "aten::randperm"),
    "randint": (lambda: torch.randint(5, (3,)).float(), "aten::randint"),
    "exponential": (lambda: torch.empty(3).exponential_(), "aten::exponential_"),
    "random_": (lambda: torch.empty(3).random_(), "aten::random_"),
    "normal": (lambda: torch.normal(torch.zeros(3), torch.ones(3)), "aten::normal"),
    "multinomial": (lambda: torch.multinomial(torch.ones(3), 2).float(), "aten::multinomial"),
    "dropout": (lambda: nn.functional.dropout(torch.ones(3)), "aten::"),
    "orthogonal_": (lambda: nn.init.orthogonal_(torch.empty(3, 3)), "linalg_qr"),
    "qr": (lambda: torch.linalg.qr(torch.randn(3, 3))[0], "linalg_qr"),
    "sparse_": (lambda: nn.init.sparse_(torch.empty(4, 4), 0.5), "aten::randperm"),
    "cat": (lambda: torch.cat([torch.randn(3), torch.zeros(3)]), "aten::cat"),
    "stack": (lambda: torch.stack([torch.zeros(3), torch.randn(3)]), "aten::stack"),
    "product": (lambda: torch.ones(3) * torch.randn(3), "aten::mul"),
    "rsub": (lambda: 1 - torch.randn(3), "aten::rsub"),
    "alpha": (lambda: torch.add(torch.randn(3), 1.0, alpha=2), "aten::add"),
    "sqrt": (lambda: torch.randn(3).sqrt(), "aten::sqrt"),
    "item": (lambda: torch.zeros(3) + torch.randn(1).item(), "_local_scalar_dense"),
    "probabilities": (lambda: torch.empty(2).bernoulli_(torch.tensor([0.1, 0.2])), "bernoulli_"),
    "view": (lambda: nn.init.normal_(torch.empty(4, 3)[:2]), "on a view"),
    "truncated view": (lambda: nn.init.trunc_normal_(torch.empty(4, 3)[0]), "on a view"),
    "half": (half_random, "on a view"),
    "copied half": (partly_copied, "in part"),
    "own seed": (own_seed, "torch's generator in a way that was not seen"),
}


class TestRefusals:
    """Nothing random escapes `base_seed`: what cannot be replayed is refused in words."""

    @pytest.mark.parametrize("name", REFUSED)
    def test_a_draw_that_cannot_be_replayed_is_refused_by_its_name(self, name):
        function, found = REFUSED[name]
        with pytest.raises(errors.ModelError) as caught:
            drawn(function)
        assert found in caught.value.found
        assert caught.value.where == "the network's constructor"
        assert "torch.nn.init" in caught.value.remedy

    def test_after_a_refusal_torch_draws_as_before(self):
        sampler = torch.nn.init._no_grad_trunc_normal_
        with pytest.raises(errors.ModelError):
            drawn(lambda: torch.randperm(3).float())
        assert torch.nn.init._no_grad_trunc_normal_ is sampler
        assert bool((torch.randn(5) != 0).any())

    def test_without_the_recorder_the_same_constructors_draw_from_torch(self):
        """Negative control: two plain networks of one seed differ when torch's state differs."""
        torch.manual_seed(0)
        first = bits(nn.Linear(4, 4))
        assert bits(nn.Linear(4, 4)) != first
