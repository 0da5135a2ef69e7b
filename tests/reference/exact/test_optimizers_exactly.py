# SPDX-License-Identifier: Apache-2.0
"""Optimisers, ours and torch's, run unchanged in exact arithmetic.

Not tested here: their formulas (tests/reference/test_optimizers.py).
"""

from types import SimpleNamespace

import pytest
import torch
from rational import same_bits

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config.optimizers import AdamOptions, AdamwOptions, SgdOptions
from tiny_agent_trainer.exact import mode, threads
from tiny_agent_trainer.training import group, parts
from tiny_agent_trainer.training.exact_arithmetic import ExactArithmetic

COUNT = 40_001
OURS = {
    "adam": AdamOptions(lr=1e-2, weight_decay=0.1),
    "adamw": AdamwOptions(name="adamw", lr=1e-2, weight_decay=0.1),
    "sgd": SgdOptions(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
}
MORE = {
    "sgd with momentum": SgdOptions(name="sgd", lr=0.1, momentum=0.9),
    "sgd without": SgdOptions(name="sgd", lr=0.1, weight_decay=0.05),
    "adam without decay": AdamOptions(lr=1e-2),
}
THEIRS = {
    "adam": (torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "adamax": (torch.optim.Adamax, {}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}


def vector(*name):
    drawn = randomness.stream(3, "exact optimizers", *name).uniform(COUNT)
    return torch.from_numpy(drawn * 4 - 2)


def train_ours(options, places=slice(None)):
    values = vector("start")[places].clone()
    built = parts.build_part(options, len(values))
    for count in range(1, 6):
        with mode.arithmetic():
            built.step(values, vector("gradient", count)[places].clone(), options.lr, count)
    return values


def train_theirs(kind, arguments, *, is_exact, places=slice(None)):
    values = torch.nn.Parameter(vector("start")[places].clone())
    built = kind([values], lr=0.01, foreach=False, **arguments)
    for count in range(1, 6):
        values.grad = vector("gradient", count)[places].clone()
        if is_exact:
            with mode.arithmetic():
                built.step()
        else:
            built.step()
    return values.detach()


@pytest.mark.parametrize("name", OURS)
def test_ours_depend_on_neither_place_nor_threads(name):
    values = train_ours(OURS[name])
    for places in (slice(0, 1), slice(7, 40), slice(COUNT - 1, None)):
        assert same_bits(train_ours(OURS[name], places).numpy(), values[places].numpy())
    threads.set_threads(3)
    assert same_bits(train_ours(OURS[name]).numpy(), values.numpy())


@pytest.mark.parametrize("name", [*OURS, "sgd with momentum", "sgd without", "adam without decay"])
def test_the_compiled_step_has_the_bits_of_the_one_in_single_operations(name):
    options = (OURS | MORE)[name]
    values = vector("start").clone()
    built = parts.build_part(options, len(values))
    compiled = ExactArithmetic(2, "auto", group.Alone())
    flat = SimpleNamespace(values=values, gradients=None, length=len(values))
    for count in range(1, 6):
        flat.gradients = vector("gradient", count).clone()
        with compiled.context():
            compiled.update(built, flat, options.lr, count)
    assert same_bits(values.numpy(), train_ours(options).numpy())


@pytest.mark.parametrize("name", THEIRS)
def test_those_of_torch_do_not_either_and_agree_with_native_ones(name):
    kind, arguments = THEIRS[name]
    values = train_theirs(kind, arguments, is_exact=True)
    for places in (slice(0, 1), slice(7, 40)):
        part = train_theirs(kind, arguments, is_exact=True, places=places)
        assert same_bits(part.numpy(), values[places].numpy())
    native = train_theirs(kind, arguments, is_exact=False)
    assert torch.allclose(values, native, rtol=1e-5, atol=1e-6)
    assert not torch.equal(values, vector("start"))
